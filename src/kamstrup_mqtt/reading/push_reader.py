"""Reads a meter that sends by itself, and reports why no readings arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.protocols.base import DroppedBytes, Frame
from kamstrup_mqtt.reading import messages
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.frame_listener import FrameListener
from kamstrup_mqtt.reading.framed_link import FramedLink
from kamstrup_mqtt.reading.live_counters import LiveCounters
from kamstrup_mqtt.reading.parity_detector import ParityDetector
from kamstrup_mqtt.reading.push_decoder import PushDecoder
from kamstrup_mqtt.reading.reports import make_reports
from kamstrup_mqtt.reading.timeouts import HEARTBEAT_MARGIN

MISSED_PERIODS = 3
"""A meter whose lists are rarer than the timeouts is given this many of its periods."""


class PushReader:
    """Listens to one meter. `on_reading` is called for each good reading."""

    def __init__(self, context: ReaderContext, port: Port, on_reading: Callable[[], None]) -> None:
        config, timeouts = context.config, context.timeouts
        self._context = context
        self._on_reading = on_reading
        live_counters = LiveCounters(
            config.plan.live_keys, context.state.totals, exact=context.state_file.clean_shutdown
        )
        self.reports = make_reports(context, live_counters.inputs, live_counters.replace_meter)
        self.framed_link = FramedLink(port, context, self.reports.status)
        self.decoder = PushDecoder(context, self.reports, live_counters)
        self._parity_detector = ParityDetector(
            config.serial,
            context.state.learned.parity,
            enabled=config.detect_parity and isinstance(port.address, SerialDevice),
        )
        self._last_reading = 0.0
        periods = config.plan.profile.periods.values()
        patience = MISSED_PERIODS * min(periods) if periods else 0.0
        self._no_bytes_timeout = max(timeouts.no_bytes, patience)
        self._no_frames_timeout = max(timeouts.no_frames, patience)
        self._reopen_after = max(timeouts.reopen_after, 2 * patience)

    async def run(self) -> None:
        """Listen until cancelled."""
        port, heartbeat = self.framed_link.port, self._context.heartbeat
        while True:
            try:
                async with port.lease(
                    self._parity_detector.params,
                    heartbeat.expect_within,
                    holder=self._context.config.id,
                ) as link:
                    await self._listen(link)
            except LinkError as error:
                self.framed_link.report_failure(error)
            wait = port.retry_in()
            heartbeat.expect_within(wait + HEARTBEAT_MARGIN)
            await asyncio.sleep(wait)

    async def _listen(self, link: Link) -> None:
        """Listen until the other parity is to be tried. Raises LinkError."""
        context, status = self._context, self.reports.status
        framer, _ = self.framed_link.framer_for(link)
        listener = FrameListener(
            link,
            framer,
            context.counters,
            context.log,
            idle_check=context.timeouts.idle_check,
            yield_control=context.report_queue.wait_for_capacity,
        )
        self._last_reading = listener.last_frame
        self.decoder.last_error = None
        promised = context.timeouts.idle_check + HEARTBEAT_MARGIN
        async with aclosing(listener.events()) as events:
            context.heartbeat.expect_within(promised)
            async for event in events:
                has_values = isinstance(event, Frame) and self._process(event)
                context.heartbeat.expect_within(promised)
                if has_values:
                    listener.wake_at = self._last_reading + min(
                        self._no_bytes_timeout, self._no_frames_timeout
                    )
                    status.report_diagnosis()
                    continue
                if isinstance(event, DroppedBytes):
                    self.decoder.record_drop(event)
                elif event is None:
                    self._report_open_port()
                self._report_silence(listener)
                status.report_diagnosis()
                if self._switch_parity():
                    return

    def _report_open_port(self) -> None:
        self.framed_link.port.mark_open()
        status = self.reports.status
        if status.port_gone_since is not None:
            status.port_gone_since = None
            status.mark_failed(LinkState.NO_BYTES, messages.PORT_OPEN_NO_BYTES)

    def _process(self, frame: Frame) -> bool:
        """Take a frame, and return whether it was a good reading."""
        if frame.direction == "request":
            return False
        self.framed_link.last_bytes = frame.raw
        if not self.decoder.process(frame):
            return False
        self._last_reading = asyncio.get_running_loop().time()
        self.decoder.last_error = None
        self._on_reading()
        self.framed_link.port.mark_success()
        self.reports.status.port_gone_since = None
        self.reports.status.mark_ok()
        self._confirm_parity()
        return True

    def _confirm_parity(self) -> None:
        detector = self._parity_detector
        detector.confirm()
        if detector.enabled and self._context.learn({"parity": detector.params.parity}):
            self._context.log.info("the line is %s", detector.params)

    def _switch_parity(self) -> bool:
        """Switch to the other parity if it is due, and return whether it was."""
        context, detector = self._context, self._parity_detector
        now = asyncio.get_running_loop().time()
        if not detector.is_due(now, context.timeouts.parity_timeout, self.decoder.last_error):
            return False
        before = detector.params
        context.log.info("no list with %s: trying %s", before, detector.switch())
        return True

    def _report_silence(self, listener: FrameListener) -> None:
        """Report how long the line has been silent, and schedule the next check.

        Raises LinkError if the line is to be opened again.
        """
        now = asyncio.get_running_loop().time()
        silent, without_list = now - listener.last_byte, now - self._last_reading
        if silent >= self._no_bytes_timeout:
            self.reports.status.mark_failed(LinkState.NO_BYTES, messages.describe_silence(silent))
        elif without_list >= self._no_frames_timeout:
            self.reports.status.mark_failed(
                *(self.decoder.last_error or (LinkState.BYTES_NO_FRAMES, messages.NO_LIST))
            )
        if silent >= self._reopen_after:
            raise LinkError(LinkState.NO_BYTES, messages.REOPENING)
        rests = (
            self._no_bytes_timeout - silent,
            self._no_frames_timeout - without_list,
            self._reopen_after - silent,
        )
        listener.wake_at = now + min(rest for rest in rests if rest > 0)
