"""`kamstrup-mqtt discovery`: messages from configuration and state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.cli import main

CONFIG = """\
state_directory: state
meters:
  - {name: Heat, protocol: kmp, model: multical_403, port: tcp://h:1}
"""
# a state file of version 1
REMEMBERED = {
    "version": 1,
    "meters": {
        "heat": {
            "serial": "12345678",
            "serial_source": 1001,
            "units": {"heat_energy": "GJ", "flow": "L/h"},
        }
    },
}


@pytest.fixture(autouse=True)
def _no_log_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kamstrup_mqtt.core.log.set_up", lambda **_: None)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    (tmp_path / "state").mkdir()
    return str(path)


def remember(config: str, memory: object) -> None:
    (Path(config).parent / "state" / "memory.json").write_text(json.dumps(memory))


def messages(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


TOPIC = "homeassistant/device/kamstrup_main_heat/config"


def test_meters_in_the_state_file(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    remember(config, REMEMBERED)
    assert main(["discovery", "-c", config]) == 0
    found, err = messages(capsys)
    assert err == ""
    assert list(found) == ["homeassistant/device/kamstrup_main_bridge/config", TOPIC]
    sensor = found[TOPIC]["components"]["heat_energy"]
    assert sensor["unique_id"] == "kamstrup_12345678_heat_energy"
    assert (sensor["unit_of_measurement"], sensor["device_class"]) == ("GJ", "energy")
    assert "power" not in found[TOPIC]["components"]


@pytest.mark.parametrize("memory", [None, "rubbish", {"version": 99, "meters": {}}])
def test_a_meter_that_was_never_read(
    config: str, memory: object, capsys: pytest.CaptureFixture[str]
) -> None:
    if memory is not None:
        remember(config, memory)
    assert main(["discovery", "-c", config]) == 1
    found, err = messages(capsys)
    assert list(found) == ["homeassistant/device/kamstrup_main_bridge/config"]
    assert err.startswith("heat was never read")
    assert "--assume SERIAL" in err


def test_an_assumed_serial_number(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["discovery", "-c", config, "--assume", "77"]) == 0
    found, err = messages(capsys)
    assert err == ""
    assert found[TOPIC]["components"]["power"]["unique_id"] == "kamstrup_77_power"


def test_an_assumed_serial_number_for_two_meters(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(config).open("a") as file:
        file.write("  - {name: B, protocol: kmp, model: multical_403, port: tcp://h:2}\n")
    assert main(["discovery", "-c", config, "--assume", "77"]) == 0
    found, err = messages(capsys)
    second = found["homeassistant/device/kamstrup_main_b/config"]
    assert second["components"]["power"]["unique_id"] == "kamstrup_77_b_power"
    assert "77" in err


def test_disabled_discovery(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    remember(config, REMEMBERED)
    with Path(config).open("a") as file:
        file.write("homeassistant: {enabled: false}\n")
    assert main(["discovery", "-c", config]) == 0
    assert "homeassistant.enabled is false" in messages(capsys)[1]
