"""`kamstrup-mqtt models`."""

from __future__ import annotations

import json

import pytest

from kamstrup_mqtt.cli import main
from kamstrup_mqtt.meters import registry

# issue 2, Meters
ORDERED = {
    "multical_21": {"kmp"},
    "multical_302": {"kmp"},
    "multical_303": {"kmp"},
    "multical_401": {"iec62056-21"},
    "multical_402": {"kmp"},
    "multical_403": {"kmp"},
    "multical_601": {"kmp"},
    "multical_602": {"kmp"},
    "multical_603": {"kmp"},
    "multical_801": {"kmp"},
    "e685_382": {"kmp-ascii", "iec62056-21"},
    "kamstrup_han_1phase": {"han"},
    "kamstrup_han_3phase": {"han"},
}


@pytest.fixture(autouse=True)
def _no_log_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kamstrup_mqtt.core.log.set_up", lambda **_: None)


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0] for line in lines[2:]}
    assert listed == set(registry.all_models())
    (heat,) = [line for line in lines if line.split()[0] == "multical_403"]
    assert "battery" in heat
    assert "heat_energy, " in heat
    (any_meter,) = [line for line in lines if line.split()[0] == "kmp_meter"]
    assert "any" in any_meter


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    models = {model["model"]: model for model in json.loads(capsys.readouterr().out)}
    assert {id_: set(models[id_]["protocols"]) for id_ in ORDERED} == ORDERED
    heat = models["multical_403"]
    assert (heat["medium"], heat["battery"]) == ("heat", True)
    # kmp.md 2.1: register 60 is E1, 74 the flow
    values = {value["key"]: value for value in heat["protocols"]["kmp"]}
    assert values["heat_energy"] == {
        "key": "heat_energy",
        "id": 60,
        "group": "values",
        "default": True,
    }
    assert values["flow"]["id"] == 74
