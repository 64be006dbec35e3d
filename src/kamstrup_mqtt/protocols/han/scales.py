"""The scales of voltage and current in Kamstrup's lists, found by physics in each frame.

The lists carry no scalers, and grid companies change the scales remotely. But the voltages times
the currents must give the power. With the net powers P and Q of the same frame,

    r = Σ U·I / √(P² + Q²)          (Σ U·I / √3 on three wires, whose voltages are line to line)

is about 1. It is larger if one phase imports what another exports, and smaller only by rounding.
So if counts of 0.001 A are read as 0.01 A, r is ten times too large; and counts are not of 0.001 A
if that makes r smaller than 1. If the list has the power of each phase, the sums use those, so
that phases do not cancel each other out.

A voltage above 1000 cannot be in volts on a low-voltage meter: it is counted in 0.01 V.
Source: measured over 700 recorded frames of one-, three- and four-wire meters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

MAX_VOLTS: Final = 1000
MIN_POWER: Final = 100.0
"""VA below which the rounding of the currents is larger than the currents."""
MIN_RATIO: Final = 0.85
"""The smallest r that rounding can cause."""
MAX_RATIO: Final = 3.0
"""The largest r of meters whose phases import and export at once: 2.9 in the recordings."""

VOLTAGES: Final = ("32.7.0", "52.7.0", "72.7.0")

_CENTI, _MILLI = -2, -3


class Scales(NamedTuple):
    """Exponents of ten: volts = count × 10^voltage, amperes = count × 10^current."""

    voltage: int
    current: int


class CurrentScale:
    """The scale of one meter's currents: 0.01 A or 0.001 A.

    One frame in which currents of 0.001 A are too small for its power proves 0.01 A for good.
    """

    def __init__(self) -> None:
        self._current = _CENTI
        self._is_proven = False

    def scales_for(self, counts: Mapping[str, int], meter_type: str | None) -> Scales:
        """Return the scales of a frame and learn from it.

        counts  OBIS code without A, B and F ("31.7.0") -> count as sent
        """
        voltage = voltage_exponent([counts.get(code, 0) for code in VOLTAGES])
        if self.is_final(meter_type):
            return Scales(voltage, self._current)
        ratio = _ratio(counts, voltage, meter_type)
        if ratio is not None:
            if ratio / 10 < MIN_RATIO:
                self._current = _CENTI
                self._is_proven = ratio >= MIN_RATIO
            elif ratio / 10 <= MAX_RATIO:
                self._current = _MILLI
        return Scales(voltage, self._current)

    def is_final(self, meter_type: str | None) -> bool:
        """Whether no further frame can change the scale of this meter's currents."""
        return self._is_proven or _is_direct(meter_type)

    def final_scales(self, voltages: Sequence[int]) -> Scales:
        """Return the scales of a frame with these counts of voltage, if `is_final`."""
        return Scales(voltage_exponent(voltages), self._current)


def voltage_exponent(counts: Sequence[int]) -> int:
    """Return the exponent of the voltages of a frame."""
    return _CENTI if counts and max(counts) > MAX_VOLTS else 0


def _is_direct(meter_type: str | None) -> bool:
    """Whether the meter measures without current transformers: 684 and 686 do, 685 does not."""
    return (meter_type or "").startswith(("684", "686"))


def _is_three_wire(meter_type: str | None) -> bool:
    """Whether the sixth digit of the type is 2 (three-wire), not 1 (one phase) or 3 (four-wire)."""
    return (meter_type or "")[:2] == "68" and (meter_type or "")[5:6] == "2"


def _ratio(counts: Mapping[str, int], voltage: int, meter_type: str | None) -> float | None:
    """Return r for currents counted in 0.01 A. None if the frame has too few values."""
    apparent = 0.0
    for group in (0, 20, 40):
        volts = counts.get(f"{32 + group}.7.0", 0) * 10.0**voltage
        apparent += volts * counts.get(f"{31 + group}.7.0", 0) * 10.0**_CENTI
    if _is_three_wire(meter_type):
        apparent /= math.sqrt(3)
    power = _power(counts)
    if power is None or power < MIN_POWER or not apparent:
        return None
    return apparent / power


def _power(counts: Mapping[str, int]) -> float | None:
    """Return the apparent power in VA, by phases if the frame has them."""
    phases = [
        abs(counts.get(f"{21 + group}.7.0", 0) - counts.get(f"{22 + group}.7.0", 0))
        for group in (0, 20, 40)
    ]
    if "1.7.0" not in counts:
        return None
    active = counts["1.7.0"] - counts.get("2.7.0", 0)
    reactive = counts.get("3.7.0", 0) - counts.get("4.7.0", 0)
    return math.hypot(max(abs(active), sum(phases)), reactive)
