"""Objects and readings as `decode` and `read` write them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.cli.objects import energy_options, find_protocol, list_objects
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import DecodedValue


def test_objects_are_as_sent_and_readings_in_the_contracts_unit() -> None:
    kmp = find_protocol("kmp")
    # quantities.md: register 1 is energy_import in kWh, 68 volume in m³
    result = list_objects(
        kmp, [DecodedValue(1, 191, Decimal("0.191"), "MWh"), DecodedValue(68, 5, Decimal(5), "L")]
    )
    assert result.as_json() == {
        "objects": [
            {"id": 1, "key": "energy_import", "raw": 191, "value": Decimal("0.191"), "unit": "MWh"},
            {"id": 68, "key": "volume", "raw": 5, "value": Decimal(5), "unit": "L"},
        ],
        "readings": {"energy_import": Decimal(191), "volume": Decimal("0.005")},
    }


def test_a_unit_of_another_family_is_held_back_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = list_objects(find_protocol("kmp"), [DecodedValue(68, 5, Decimal(5), "GJ")])
    assert [obj.unit for obj in result.objects] == ["GJ"]
    assert result.readings == {}
    result.warn()
    assert capsys.readouterr().err == (
        "volume is not among the readings: GJ cannot be converted to m³\n"
    )


def test_the_first_of_two_objects_with_one_name_is_the_reading() -> None:
    objects = [
        DecodedValue("1.20", "", None, "kWh"),
        DecodedValue("1.20", "9032", Decimal(9032), "kWh"),
        DecodedValue("1.20", "9033", Decimal(9033), "kWh"),
    ]
    result = list_objects(find_protocol("iec62056-21"), objects)
    assert result.as_json()["readings"] == {"energy_import": Decimal(9032)}
    assert len(result.objects) == 3


def test_energy_options() -> None:
    assert energy_options(find_protocol("han"), None) == {"energy_scale": 10}
    assert energy_options(find_protocol("han"), 1) == {"energy_scale": 1}
    assert energy_options(find_protocol("kmp"), None) == {}
    with pytest.raises(ConfigError, match="han"):
        energy_options(find_protocol("kmp"), 10)
