"""Values and readings as `decode` and `read` print them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.cli.options import find_protocol
from kamstrup_mqtt.cli.value_listing import list_values
from kamstrup_mqtt.core.model import DecodedValue


def test_objects_are_as_sent_and_readings_in_the_unit_of_the_key() -> None:
    kmp = find_protocol("kmp")
    # quantities.md: register 1 is energy_import in kWh, 68 volume in m³
    result = list_values(
        kmp, [DecodedValue(1, 191, Decimal("0.191"), "MWh"), DecodedValue(68, 5, Decimal(5), "L")]
    )
    assert result.as_json() == {
        "objects": [
            {"id": 1, "key": "energy_import", "raw": 191, "value": Decimal("0.191"), "unit": "MWh"},
            {"id": 68, "key": "volume", "raw": 5, "value": Decimal(5), "unit": "L"},
        ],
        "readings": {"energy_import": Decimal(191), "volume": Decimal("0.005")},
    }


def test_a_unit_of_another_family_is_rejected_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = list_values(find_protocol("kmp"), [DecodedValue(68, 5, Decimal(5), "GJ")])
    assert [obj.unit for obj in result.objects] == ["GJ"]
    assert result.readings == {}
    result.print_rejected()
    assert capsys.readouterr().err == (
        "volume is not among the readings: GJ cannot be converted to m³\n"
    )


def test_the_first_value_of_an_id_is_the_reading() -> None:
    objects = [
        DecodedValue("1.20", "", None, "kWh"),
        DecodedValue("1.20", "9032", Decimal(9032), "kWh"),
        DecodedValue("1.20", "9033", Decimal(9033), "kWh"),
    ]
    result = list_values(find_protocol("iec62056-21"), objects)
    assert result.as_json()["readings"] == {"energy_import": Decimal(9032)}
    assert len(result.objects) == 3
