"""The wall clock and the monotonic clock, and checks of the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

BUILD_TIME = datetime(2026, 11, 1, tzinfo=UTC)
"""Release date of this program. A wall clock before it was not set yet."""


class Clock:
    """Wall and monotonic time.

    `not_before` is the latest known moment. An earlier wall clock is wrong.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self.monotonic = monotonic
        self.not_before = BUILD_TIME

    @property
    def wall_offset(self) -> float:
        """Difference of wall and monotonic time in seconds. It changes only if the clock is set."""
        return self._wall() - self.monotonic()

    def now(self) -> datetime | None:
        """Return the UTC time, or None while the wall clock is wrong (a Pi without a network)."""
        now = self.wall
        return now if now >= self.not_before else None

    @property
    def wall(self) -> datetime:
        """The UTC time of the wall clock, unchecked."""
        return datetime.fromtimestamp(self._wall(), UTC)


STEP = 30.0
"""Change in seconds, relative to the monotonic clock, above which the wall clock was set."""


class StepDetector:
    """Detects that the wall clock was set."""

    def __init__(self, clock: Clock, step: float = STEP) -> None:
        self._clock = clock
        self._step = step
        self._wall_offset = clock.wall_offset

    def check(self) -> float | None:
        """Return the seconds by which the clock stepped since the last call, or None."""
        before, self._wall_offset = self._wall_offset, self._clock.wall_offset
        moved = self._wall_offset - before
        return moved if abs(moved) > self._step else None


def rfc3339(moment: datetime | None) -> str | None:
    """Format a time in UTC with milliseconds: 2026-11-21T03:30:00.000Z."""
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Parse a time written by `rfc3339`. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)
