"""Home Assistant's rules, as in components/sensor/const.py of 2026.11."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.meters import ha_rules
from kamstrup_mqtt.meters.model import Quantity


@pytest.mark.parametrize(
    ("device_class", "unit"),
    [
        ("energy", "GJ"),
        ("energy", "Gcal"),
        ("volume_flow_rate", "L/h"),
        ("temperature_delta", "K"),
        ("reactive_energy", "kvarh"),
        ("power_factor", None),
        ("date", None),
        (None, "m³×°C"),
        (None, None),
    ],
)
def test_allowed_units(device_class: str | None, unit: str | None) -> None:
    assert ha_rules.unit_error(device_class, unit) is None


@pytest.mark.parametrize(
    ("device_class", "unit", "words"),
    [
        ("energy", None, "no unit does not go with device class energy; allowed: J, kJ,"),
        ("energy", "Gj", "Gj does not go"),
        ("volume_flow_rate", "l/h", "allowed: L/h,"),
        ("volume", "m3", "allowed: mL, L, m³"),
        ("reactive_power", "VAR", "allowed: mvar, var, kvar"),
        ("power_factor", "cosφ", "allowed: none or %"),
        ("date", "d", "allowed: none"),
    ],
)
def test_rejected_units(device_class: str, unit: str | None, words: str) -> None:
    assert words in (ha_rules.unit_error(device_class, unit) or "")


@pytest.mark.parametrize(
    ("device_class", "state_class"),
    [
        ("energy", "total_increasing"),
        ("power", "measurement"),
        ("duration", "total_increasing"),
        ("duration", "measurement"),
        ("enum", None),
        (None, "total"),
        (None, None),
    ],
)
def test_allowed_classes(device_class: str | None, state_class: str | None) -> None:
    assert ha_rules.state_class_error(device_class, state_class) is None


@pytest.mark.parametrize(
    ("device_class", "state_class", "words"),
    [
        ("heat", None, "no such device class: heat; allowed: energy, power"),
        (None, "increasing", "no such state class: increasing; allowed: measurement, total,"),
        ("energy", "measurement", "allowed: total, total_increasing"),
        ("volume", "measurement", "allowed: total, total_increasing"),
        ("power", "total", "allowed: measurement"),
        ("timestamp", "measurement", "allowed: none"),
    ],
)
def test_rejected_classes(device_class: str | None, state_class: str | None, words: str) -> None:
    assert words in (ha_rules.state_class_error(device_class, state_class) or "")


NUMBER = Quantity(key="volume", name="Volume", unit="m³", device_class="volume")
DATE = Quantity(key="date", name="Date", device_class="date", is_text=True)
TIME = Quantity(key="time", name="Time", device_class="timestamp", is_text=True)
TEXT = Quantity(key="info", name="Info", is_text=True)


@pytest.mark.parametrize(
    ("quantity", "value", "unit"),
    [
        (NUMBER, Decimal("1.5"), "m³"),
        (DATE, "2026-02-28", None),
        (TIME, "2026-11-21T03:30:00+01:00", None),
        (TEXT, "ok", None),
        (Quantity(key="state", name="State"), "open", None),
    ],
)
def test_valid_states(quantity: Quantity, value: Decimal | str, unit: str | None) -> None:
    ha_rules.validate_state(quantity, value, unit)


@pytest.mark.parametrize(
    ("quantity", "value", "unit", "error"),
    [
        (NUMBER, "ABC", "m³", "'ABC' is not a number"),
        (Quantity(key="state", name="State"), "open", "kWh", "'open' is not a number"),
        (DATE, "2026-13-01", None, "month must be in 1..12"),
        (TIME, "2026-11-21T03:30:00", None, "'2026-11-21T03:30:00' is a time without zone"),
    ],
)
def test_invalid_states(quantity: Quantity, value: str, unit: str | None, error: str) -> None:
    with pytest.raises(ValueError, match=re.escape(error)):
        ha_rules.validate_state(quantity, value, unit)


@pytest.mark.parametrize(
    ("changes", "is_number"),
    [
        ({}, False),
        ({"state_class": "total"}, True),
        ({"precision": 2}, True),
        ({"device_class": "power"}, True),
        ({"device_class": "enum"}, False),
        ({"precision": 2, "is_text": True}, False),
    ],
)
def test_numbers_by_quantity(changes: dict[str, Any], is_number: bool) -> None:
    assert ha_rules.expects_number(Quantity(key="a", name="A", **changes), None) is is_number
