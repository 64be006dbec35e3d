"""Time for a replay: as recorded, some times as fast, or as fast as the machine can.

The loop's clock is not the host's. As fast as possible means: whenever everybody waits, the clock
stands at the next moment at which somebody wakes. So a day of polls, pauses and time limits takes
seconds, in the same order each time. What the world outside has to do - a broker's
acknowledgement - holds the clock still (`hold`).
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

START = 1_000_000.0
"""The loop's time at the start: the host's uptime would make two replays differ."""

HOLD_LIMIT = 20.0
"""Real seconds after which the clock goes on though somebody holds it: a broker that never
acknowledges must run into the time limits that are meant for it."""

_LOOK = 0.2
"""Real seconds between two looks at the clock while it is held."""


class ReplayTime:
    """`speed` None: as fast as possible. Its `time` is the loop's and the daemon's clock."""

    def __init__(self, speed: float | None, *, real: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self._real = real
        self._now = START
        self._anchor = real()
        self._holders = 0

    def time(self) -> float:
        """Seconds."""
        passed = self._real() - self._anchor
        if self._holders:
            return self._now + max(0.0, passed - HOLD_LIMIT)
        return self._now if self.speed is None else self._now + passed * self.speed

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The clock stands still inside, unless it runs at the world's own speed."""
        if self.speed == 1:
            yield
            return
        self._set(self._holders + 1)
        try:
            yield
        finally:
            self._set(self._holders - 1)

    def _set(self, holders: int) -> None:
        self._now, self._anchor = self.time(), self._real()
        self._holders = holders

    def wait(self, select: Callable[[float | None], bool], timeout: float | None) -> None:
        """Wait for `timeout` seconds of ours, or until something comes. `select(real seconds)`:
        whether something came."""
        if timeout is None or timeout <= 0:
            select(timeout)
        elif self._holders:
            select(min(timeout, _LOOK))
        elif self.speed is not None:
            select(timeout / self.speed)
        elif not select(0):
            self._now += timeout


class _Selector(selectors.DefaultSelector):
    """Waits by a ReplayTime."""

    def __init__(self, clock: ReplayTime) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = []

        def look(seconds: float | None) -> bool:
            found.extend(super(_Selector, self).select(seconds))
            return bool(found)

        self._clock.wait(look, timeout)
        return found


class ReplayLoop(asyncio.SelectorEventLoop):
    """A loop whose time is a ReplayTime."""

    def __init__(self, clock: ReplayTime) -> None:
        super().__init__(_Selector(clock))
        self._replay_clock = clock

    def time(self) -> float:
        """Seconds of the replay."""
        return self._replay_clock.time()
