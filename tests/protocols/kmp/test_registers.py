"""Which register is which quantity, and how people name registers."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.quantities import QUANTITIES
from kamstrup_mqtt.protocols.kmp import SPEC, KmpCodec
from kamstrup_mqtt.protocols.kmp.registers import KEYS


def test_the_specification() -> None:
    assert (SPEC.name, SPEC.line_settings, SPEC.is_pushed, SPEC.checksum) == (
        "kmp",
        "1200 8N2",
        False,
        "crc16",
    )
    assert SPEC.serial == SerialParams(1200, 8, "N", 2)
    assert SPEC.make_codec is KmpCodec


def test_every_key_is_a_quantity() -> None:
    assert set(KEYS.values()) <= set(QUANTITIES)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        (60, "heat_energy"),
        (94, "control_energy"),
        (63, "cooling_energy"),
        (61, "inlet_energy"),
        (62, "outlet_energy"),
        (95, "tap_water_energy"),
        (96, "heat_energy_y"),
        (97, "volume_temp1"),
        (110, "volume_temp2"),
        (68, "volume"),
        (74, "flow"),
        (80, "power"),
        (86, "temp1"),
        (122, "temp4"),
        (89, "temp_diff"),
        (123, "max_flow_year_date"),
        (124, "max_flow_year"),
        (125, "min_flow_year_date"),
        (127, "max_power_year_date"),
        (130, "min_power_year"),
        (138, "max_flow_month_date"),
        (141, "min_flow_month"),
        (145, "min_power_month"),
        (1023, "power_import"),
        (1055, "voltage_l2"),
        (1078, "current_l3"),
        (1346, "power_export_l3"),
        (1170, "power_factor_l1"),
        (23, "energy_import_tariff_2"),
        (1004, "operating_hours"),
        ("serial_no", "serial_number"),
        ("type", "meter_type"),
        ("software", "software_version"),
        (266, None),
        (155, None),
        (369, None),
        (65535, None),
    ],
)
def test_keys(source: int | str, key: str | None) -> None:
    assert SPEC.key_of(source) == key


def test_a_register_without_a_key_is_set_by_its_number() -> None:
    assert SPEC.fallback_key(266) == "register_266"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("60", 60),
        ("0x3C", 60),
        (" 0X003c ", 60),
        ("register_266", 266),
        ("065", 65),
        ("65535", 65535),
        ("serial_no", "serial_no"),
        ("Type", "type"),
    ],
)
def test_ways_to_name_a_register(text: str, source: int | str) -> None:
    assert SPEC.parse_source(text) == source


@pytest.mark.parametrize("text", ["", "heat", "-1", "65536", "0x10000", "3C", "1.8.0", "6_0"])
def test_an_invalid_register_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no register: give its number from 0 to 65535"):
        SPEC.parse_source(text)
