"""Energy made of power: what a list's power adds up to between two lists.

All in whole numbers: milliwatts (or milli-var) times milliseconds; 3.6 × 10^9 of them are 1 Wh.
"""

from __future__ import annotations

from typing import Final

WATT_HOUR: Final = 3_600_000_000
LONGEST_GAP: Final = 30_000
"""Milliseconds between two powers above which nobody knows what was in between."""
KEPT: Final = 300_000
"""Milliseconds for which the way of the integral is kept: a register that was read at the full
hour comes up to a minute later."""


class Integral:
    """The energy that one power has made since the first time it was told."""

    def __init__(self) -> None:
        # lists of numbers: pairs of them, or a deque of a few, would take several times as much
        self._times: list[int] = []
        self._totals: list[int] = []
        self._power = 0
        self.total = 0

    def add(self, power: int, at: int) -> int:
        """The power in mW at `at` ms. Returns the length of a gap in ms that was not integrated,
        else 0. Between two powers the mean of both is taken."""
        gap = 0
        times = self._times
        if times:
            elapsed = at - times[-1]
            if elapsed <= LONGEST_GAP:
                self.total += (self._power + power) * elapsed // 2
            else:
                gap = elapsed
        self._power = power
        times.append(at)
        self._totals.append(self.total)
        while at - times[0] > KEPT:
            del times[0], self._totals[0]
        return gap

    def at(self, moment: int) -> int:
        """What the total was at `moment` ms, between two known points by proportion."""
        later: tuple[int, int] | None = None
        for point in zip(reversed(self._times), reversed(self._totals), strict=True):
            if point[0] <= moment:
                if later is None or later[0] == point[0]:
                    return point[1]
                share = (later[1] - point[1]) * (moment - point[0])
                return point[1] + share // (later[0] - point[0])
            later = point
        return later[1] if later else self.total
