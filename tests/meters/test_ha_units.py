"""Units and classes as Home Assistant takes them: components/sensor/const.py of 2026.11."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.meters import ha_units


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
def test_unit_taken(device_class: str | None, unit: str | None) -> None:
    assert ha_units.unit_error(device_class, unit) is None


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
def test_unit_refused(device_class: str, unit: str | None, words: str) -> None:
    assert words in (ha_units.unit_error(device_class, unit) or "")


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
def test_classes_taken(device_class: str | None, state_class: str | None) -> None:
    assert ha_units.state_class_error(device_class, state_class) is None


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
def test_classes_refused(device_class: str | None, state_class: str | None, words: str) -> None:
    assert words in (ha_units.state_class_error(device_class, state_class) or "")
