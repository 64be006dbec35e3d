"""Energy made of power: what the power of a meter adds up to between two messages.

All numbers are whole: milliwatts (or milli-var) times milliseconds; 3.6 × 10^9 of them are 1 Wh.
"""

from __future__ import annotations

from array import array
from typing import Final

WATT_HOUR: Final = 3_600_000_000
MAX_GAP: Final = 30_000
"""Milliseconds between two powers above which the energy between them is unknown."""
HISTORY_LENGTH: Final = 300_000
"""Milliseconds for which past totals are kept: a register that belongs to the full hour is sent up
to a minute later."""

MAX_POWER: Final = 10**14
"""Milliwatts that no meter measures: 100 GW. Products of less fit into the 64 bits of an array."""


class PowerIntegral:
    """The energy of one power since its first value."""

    __slots__ = ("_added", "_power", "_times", "total")

    def __init__(self) -> None:
        # arrays: the numbers of a list would take 32 bytes each. They hold what was added since
        # the previous point, because totals outgrow 64 bits after some years
        self._times = array("q")
        self._added = array("q")
        self._power = 0
        self.total = 0

    @property
    def is_empty(self) -> bool:
        """Whether no power was added yet."""
        return not self._times

    def add(self, power: int, at: int) -> int:
        """Add the power in mW, less than MAX_POWER, at `at` ms.

        Between two powers their mean counts. Returns the length of a gap in ms that was not
        integrated, else 0.
        """
        gap = added = 0
        times = self._times
        if times:
            elapsed = at - times[-1]
            if elapsed <= MAX_GAP:
                added = (self._power + power) * elapsed // 2
            else:
                gap = elapsed
        self._power = power
        self.total += added
        times.append(at)
        self._added.append(added)
        while at - times[0] > HISTORY_LENGTH:
            del times[0], self._added[0]
        return gap

    def value_at(self, moment: int) -> int:
        """Return what the total was at `moment` ms, interpolated between two known points."""
        total, later, step = self.total, moment, 0  # later: the next point, with `step` more
        for time, added in zip(reversed(self._times), reversed(self._added), strict=True):
            if time <= moment:
                return total + (step * (moment - time) // (later - time) if step else 0)
            total, later, step = total - added, time, added
        return total + step
