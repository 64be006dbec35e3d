"""The watchdog, kicked while no task is stuck (docs/operations.md, Liveness)."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from collections.abc import Callable, Iterable

from kamstrup_mqtt.core.heartbeat import Heartbeat

KICK_INTERVAL = 20.0
"""Seconds between kicks; the systemd unit has WatchdogSec=60."""

EXIT_AFTER = 90.0
"""Seconds without a kick after which the process ends itself, for hosts without systemd."""

HEALTHY_WITHIN = 60.0
"""Seconds since the last kick within which the daemon is healthy."""

_LOG = logging.getLogger(__name__)


def late_names(heartbeats: Iterable[Heartbeat]) -> list[str]:
    """Return the names of the late heartbeats."""
    return [heartbeat.name for heartbeat in heartbeats if heartbeat.is_late()]


def start_exit_timer(seconds: float = EXIT_AFTER) -> None:
    """End the process after `seconds` with a traceback of each thread, unless called again."""
    faulthandler.dump_traceback_later(seconds, exit=True)


class Watchdog:
    """Kicks the watchdog of systemd and restarts our exit timer while no task is stuck.

    `kick` notifies systemd, `exit_timer` restarts the timer. If a task is stuck, neither is called,
    and systemd or the timer (in containers) ends the process.
    """

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
        """Seconds since the last kick."""
        return self._monotonic() - self._last_kick

    @property
    def is_healthy(self) -> bool:
        """True if the last kick is recent enough."""
        return self.seconds_since_kick <= HEALTHY_WITHIN

    def check(self) -> None:
        """Kick, or log the stuck tasks once."""
        late = late_names(self._heartbeats)
        if late and late != self._late:
            _LOG.error(
                "stuck: %s; the watchdog is no longer kicked, and the process will be restarted",
                ", ".join(late),
            )
        self._late = late
        if not late:
            self._last_kick = self._monotonic()
            self._kick()
            self._exit_timer()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(self._interval)
