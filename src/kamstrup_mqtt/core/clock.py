"""The host's clocks, and whether the wall clock can be right."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

BUILD_TIME = datetime(2026, 11, 1, tzinfo=UTC)
"""The host's clock cannot be before this program was made: then it has not been set yet."""


class Clock:
    """Wall and monotonic time. `not_before`: the latest moment that memory knows of."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self.monotonic = monotonic
        self.not_before = BUILD_TIME

    @property
    def ahead(self) -> float:
        """Seconds that the wall clock is ahead of the monotonic one; constant unless it is set."""
        return self._wall() - self.monotonic()

    def now(self) -> datetime | None:
        """The UTC time, None while the host's clock cannot be right (a Pi without network)."""
        now = self.wall
        return now if now >= self.not_before else None

    @property
    def wall(self) -> datetime:
        """What the host's clock says, right or not."""
        return datetime.fromtimestamp(self._wall(), UTC)


class RecordedClock(Clock):
    """The time at which something was recorded. `started`: when `monotonic` was what it is now;
    None: the host did not know, and so it is never known."""

    def __init__(self, started: datetime | None, monotonic: Callable[[], float]) -> None:
        begin, first = (started or BUILD_TIME).timestamp(), monotonic()
        super().__init__(lambda: begin + monotonic() - first, monotonic)
        self._known = started is not None
        self.not_before = datetime.min.replace(tzinfo=UTC)  # recorded by an older version, perhaps

    def now(self) -> datetime | None:
        return super().now() if self._known else None


STEP = 30.0
"""Seconds by which the wall clock may leave the monotonic one before that is called a step."""


class StepDetector:
    """Notices that somebody set the host's clock."""

    def __init__(self, clock: Clock, step: float = STEP) -> None:
        self._clock = clock
        self._step = step
        self._ahead = clock.ahead

    def check(self) -> float | None:
        """Seconds by which the clock stepped since the last look, None when it did not."""
        before, self._ahead = self._ahead, self._clock.ahead
        moved = self._ahead - before
        return moved if abs(moved) > self._step else None


def rfc3339(moment: datetime | None) -> str | None:
    """The moment as text with milliseconds and Z: 2026-11-21T03:30:00.000Z."""
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_rfc3339(text: str) -> datetime:
    """The moment that `rfc3339` wrote; raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)
