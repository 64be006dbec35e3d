"""The watchdog: fed as long as no watched task is stuck (docs/operations.md, Liveness)."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from collections.abc import Callable, Iterable

from kamstrup_mqtt.core.heartbeat import Heartbeat

KICK_INTERVAL = 20.0
"""Seconds from one feeding of the watchdog to the next; the unit has WatchdogSec=60."""

EXIT_AFTER = 90.0
"""Seconds without a feeding after which the process ends itself, where no systemd does it."""

HEALTHY_WITHIN = 60.0
"""Seconds since the last feeding within which the daemon counts as healthy."""

_LOG = logging.getLogger(__name__)


def late_names(heartbeats: Iterable[Heartbeat]) -> list[str]:
    """The names of those that are late."""
    return [deadline.name for deadline in heartbeats if deadline.is_late()]


def start_exit_timer(seconds: float = EXIT_AFTER) -> None:
    """End the process with a traceback of every thread unless this is called again in time."""
    faulthandler.dump_traceback_later(seconds, exit=True)


class Watchdog:
    """Feeds systemd's watchdog and our own, as long as nobody that it watches is stuck.

    `kick` tells systemd, `exit_timer` sets our own timer. When somebody is stuck neither is called,
    and the process is ended from outside (systemd) or by its own timer (containers)."""

    def __init__(
        self,
        heartbeats: Iterable[Heartbeat],
        kick: Callable[[], None],
        monotonic: Callable[[], float],
        *,
        exit_timer: Callable[[], None] = start_exit_timer,
        interval: float = KICK_INTERVAL,
    ) -> None:
        self._heartbeats = tuple(heartbeats)
        self._kick = kick
        self._exit_timer = exit_timer
        self._monotonic = monotonic
        self._interval = interval
        self._late: list[str] = []
        self._last_kick = monotonic()

    @property
    def seconds_since_kick(self) -> float:
        """Seconds since the last feeding."""
        return self._monotonic() - self._last_kick

    @property
    def is_healthy(self) -> bool:
        """Whether the last feeding is recent enough."""
        return self.seconds_since_kick <= HEALTHY_WITHIN

    def check(self) -> None:
        """Feed, or say who is stuck (once)."""
        late = late_names(self._heartbeats)
        if late and late != self._late:
            _LOG.error(
                "stuck: %s; the watchdog is no longer fed, the process will be ended and started"
                " anew",
                ", ".join(late),
            )
        self._late = late
        if not late:
            self._last_kick = self._monotonic()
            self._kick()
            self._exit_timer()

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            self.check()
            await asyncio.sleep(self._interval)
