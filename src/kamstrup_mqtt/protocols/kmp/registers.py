"""The register table: register number -> public key.

A register number has the same meaning on every meter that has it. Source: Kamstrup 5512-447 rev
M1, 5 (MULTICAL 601), and lists that users of other models published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from kamstrup_mqtt.core.model import SourceId

GET_SERIAL_NO = "serial_no"
"""Source of the answer to GetSerialNo."""

GET_TYPE = "type"
SOFTWARE = "software"
"""Sources of the two parts of the answer to GetType."""


def _extremes(first: int, span: str) -> dict[SourceId, str]:
    """Return eight registers: date and value of the highest and lowest flow, then of the power."""
    keys = [f"{bound}_{what}_{span}" for what in ("flow", "power") for bound in ("max", "min")]
    return {
        first + 2 * n + half: key + suffix
        for n, key in enumerate(keys)
        for half, suffix in enumerate(("_date", ""))
    }


def _phases(first: int, key: str) -> dict[SourceId, str]:
    return {first + n: f"{key}_l{n + 1}" for n in range(3)}


# Without a key on purpose: 266 and 155 (energy of high resolution, a total only after it was put
# together with register 60), 369 (its bits are unconfirmed).
_HEAT_AND_WATER: dict[SourceId, str] = {
    60: "heat_energy",
    61: "inlet_energy",
    62: "outlet_energy",
    63: "cooling_energy",
    64: "tariff_2",
    65: "tariff_3",
    68: "volume",
    69: "volume_2",
    72: "mass",
    73: "mass_2",
    74: "flow",
    75: "flow_2",
    80: "power",
    84: "pulse_input_a",
    85: "pulse_input_b",
    86: "temp1",
    87: "temp2",
    88: "temp3",
    89: "temp_diff",
    91: "pressure_1",
    92: "pressure_2",
    94: "control_energy",
    95: "tap_water_energy",
    96: "heat_energy_y",
    97: "volume_temp1",
    99: "info_code",
    110: "volume_temp2",
    113: "info_events",
    122: "temp4",
    **_extremes(123, "year"),
    **_extremes(138, "month"),
    146: "avg_temp1_year",
    147: "avg_temp2_year",
    149: "avg_temp1_month",
    150: "avg_temp2_month",
    175: "error_hours",
    362: "tariff_4",
}

# A tariff has four registers (A14, A23, R12, R34): a captured answer has 19, 23, 27 and 31 all in
# kWh, and 19 equal to register 1. Tariffs 5 to 8 (1059..1074) were never captured: no key.
_ELECTRICITY: dict[SourceId, str] = {
    1: "energy_import",
    2: "energy_export",
    3: "reactive_energy_import",
    4: "reactive_energy_export",
    13: "energy_import_high_res",
    19: "energy_import_tariff_1",
    23: "energy_import_tariff_2",
    27: "energy_import_tariff_3",
    31: "energy_import_tariff_4",
    1023: "power_import",
    1024: "power_export",
    1025: "reactive_power_import",
    1026: "reactive_power_export",
    **_phases(1054, "voltage"),
    **_phases(1076, "current"),
    **_phases(1080, "power_import"),
    **_phases(1170, "power_factor"),
    1173: "power_factor",
    **_phases(1344, "power_export"),
}

_DEVICE: dict[SourceId, str] = {
    112: "customer_number",  # the upper eight digits
    152: "program_number",
    153: "config_number",
    348: "meter_time",
    404: "meter_type",
    1001: "serial_number",
    1002: "meter_clock",
    1003: "meter_date",
    1004: "operating_hours",
    1005: "software_version",
    1010: "customer_number_2",  # the lower eight digits
    1047: "meter_time",
    1058: "model",
    1126: "meter_type",
    GET_SERIAL_NO: "serial_number",
    GET_TYPE: "meter_type",
    SOFTWARE: "software_version",
}

IDENTIFIERS = frozenset((1001, 51, 52, 53, 1010))
"""Registers with an identification number. Electricity meters send them in 8 to 16 bytes."""

KEYS: Mapping[SourceId, str] = MappingProxyType({**_HEAT_AND_WATER, **_ELECTRICITY, **_DEVICE})
"""Source -> public key."""

_WORDS = (GET_SERIAL_NO, GET_TYPE, SOFTWARE)
_LAST = 0xFFFF
_NUMBER = re.compile(r"(?:register_)?(0x[0-9a-f]{1,4}|[0-9]{1,5})")


def key_of(source: SourceId) -> str | None:
    """Return the public key of a register. None if it has none."""
    return KEYS.get(source)


def fallback_key(source: SourceId) -> str:
    """Return the key of a register without a public one."""
    return f"register_{source}"


def parse_source(text: str) -> SourceId:
    """Return the register that a text names: 60, 0x3C, register_60, serial_no, type, software.

    Raises ValueError with a message for the user.
    """
    word = text.strip().lower()
    if word in _WORDS:
        return word
    found = _NUMBER.fullmatch(word)
    number = int(found[1], 16 if found[1].startswith("0x") else 10) if found else -1
    if not 0 <= number <= _LAST:
        raise ValueError(
            f"{text!r} is no register: give its number from 0 to {_LAST} (60 or 0x3C), or one of "
            + ", ".join(_WORDS)
        )
    return number
