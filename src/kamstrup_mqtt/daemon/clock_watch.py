"""Notices that the host's clock is set, or cannot be right, and puts right what it stamped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from kamstrup_mqtt.core.clock import Clock, StepDetector, rfc3339
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.storage.state_file import StateFile

_LOG = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds from one look to the next."""
UNSET_WARNING_DELAY = 600.0
"""Seconds after the start within which a clock without a battery is usually set."""


class ClockWatch:
    """`is_connected`: whether what is stamped is published at once."""

    def __init__(
        self,
        clock: Clock,
        state_file: StateFile,
        report_queue: ReportQueue,
        devices: Mapping[str, Device],
        is_connected: Callable[[], bool],
        *,
        interval: float = INTERVAL,
        warning_delay: float = UNSET_WARNING_DELAY,
    ) -> None:
        self._clock = clock
        self._state_file = state_file
        self._report_queue = report_queue
        self._devices = devices
        self._is_connected = is_connected
        self._interval = interval
        self._warning_delay = warning_delay

    async def run(self) -> None:
        """Watch for ever."""
        watch = StepDetector(self._clock)
        unset, said = self._clock.monotonic(), False
        while True:
            await asyncio.sleep(self._interval)
            stepped = watch.check()
            if stepped is not None:
                self._correct(stepped)
            if self._clock.now() is not None:
                unset, said = self._clock.monotonic(), False
            elif not said and self._clock.monotonic() - unset > self._warning_delay:
                said = True
                self._warn_unset()

    def _correct(self, stepped: float) -> None:
        """What was stamped by a wrong clock and not published yet is stamped anew; what is
        remembered shall not be later than now, or the next run would not believe the clock."""
        _LOG.warning("the host's clock was set by %+.0f s", stepped)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if now is None:
            return
        self._report_queue.correct_clock(now, monotonic)
        if not self._is_connected():
            for picture in self._devices.values():
                picture.correct_clock(now, monotonic)
        self._state_file.clamp_times(now)

    def _warn_unset(self) -> None:
        clock = self._clock
        _LOG.warning(
            "the host's clock says %s, which is before %s, the last moment that is known of:"
            " readings are published without a time. Set the clock; if it is right, it was wrong"
            " before: stop the daemon, remove memory.json, start it",
            rfc3339(clock.wall),
            rfc3339(clock.not_before),
        )
