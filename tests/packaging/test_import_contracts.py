"""The import contracts of pyproject.toml refuse what they promise to refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT

PACKAGE = Path("src/kamstrup_mqtt")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, its contracts and the contract types of the tests."""
    copy = tmp_path_factory.mktemp("original")
    shutil.copytree(ROOT / PACKAGE, copy / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    support = copy / "tests/support"
    support.mkdir(parents=True)
    (copy / "tests/__init__.py").touch()
    (support / "__init__.py").touch()
    shutil.copy(ROOT / "tests/support/import_contracts.py", support)
    return copy


@pytest.fixture
def house(original: Path, tmp_path: Path) -> Path:
    """A copy for one fault."""
    return Path(shutil.copytree(original, tmp_path / "house"))


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": f"{house}/src{os.pathsep}{house}"},
        capture_output=True,
        text=True,
        check=False,
    )


def plant(house: Path, module: str, line: str) -> None:
    """Add a line at the end of a module, which need not exist."""
    with (house / PACKAGE / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")


def test_the_package_keeps_its_contracts(house: Path) -> None:
    done = lint(house)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "reason"),
    [
        pytest.param(
            "protocols/han/obis.py",
            "from kamstrup_mqtt.core import clock",
            "kamstrup_mqtt.core.clock is not on the whitelist",
            id="a protocol that imports the clock",
        ),
        pytest.param(
            "core/units.py",
            "from kamstrup_mqtt.core import clock",
            "kamstrup_mqtt.core.clock is not on the whitelist",
            id="a protocol that imports the clock through another module",
        ),
        pytest.param(
            "protocols/kmp/values.py",
            "import time",
            "time is not on the whitelist",
            id="a protocol that imports a library of the clock",
        ),
        pytest.param(
            "protocols/kmp/values.py",
            "from kamstrup_mqtt.protocols.han import obis",
            "kamstrup_mqtt.protocols.kmp is not allowed to import kamstrup_mqtt.protocols.han",
            id="a protocol that imports another",
        ),
        pytest.param(
            "helpers.py",
            "",
            "helpers",
            id="a module loose in the root",
        ),
        pytest.param(
            "core/topics.py",
            "from kamstrup_mqtt.devices import device",
            "kamstrup_mqtt.core is not allowed to import kamstrup_mqtt.devices",
            id="an import that goes up",
        ),
        pytest.param(
            "reading/reader.py",
            "from kamstrup_mqtt.devices import device",
            "kamstrup_mqtt.reading is not allowed to import kamstrup_mqtt.devices",
            id="two rooms on one floor",
        ),
        pytest.param(
            "daemon/app.py",
            "import paho.mqtt.client",
            "kamstrup_mqtt.daemon.app imports paho",
            id="a library outside of the room that owns it",
        ),
        pytest.param(
            "meters/models/auto.py",
            "from kamstrup_mqtt.meters import registry",
            "is not on the whitelist of kamstrup_mqtt.meters.models",
            id="a model that is more than data",
        ),
    ],
)
def test_a_planted_import_is_refused(house: Path, module: str, line: str, reason: str) -> None:
    plant(house, module, line)
    done = lint(house)
    assert done.returncode == 1, done.stdout + done.stderr
    assert reason in " ".join(done.stdout.split()), done.stdout
