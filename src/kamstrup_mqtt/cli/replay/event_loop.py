"""The clock and the event loop of a replay, in recorded time, faster, or as fast as possible.

As fast as possible means that the clock jumps to the next timer whenever no callback is ready. A
day of polls, pauses and timeouts then takes seconds, in the same order each time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

START = 1_000_000.0
"""The loop's time at the start. The uptime of the host would make two replays differ."""


class ReplayClock:
    """The clock of the loop and of the daemon, in seconds.

    `speed` is a factor, or None for as fast as possible. The clock stands still between two waits
    of the loop: the time that the program itself takes shortens the next waits and never appears in
    a time of the replay.
    """

    def __init__(self, speed: float | None, *, real: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._real = real
        self._begin = real()
        self._now = START

    def time(self) -> float:
        """Return the time in seconds."""
        return self._now

    def wait(self, select: Callable[[float | None], bool], timeout: float | None) -> None:
        """Wait for `timeout` seconds of the replay, or until there is an event.

        `select` waits for the given number of real seconds and returns whether there was an event.
        """
        if timeout is None or timeout <= 0:
            select(timeout)
        elif self._speed is None:
            if not select(0):
                self._now += timeout
        else:
            end = self._now + timeout
            real_end = self._begin + (end - START) / self._speed
            if select(max(0.0, real_end - self._real())):
                end = min(end, START + (self._real() - self._begin) * self._speed)
            self._now = max(self._now, end)


class _Selector(selectors.DefaultSelector):
    """Waits by the clock of a replay."""

    def __init__(self, clock: ReplayClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events: list[tuple[selectors.SelectorKey, int]] = []

        def collect(seconds: float | None) -> bool:
            events.extend(super(_Selector, self).select(seconds))
            return bool(events)

        self._clock.wait(collect, timeout)
        return events


class ReplayLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a ReplayClock."""

    def __init__(self, clock: ReplayClock) -> None:
        super().__init__(_Selector(clock))
        self._replay_clock = clock

    def time(self) -> float:
        """Return the time of the replay in seconds."""
        return self._replay_clock.time()
