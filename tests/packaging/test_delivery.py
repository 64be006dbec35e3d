"""What is shipped beside the package: image, unit, lock file, example."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.documents import ROOT

UNIT = ROOT / "systemd/kamstrup-mqtt.service"
TEMPLATE = ROOT / "systemd/kamstrup-mqtt@.service"


def _directives(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_unit_waits_for_ready_and_is_watched() -> None:
    lines = _directives(UNIT)
    for directive in (
        "Type=notify",
        "WatchdogSec=60",
        "Restart=always",
        "RestartSec=10",
        "StartLimitIntervalSec=0",
        "RestartPreventExitStatus=2",
        "LoadCredential=config.yaml:/etc/kamstrup-mqtt/config.yaml",
        "SupplementaryGroups=dialout",
        "DevicePolicy=closed",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
    ):
        assert directive in lines
    assert any("time-sync.target" in line for line in lines if line.startswith("After="))


def test_unit_allows_the_serial_ports_by_number() -> None:
    allowed = [line for line in _directives(UNIT) if line.startswith("DeviceAllow=")]
    assert allowed == [f"DeviceAllow=char-{major} rw" for major in (188, 166, 204, 4)]
    # PrivateDevices would hide them
    assert not any(line.startswith("PrivateDevices=y") for line in _directives(UNIT))


def test_template_differs_only_where_it_must() -> None:
    changed = set(_directives(TEMPLATE)) - set(_directives(UNIT))
    assert {line.partition("=")[0] for line in changed} == {
        "Description",
        "LoadCredential",
        "StateDirectory",
        "RuntimeDirectory",
    }
    assert len(_directives(TEMPLATE)) == len(_directives(UNIT))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_unit_is_hardened(tmp_path: Path) -> None:
    for unit in (UNIT, TEMPLATE):
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        level = re.search(r"exposure level for .*: ([0-9.]+)", done.stdout)
        assert level, done.stderr
        assert float(level[1]) <= 1.6


def test_lock_file_pins_everything_and_names_no_index() -> None:
    lines = [
        line
        for line in (ROOT / "requirements-dev.lock").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert all(re.match(r"[a-z0-9._-]+==\S+", line) for line in lines)
    assert not any("://" in line or line.startswith("-") for line in lines)


def test_image_runs_as_a_number_and_asks_the_daemon() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.M) == ["python:3.13-slim"] * 2
    assert re.search(r"^USER 10001:10001$", text, re.M)
    assert 'CMD ["kamstrup-mqtt", "health"]' in text
    assert "[encryption]" in text
    assert "demo" not in text


def test_dependencies_are_the_named_ones() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = sorted(re.match(r"[a-z-]+", line)[0] for line in project["dependencies"])  # type: ignore[index]
    assert names == ["aiomqtt", "pydantic", "pyserial-asyncio", "pyyaml", "rich"]
    assert sorted(project["optional-dependencies"]) == ["demo", "dev", "docs", "encryption"]


def test_no_path_of_a_developer_machine_is_committed() -> None:
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    if files == [""]:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"/(?:root|work|home/[a-z]+)/\w|/var/tmp")
    for name in filter(None, files):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{name}: {found and found[0]}"
