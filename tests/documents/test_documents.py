"""Every block of the documentation does what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from kamstrup_mqtt import __version__, cli
from kamstrup_mqtt.config import loader
from kamstrup_mqtt.meters import registry
from tests.support import quantities_page
from tests.support.documents import ROOT, Block, all_blocks, blocks


def _of(info: str) -> list[pytest.ParameterSet]:  # type: ignore[name-defined]
    return [pytest.param(b, id=b.where) for b in all_blocks() if b.info == info]


KNOWN = {
    "sh", "sh run", "yaml config", "yaml ser2net", "yaml compose", "json", "toml", "ini",
    "python run", "",
}  # fmt: skip


def test_every_block_is_of_a_kind_that_a_test_runs() -> None:
    assert {block.info for block in all_blocks()} <= KNOWN


@pytest.mark.parametrize("block", _of("yaml config"))
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block.text, encoding="utf-8")
    keys = {"GPK60": "0F" * 16, "GPK61": "F0" * 16}
    config = loader.load(file, {"MQTT_PASSWORD": "secret", **keys})
    assert config.meters


@pytest.mark.parametrize("block", _of("yaml ser2net") + _of("yaml compose"))
def test_foreign_yaml_is_yaml(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", _of("json"))
def test_json_is_json(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict)


@pytest.mark.parametrize("block", _of("toml"))
def test_toml_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


def _environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]}


@pytest.mark.parametrize("block", _of("sh run"))
def test_shell_blocks_run(block: Block, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-eu", "-c", block.text],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("block", _of("python run"))
def test_python_blocks_run(block: Block, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.text],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # what the comments promise is what is printed
    promised = re.findall(r"#\s*-> (.*)", block.text)
    assert done.stdout.splitlines() == promised


@pytest.mark.parametrize("block", _of("sh") + _of("sh run"))
def test_shell_blocks_parse(block: Block) -> None:
    subprocess.run(["sh", "-n", "-c", block.text], check=True)
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["kamstrup-mqtt"]:
            cli.make_parser(words[1:]).parse_args(words[1:])
        if words[:1] == ["make"]:
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
            assert words[1] in targets


def test_the_table_of_models_names_every_family() -> None:
    table = blocks_text("README.md")
    for id_, model in registry.all_models().items():
        if model.medium == "any":
            continue
        for number in re.findall(r"\d{2,3}", model.name.replace("62056", "")):
            assert number in table, f"README does not name {id_} ({model.name})"


def blocks_text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_tests_that_the_table_of_faults_names_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text())
    assert len(named) > 50
    gone = [
        f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()
    ]
    assert gone == []


def test_quantities_page_is_up_to_date() -> None:
    page = (ROOT / "docs/quantities.md").read_text(encoding="utf-8")
    assert page == quantities_page.page(), (
        "python -m tests.support.quantities_page > docs/quantities.md"
    )


def test_changelog_has_this_version() -> None:
    assert f"\n## {__version__}\n" in blocks_text("CHANGELOG.md")


def test_links_inside_the_documents_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = blocks_text(name)
        anchors = {
            re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.M)
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in anchors, target
            elif "://" not in target:
                assert (ROOT / target).exists(), target


assert blocks("README.md")


def test_the_table_of_speed_is_the_one_that_was_measured() -> None:
    """`make bench` writes it into the README as well."""
    table = (ROOT / "bench/results/table.md").read_text(encoding="utf-8")
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")
