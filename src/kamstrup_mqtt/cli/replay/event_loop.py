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


class ReplayClock:
    """`speed` None: as fast as possible. Its `time` is the loop's and the daemon's clock.

    Between two waits the clock stands: what our own work takes is made up for by shorter waits, and
    never seen in a time of the replay.
    """

    def __init__(self, speed: float | None, *, real: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._real = real
        self._begin = real()
        self._now = START
        self._holders = 0
        self._held_since = 0.0

    def time(self) -> float:
        """Seconds."""
        if not self._holders:
            return self._now
        return self._now + max(0.0, self._real() - self._held_since - HOLD_LIMIT)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The clock stands still inside."""
        self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)

    def _hold(self, more: int) -> None:
        self._now, self._held_since = self.time(), self._real()
        self._holders += more

    def wait(self, select: Callable[[float | None], bool], timeout: float | None) -> None:
        """Wait for `timeout` seconds of ours, or until something comes. `select(real seconds)`:
        whether something came."""
        if timeout is None or timeout <= 0:
            select(timeout)
        elif self._holders:
            select(min(timeout, _LOOK))
        elif self._speed is None:
            if not select(0):
                self._now += timeout
        else:
            until = self._now + timeout
            due = self._begin + (until - START) / self._speed
            if select(max(0.0, due - self._real())):
                until = min(until, START + (self._real() - self._begin) * self._speed)
            self._now = max(self._now, until)


class _Selector(selectors.DefaultSelector):
    """Waits by a ReplayTime."""

    def __init__(self, clock: ReplayClock) -> None:
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

    def __init__(self, clock: ReplayClock) -> None:
        super().__init__(_Selector(clock))
        self._replay_clock = clock

    def time(self) -> float:
        """Seconds of the replay."""
        return self._replay_clock.time()
