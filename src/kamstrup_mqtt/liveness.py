"""Deadlines: by when every task will have acted again (docs/operations.md, Liveness)."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from collections.abc import Callable, Iterable

GRACE = 30.0
"""Seconds past its deadline at which a task counts as stuck."""

FEED_INTERVAL = 20.0
"""Seconds from one feeding of the watchdog to the next; the unit has WatchdogSec=60."""

EXIT_AFTER = 90.0
"""Seconds without a feeding after which the process ends itself, where no systemd does it."""

FED_WITHIN = 60.0
"""Seconds since the last feeding within which the daemon counts as healthy."""

_LOG = logging.getLogger(__name__)


class Deadline:
    """By when its owner will have acted again, sleeping included. Monotonic seconds."""

    __slots__ = ("_monotonic", "name", "next_due")

    def __init__(self, name: str, monotonic: Callable[[], float]) -> None:
        self.name = name
        self._monotonic = monotonic
        self.next_due = monotonic()

    def within(self, seconds: float) -> None:
        """I will act again in at most `seconds`."""
        self.next_due = self._monotonic() + seconds

    def late(self, grace: float = GRACE) -> bool:
        """Whether the owner is more than `grace` seconds past its promise."""
        return self._monotonic() > self.next_due + grace


def stuck(deadlines: Iterable[Deadline]) -> list[str]:
    """The names of those that are late."""
    return [deadline.name for deadline in deadlines if deadline.late()]


def arm_exit(seconds: float = EXIT_AFTER) -> None:
    """End the process with a traceback of every thread unless this is called again in time."""
    faulthandler.dump_traceback_later(seconds, exit=True)


class Watchdog:
    """Feeds systemd's watchdog and our own, as long as nobody that it watches is stuck.

    `feed` tells systemd, `arm` sets our own timer. When somebody is stuck neither is called, and
    the process is ended from outside (systemd) or by its own timer (containers).
    """

    def __init__(
        self,
        deadlines: Iterable[Deadline],
        feed: Callable[[], None],
        monotonic: Callable[[], float],
        *,
        arm: Callable[[], None] = arm_exit,
        interval: float = FEED_INTERVAL,
    ) -> None:
        self._deadlines = tuple(deadlines)
        self._feed = feed
        self._arm = arm
        self._monotonic = monotonic
        self._interval = interval
        self._stuck: list[str] = []
        self._fed_at = monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last feeding."""
        return self._monotonic() - self._fed_at

    @property
    def healthy(self) -> bool:
        """Whether the last feeding is recent enough."""
        return self.age <= FED_WITHIN

    def tick(self) -> None:
        """Feed, or say who is stuck (once)."""
        late = stuck(self._deadlines)
        if late and late != self._stuck:
            _LOG.error(
                "stuck: %s; the watchdog is no longer fed, the process will be ended and started"
                " anew",
                ", ".join(late),
            )
        self._stuck = late
        if not late:
            self._fed_at = self._monotonic()
            self._feed()
            self._arm()

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            self.tick()
            await asyncio.sleep(self._interval)
