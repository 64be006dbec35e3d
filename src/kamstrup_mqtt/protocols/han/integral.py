"""Energy made of power: what a list's power adds up to between two lists.

All in whole numbers: milliwatts (or milli-var) times milliseconds; 3.6 × 10^9 of them are 1 Wh.
"""

from __future__ import annotations

from array import array
from typing import Final

WATT_HOUR: Final = 3_600_000_000
MAX_GAP: Final = 30_000
"""Milliseconds between two powers above which nobody knows what was in between."""
HISTORY_LENGTH: Final = 300_000
"""Milliseconds for which the way of the integral is kept: a register that was read at the full
hour comes up to a minute later."""

MAX_POWER: Final = 10**14
"""Milliwatts that nobody has: 100 GW. Sums of less fit into the 64 bits of an array."""


class Integral:
    """The energy that one power has made since the first time it was told."""

    def __init__(self) -> None:
        # arrays: the numbers of a list would take 32 bytes each. What was added since the point
        # before, and not the totals: those outgrow 64 bits after some years
        self._times = array("q")
        self._added = array("q")
        self._power = 0
        self.total = 0

    def add(self, power: int, at: int) -> int:
        """The power in mW, less than MOST, at `value_at` ms. Returns the length of a gap in ms that
        was not integrated, else 0. Between two powers the mean of both is taken."""
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
        """What the total was at `moment` ms, between two known points by proportion."""
        total, later, step = self.total, moment, 0  # later: of the point behind, `step` more
        for time, added in zip(reversed(self._times), reversed(self._added), strict=True):
            if time <= moment:
                return total + (step * (moment - time) // (later - time) if step else 0)
            total, later, step = total - added, time, added
        return total + step
