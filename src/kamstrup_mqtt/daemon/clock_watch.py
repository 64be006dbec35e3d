"""Detects a changed or wrong host clock and corrects the affected timestamps."""

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
"""Seconds between checks."""
UNSET_WARNING_DELAY = 600.0
"""Seconds without a valid clock before a warning. A host without a battery sets it by then."""


class ClockWatch:
    """Watches the host's clock.

    `is_connected` returns whether the broker is connected, so that readings are published at once.
    """

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
        """Run until cancelled."""
        detector = StepDetector(self._clock)
        last_valid, is_warned = self._clock.monotonic(), False
        while True:
            await asyncio.sleep(self._interval)
            step = detector.check()
            if step is not None:
                self._correct(step)
            if self._clock.now() is not None:
                last_valid, is_warned = self._clock.monotonic(), False
            elif not is_warned and self._clock.monotonic() - last_valid > self._warning_delay:
                is_warned = True
                self._warn_unset()

    def _correct(self, step: float) -> None:
        """Correct the timestamps that are not published yet, and limit the stored ones to now.

        The next run would otherwise reject the clock as earlier than the latest known moment.
        """
        _LOG.warning("the host's clock was set by %+.0f s", step)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if now is None:
            return
        self._report_queue.correct_clock(now, monotonic)
        if not self._is_connected():
            for device in self._devices.values():
                device.correct_clock(now, monotonic)
        self._state_file.clamp_times(now)

    def _warn_unset(self) -> None:
        clock = self._clock
        _LOG.warning(
            "the host's clock says %s, which is before %s, the latest known time: readings are"
            " published without a time. Set the clock. If it is right, it was wrong before: stop"
            " the daemon, remove memory.json and start it",
            rfc3339(clock.wall),
            rfc3339(clock.not_before),
        )
