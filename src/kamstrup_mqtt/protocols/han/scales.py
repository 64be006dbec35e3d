"""In what Kamstrup's lists count voltage and current: found by physics, frame by frame.

The lists carry no scalers, and grid companies change them from afar. But the voltages times the
currents must make the power: with P and Q the net powers of the same frame,

    r = Σ U·I / √(P² + Q²)          (Σ U·I / √3 on three wires, whose voltages are line to line)

is about 1, and more where one phase imports what another exports; it is never below 1 but for
rounding. So counts of 0.001 A that are taken for 0.01 A make r ten times too large, and counts
of 0.01 A cannot be 0.001 A where that makes r smaller than 1. Where the list tells the power of
each phase, the sums are made of those: nothing cancels out between them.

A voltage above 1000 cannot be volts on a low-voltage meter: it is counted in 0.01 V.
Source: measured over 700 recorded frames of one-, three- and four-wire meters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

MAX_VOLTS: Final = 1000
MIN_POWER: Final = 100.0
"""VA below which the rounding of the currents says more than the current itself."""
MIN_RATIO: Final = 0.85
"""The least r that rounding leaves of 1."""
MAX_RATIO: Final = 3.0
"""The largest r of meters whose phases import and export at once, 2.9 in the recordings."""

VOLTAGES: Final = ("32.7.0", "52.7.0", "72.7.0")

_CENTI, _MILLI = -2, -3

Proof: TypeAlias = Literal["proven", "likely"]


class Scales(NamedTuple):
    """Powers of ten: volts = count × 10^voltage, amperes = count × 10^current."""

    voltage: int
    current: int


class CurrentScale:
    """The scale of one meter's currents. What physics has excluded once stays excluded: 0.01 A is
    proven by one frame in which 0.001 A is too little for its power."""

    def __init__(self) -> None:
        self._current = _CENTI
        self._is_proven = False

    def scales_for(self, counts: Mapping[str, int], meter_type: str | None) -> Scales:
        """The scales of a frame. `counts`: OBIS code without A, B and F ("31.7.0") -> count."""
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
        """Whether no frame of this meter can change the scale of its currents any more."""
        return self._is_proven or _is_direct(meter_type)

    def final_scales(self, voltages: Sequence[int]) -> Scales:
        """The scales of a frame with these counts of voltage, of a meter that is settled."""
        return Scales(voltage_exponent(voltages), self._current)


def voltage_exponent(counts: Sequence[int]) -> int:
    """The scale of the voltages of a frame."""
    return _CENTI if counts and max(counts) > MAX_VOLTS else 0


def _is_direct(meter_type: str | None) -> bool:
    """684 and 686 are connected directly; only 685 measures through current transformers."""
    return (meter_type or "").startswith(("684", "686"))


def _is_three_wire(meter_type: str | None) -> bool:
    """The sixth digit of the type: 2 three-wire, 3 four-wire, 1 one phase."""
    return (meter_type or "")[:2] == "68" and (meter_type or "")[5:6] == "2"


def _ratio(counts: Mapping[str, int], voltage: int, meter_type: str | None) -> float | None:
    """r for currents counted in 0.01 A; None where the frame says too little."""
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
    """The apparent power, by the phases where the frame has them."""
    phases = [
        abs(counts.get(f"{21 + group}.7.0", 0) - counts.get(f"{22 + group}.7.0", 0))
        for group in (0, 20, 40)
    ]
    if "1.7.0" not in counts:
        return None
    active = counts["1.7.0"] - counts.get("2.7.0", 0)
    reactive = counts.get("3.7.0", 0) - counts.get("4.7.0", 0)
    return math.hypot(max(abs(active), sum(phases)), reactive)
