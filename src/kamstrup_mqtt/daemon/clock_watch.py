"""Notices that the host's clock is set, or cannot be right, and puts right what it stamped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from kamstrup_mqtt.core.clock import Clock, StepWatch, rfc3339
from kamstrup_mqtt.core.report_queue import Outbox
from kamstrup_mqtt.devices.device import Picture
from kamstrup_mqtt.storage.state_file import Memory

_LOG = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds from one look to the next."""
PATIENCE = 600.0
"""Seconds after the start within which a clock without a battery is usually set."""


class ClockWatch:
    """`connected`: whether what is stamped is published at once."""

    def __init__(
        self,
        clock: Clock,
        memory: Memory,
        outbox: Outbox,
        pictures: Mapping[str, Picture],
        connected: Callable[[], bool],
        *,
        interval: float = INTERVAL,
        patience: float = PATIENCE,
    ) -> None:
        self._clock = clock
        self._memory = memory
        self._outbox = outbox
        self._pictures = pictures
        self._connected = connected
        self._interval = interval
        self._patience = patience

    async def run(self) -> None:
        """Watch for ever."""
        watch = StepWatch(self._clock)
        unset, said = self._clock.monotonic(), False
        while True:
            await asyncio.sleep(self._interval)
            stepped = watch.look()
            if stepped is not None:
                self._set(stepped)
            if self._clock.now() is not None:
                unset, said = self._clock.monotonic(), False
            elif not said and self._clock.monotonic() - unset > self._patience:
                said = True
                self._say_not_right()

    def _set(self, stepped: float) -> None:
        """What was stamped by a wrong clock and not published yet is stamped anew; what is
        remembered shall not be later than now, or the next run would not believe the clock."""
        _LOG.warning("the host's clock was set by %+.0f s", stepped)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if now is None:
            return
        self._outbox.restamp(now, monotonic)
        if not self._connected():
            for picture in self._pictures.values():
                picture.restamp(now, monotonic)
        self._memory.not_after(now)

    def _say_not_right(self) -> None:
        clock = self._clock
        _LOG.warning(
            "the host's clock says %s, which is before %s, the last moment that is known of:"
            " readings are published without a time. Set the clock; if it is right, it was wrong"
            " before: stop the daemon, remove memory.json, start it",
            rfc3339(clock.wall),
            rfc3339(clock.not_before),
        )
