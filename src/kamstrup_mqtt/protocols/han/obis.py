"""OBIS codes: their notation, their keys, and the unit that Kamstrup counts them in.

A code has six bytes, A-B:C.D.E.F. Kamstrup's lists have B = 1 (1-1:1.7.0.255); those of Aidon and
Kaifa, and P1 ports, have B = 0. Source: Kamstrup HAN-NVE interface description rev 3.1; OMNIPOWER
HAN interface specification 5512-2584 B1; IEC 62056-6-1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kamstrup_mqtt.core.model import SourceId

LIST_ID: Final = "list_id"
"""Source of the list identifier, which has no OBIS code in Kamstrup's lists."""
CLOCK: Final = "0-1:1.0.0.255"
"""The meter's clock in Kamstrup's lists: the only code with A = 0."""
CLOCKS: Final = (CLOCK, "0-0:1.0.0.255")
"""The meter's clock in the lists of all makers."""
DRIFT: Final = "clock_drift"
"""Source of the clock's drift: seconds that it is ahead of the host's clock."""
LIVE: Final = "live-"
"""Prefix of the source of a live counter, before the code of its register."""
COUNTED: Final = ("1.8.0", "2.8.0", "3.8.0", "4.8.0")
"""Registers (C.D.E) with a live counter; each counts the power C.7.0."""

_TEXT = re.compile(r"(?:(\d{1,3})-(\d{1,3}):)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?")


class Measure(NamedTuple):
    """Scale and unit of a value: value = raw × 10^exponent, in `unit`."""

    exponent: int
    unit: str | None


_POWER = Measure(0, "W")
_REACTIVE_POWER = Measure(0, "var")
_CURRENT = Measure(-2, "A")
_VOLTAGE = Measure(0, "V")
_FACTOR = Measure(-2, None)
# nearly all meters count 10 Wh; `energy_scale` changes the exponent
_ENERGY = Measure(-2, "kWh")
_REACTIVE_ENERGY = Measure(-2, "kvarh")

_TOTALS = {
    "1.7.0": ("power_import", _POWER),
    "2.7.0": ("power_export", _POWER),
    "3.7.0": ("reactive_power_import", _REACTIVE_POWER),
    "4.7.0": ("reactive_power_export", _REACTIVE_POWER),
    "13.7.0": ("power_factor", _FACTOR),
    "1.8.0": ("energy_import", _ENERGY),
    "2.8.0": ("energy_export", _ENERGY),
    "3.8.0": ("reactive_energy_import", _REACTIVE_ENERGY),
    "4.8.0": ("reactive_energy_export", _REACTIVE_ENERGY),
}
_PHASES = {  # group C of L1; L2 and L3 follow 20 and 40 later
    "21.7.0": ("power_import", _POWER),
    "22.7.0": ("power_export", _POWER),
    "31.7.0": ("current", _CURRENT),
    "32.7.0": ("voltage", _VOLTAGE),
    "33.7.0": ("power_factor", _FACTOR),
    "21.8.0": ("energy_import", _ENERGY),
    "22.8.0": ("energy_export", _ENERGY),
}
_NAMES = {
    "1-1:0.0.1.255": "meter_id",
    "1-1:0.0.5.255": "meter_id",
    "1-1:96.1.1.255": "meter_type",
    CLOCK: "meter_time",
    LIST_ID: LIST_ID,
    # Aidon, Landis+Gyr and Kaifa
    "1-1:0.2.129.255": LIST_ID,
    "1-0:0.2.129.255": LIST_ID,
    "0-0:96.1.0.255": "meter_id",
    "0-0:96.1.7.255": "meter_type",
    "0-0:1.0.0.255": "meter_time",
    DRIFT: "meter_clock_drift",
}


def _measured() -> Iterator[tuple[str, str, Measure]]:
    for code, (key, measure) in _TOTALS.items():
        yield code, key, measure
    for code, (key, measure) in _PHASES.items():
        group_c, _, rest = code.partition(".")
        for phase in range(3):
            yield f"{int(group_c) + 20 * phase}.{rest}", f"{key}_l{phase + 1}", measure


MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {f"1-{b}:{code}.255": measure for b in (0, 1) for code, _, measure in _measured()}
)
"""Code -> scale and unit on a Kamstrup meter."""

KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_NAMES,
        **{f"1-{b}:{code}.255": key for b in (0, 1) for code, key, _ in _measured()},
        **{f"{LIVE}{code}": f"{_TOTALS[code][0]}_live" for code in COUNTED},
    }
)
"""Code -> public key (docs/quantities.md)."""

TEXT_KEYS: Final = frozenset({"meter_id", "meter_type", LIST_ID})


def write(octets: bytes) -> str:
    """Return six bytes as a code: "1-1:1.7.0.255"."""
    a, b, c, d, e, f = octets
    return f"{a}-{b}:{c}.{d}.{e}.{f}"


def read(code: str) -> bytes:
    """Return the six bytes of a code written in full. Raises ValueError for anything else."""
    match = _TEXT.fullmatch(code)
    if match is None or None in match.groups():
        raise ValueError(f"{code}: not an OBIS code in full, such as 1-1:1.7.0.255")
    return bytes(int(group) for group in match.groups())


def parse_source(text: str) -> SourceId:
    """Return the source of a text: "1.7.0", "1-1:1.7.0" and "1-1:1.7.0.255" are the same.

    Raises ValueError with a message for the user.
    """
    if text in (LIST_ID, DRIFT) or (text.startswith(LIVE) and text in KEYS):
        return text
    match = _TEXT.fullmatch(text.strip())
    fields = [None if group is None else int(group) for group in match.groups()] if match else []
    if not fields or any(field is not None and field > 0xFF for field in fields):
        raise ValueError(
            f"{text!r} is not an OBIS code: write 1.7.0, 1-1:1.7.0 or 1-1:1.7.0.255 (numbers up"
            f" to 255), or {LIST_ID}"
        )
    a, b, c, d, e, f = fields
    if a is None:
        a, b = (0, 1) if (c, d, e) == (1, 0, 0) else (1, 1)  # as Kamstrup's lists have them
    return f"{a}-{b}:{c}.{d}.{e}.{255 if f is None else f}"


def key_of(source: SourceId) -> str | None:
    """Return the public key of a code. None if it has none."""
    return KEYS.get(str(source))


def fallback_key(source: SourceId) -> str:
    """Return the key of a code without a public one: "1-1:9.9.9.255" -> "obis_1_1_9_9_9_255"."""
    return "obis_" + re.sub(r"[^0-9A-Za-z]+", "_", str(source))
