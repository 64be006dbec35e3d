"""The watchdog: fed as long as no watched task is stuck (docs/operations.md, Liveness)."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from collections.abc import Callable, Iterable

from kamstrup_mqtt.core.heartbeat import Deadline

FEED_INTERVAL = 20.0
"""Seconds from one feeding of the watchdog to the next; the unit has WatchdogSec=60."""

EXIT_AFTER = 90.0
"""Seconds without a feeding after which the process ends itself, where no systemd does it."""

FED_WITHIN = 60.0
"""Seconds since the last feeding within which the daemon counts as healthy."""

_LOG = logging.getLogger(__name__)


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
