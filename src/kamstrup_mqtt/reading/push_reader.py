"""A meter that sends by itself: listen for ever, say why when nothing comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.protocols.base import DroppedBytes, Frame
from kamstrup_mqtt.reading.conversation import Listener
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.framed_link import FramedLink
from kamstrup_mqtt.reading.push_decoder import ParityDetector, PushDecoder
from kamstrup_mqtt.reading.reports import ReaderConfig, Reports
from kamstrup_mqtt.reading.timeouts import HEARTBEAT_MARGIN, ReaderTimeouts
from kamstrup_mqtt.storage.state_file import StateFile


class PushReader:
    """Reader of a pushing meter. Calls `on_reading` at each valid reading and awaits
    `yield_control` between lists that arrived together."""

    def __init__(
        self,
        config: ReaderConfig,
        framed_link: FramedLink,
        reports: Reports,
        state_file: StateFile,
        clock: Clock,
        counters: Counters,
        heartbeat: Heartbeat,
        timeouts: ReaderTimeouts,
        log: logging.Logger,
        *,
        on_reading: Callable[[], None],
        yield_control: Callable[[], Awaitable[None]],
    ) -> None:
        self._id = config.id
        self._framed_link = framed_link
        self._port = framed_link.port
        self._reports = reports
        self._state_file = state_file
        self._meter_state = state_file.meter(config.id)
        self._counters = counters
        self._heartbeat = heartbeat
        self._timeouts = timeouts
        self._log = log
        self._on_reading = on_reading
        self._yield_control = yield_control
        self._last_reading = 0.0
        # a meter whose lists are rarer than the limits is given three of its periods
        periods = config.plan.profile.periods.values()
        patience = 3 * min(periods) if periods else 0.0
        self._no_bytes_timeout = max(timeouts.no_bytes, patience)
        self._no_frames_timeout = max(timeouts.no_frames, patience)
        self._reopen_after = max(timeouts.reopen_after, 2 * patience)
        self._decoder = PushDecoder(config, reports, state_file, clock, counters, log)
        self._parity_detector = ParityDetector(
            config.serial,
            self._meter_state.learned.get("parity"),
            enabled=config.detect_parity and isinstance(self._port.address, SerialDevice),
        )

    def accept_held(self) -> tuple[str, ...]:
        """Believe what the meter's codec holds back; what that was, in words."""
        return self._decoder.accept_held()

    async def run(self) -> None:
        """Listen; ends only by cancellation."""
        while True:
            try:
                async with self._port.lease(
                    self._parity_detector.params, self._heartbeat.expect_within, holder=self._id
                ) as link:
                    await self._listen(link)
            except LinkError as error:
                self._framed_link.report_failure(error)
            wait = self._port.retry_in()
            self._heartbeat.expect_within(wait + HEARTBEAT_MARGIN)
            await asyncio.sleep(wait)

    async def _listen(self, link: Link) -> None:
        framer, _ = self._framed_link.framer_for(link)
        listener = Listener(
            link,
            framer,
            self._counters,
            self._log,
            idle_check=self._timeouts.idle_check,
            yield_control=self._yield_control,
        )
        self._last_reading = listener.last_frame
        self._decoder.last_error = None
        async with aclosing(listener.events()) as events:
            self._heartbeat.expect_within(self._timeouts.idle_check + HEARTBEAT_MARGIN)
            async for event in events:
                heard = isinstance(event, Frame) and self._process(event)
                self._heartbeat.expect_within(self._timeouts.idle_check + HEARTBEAT_MARGIN)
                if heard:
                    listener.wake_at = self._last_reading + min(
                        self._no_bytes_timeout, self._no_frames_timeout
                    )
                    self._reports.report_diagnosis()
                    continue
                if isinstance(event, DroppedBytes):
                    self._decoder.record_drop(event)
                elif event is None:
                    self._report_open_port()
                self._report_silence(listener)
                self._reports.report_diagnosis()
                if self._switch_parity():
                    return

    def _report_open_port(self) -> None:
        self._port.mark_open()
        if self._reports.port_gone_since is not None:
            self._reports.port_gone_since = None
            self._reports.mark_failed(
                LinkState.NO_BYTES, "the port is open again; nothing came yet"
            )

    def _process(self, frame: Frame) -> bool:
        """Take a frame; whether it was a good reading."""
        if frame.direction == "request":
            return False
        self._framed_link.last_bytes = frame.raw
        if not self._decoder.process(frame):
            return False
        self._last_reading = asyncio.get_running_loop().time()
        self._decoder.last_error = None
        self._parity_detector.confirm()
        self._on_reading()
        self._port.mark_success()
        self._reports.port_gone_since = None
        self._reports.mark_ok()
        parity = self._parity_detector.params.parity
        if self._parity_detector.enabled and self._meter_state.learned.get("parity") != parity:
            self._meter_state.learned = {**self._meter_state.learned, "parity": parity}
            self._log.info("the line is %s", self._parity_detector.params)
            self._state_file.mark_changed(urgent=True)
        return True

    def _switch_parity(self) -> bool:
        """Whether the other parity is to be tried now."""
        fault, now = self._decoder.last_error, asyncio.get_running_loop().time()
        if not self._parity_detector.is_due(now, self._timeouts.parity_timeout, fault):
            return False
        before = self._parity_detector.params
        self._log.info("no list with %s: trying %s", before, self._parity_detector.switch())
        return True

    def _report_silence(self, listener: Listener) -> None:
        """Say how long nothing came, and when to look again."""
        now = asyncio.get_running_loop().time()
        mute = now - listener.last_byte
        no_good = now - self._last_reading
        if mute >= self._no_bytes_timeout:
            self._reports.mark_failed(
                LinkState.NO_BYTES,
                f"nothing came for {mute:.0f} s: is the meter's port switched on (the grid company"
                " does it), the adapter plugged in, and are its wires the right way round?",
            )
        elif no_good >= self._no_frames_timeout:
            self._reports.mark_failed(
                *(
                    self._decoder.last_error
                    or (LinkState.BYTES_NO_FRAMES, "bytes come, but no whole list among them")
                )
            )
        if mute >= self._reopen_after:
            raise LinkError(
                LinkState.NO_BYTES,
                "nothing came for long: the line is opened again, in case it is stuck",
            )
        rests = (
            self._no_bytes_timeout - mute,
            self._no_frames_timeout - no_good,
            self._reopen_after - mute,
        )
        listener.wake_at = now + min(rest for rest in rests if rest > 0)
