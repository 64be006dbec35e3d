"""A meter that sends by itself: listen for ever, say why when nothing comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.heartbeat import Deadline
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.protocols.base import Dropped, Frame
from kamstrup_mqtt.reading.conversation import Listener
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.framed_link import Line
from kamstrup_mqtt.reading.push_decoder import Hearing, ParityHunt
from kamstrup_mqtt.reading.reports import MeterSetup, Reports
from kamstrup_mqtt.reading.timeouts import MARGIN, Limits
from kamstrup_mqtt.storage.state_file import Memory


class Listening:
    """The pushed half of a reader. `good` is called at each good reading, `turn` awaited
    before a list that came together with another."""

    def __init__(
        self,
        setup: MeterSetup,
        line: Line,
        reports: Reports,
        memory: Memory,
        clock: Clock,
        counters: Counters,
        deadline: Deadline,
        limits: Limits,
        log: logging.Logger,
        *,
        good: Callable[[], None],
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._id = setup.id
        self._line = line
        self._port = line.port
        self._reports = reports
        self._memory = memory
        self._mine = memory.meter(setup.id)
        self._counters = counters
        self._deadline = deadline
        self._limits = limits
        self._log = log
        self._good = good
        self._turn = turn
        self._last_good = 0.0
        # a meter whose lists are rarer than the limits is given three of its periods
        periods = setup.plan.dialect.periods.values()
        patience = 3 * min(periods) if periods else 0.0
        self._no_bytes = max(limits.no_bytes, patience)
        self._no_frames = max(limits.no_frames, patience)
        self._reopen = max(limits.reopen_mute, 2 * patience)
        self._hearing = Hearing(setup, reports, memory, clock, counters, log)
        self._hunt = ParityHunt(
            setup.serial,
            self._mine.learned.get("parity"),
            enabled=setup.hunt_parity and isinstance(self._port.address, SerialDevice),
        )

    def accept(self) -> tuple[str, ...]:
        """Believe what the meter's codec holds back; what that was, in words."""
        return self._hearing.accept()

    async def for_ever(self) -> None:
        """Listen; ends only by cancellation."""
        while True:
            try:
                async with self._port.turn(
                    self._hunt.params, self._deadline.within, holder=self._id
                ) as link:
                    await self._listen(link)
            except LinkError as error:
                self._line.failed(error)
            wait = self._port.retry_in()
            self._deadline.within(wait + MARGIN)
            await asyncio.sleep(wait)

    async def _listen(self, link: Link) -> None:
        framer, _ = self._line.framer_of(link)
        listener = Listener(
            link,
            framer,
            self._counters,
            self._log,
            tick=self._limits.tick,
            turn=self._turn,
        )
        self._last_good = listener.last_frame
        self._hearing.fault = None
        async with aclosing(listener.events()) as events:
            self._deadline.within(self._limits.tick + MARGIN)
            async for event in events:
                heard = isinstance(event, Frame) and self._hear(event)
                self._deadline.within(self._limits.tick + MARGIN)
                if heard:
                    listener.look_at = self._last_good + min(self._no_bytes, self._no_frames)
                    self._reports.tell()
                    continue
                if isinstance(event, Dropped):
                    self._hearing.drop(event)
                elif event is None:
                    self._port_is_back()
                self._notice_silence(listener)
                self._reports.tell()
                if self._hunted():
                    return

    def _port_is_back(self) -> None:
        self._port.alive()
        if self._reports.port_gone is not None:
            self._reports.port_gone = None
            self._reports.bad(LinkState.NO_BYTES, "the port is open again; nothing came yet")

    def _hear(self, frame: Frame) -> bool:
        """Take a frame; whether it was a good reading."""
        if frame.direction == "request":
            return False
        self._line.last_bytes = frame.raw
        if not self._hearing.take(frame):
            return False
        self._last_good = asyncio.get_running_loop().time()
        self._hearing.fault = None
        self._hunt.over()
        self._good()
        self._port.good()
        self._reports.port_gone = None
        self._reports.good()
        parity = self._hunt.params.parity
        if self._hunt.enabled and self._mine.learned.get("parity") != parity:
            self._mine.learned = {**self._mine.learned, "parity": parity}
            self._log.info("the line is %s", self._hunt.params)
            self._memory.changed(urgent=True)
        return True

    def _hunted(self) -> bool:
        """Whether the other parity is to be tried now."""
        fault, now = self._hearing.fault, asyncio.get_running_loop().time()
        if not self._hunt.due(now, self._limits.hunt, fault):
            return False
        before = self._hunt.params
        self._log.info("no list with %s: trying %s", before, self._hunt.turn())
        return True

    def _notice_silence(self, listener: Listener) -> None:
        """Say how long nothing came, and when to look again."""
        now = asyncio.get_running_loop().time()
        mute = now - listener.last_byte
        no_good = now - self._last_good
        if mute >= self._no_bytes:
            self._reports.bad(
                LinkState.NO_BYTES,
                f"nothing came for {mute:.0f} s: is the meter's port switched on (the grid company"
                " does it), the adapter plugged in, and are its wires the right way round?",
            )
        elif no_good >= self._no_frames:
            self._reports.bad(
                *(
                    self._hearing.fault
                    or (LinkState.BYTES_NO_FRAMES, "bytes come, but no whole list among them")
                )
            )
        if mute >= self._reopen:
            raise LinkError(
                LinkState.NO_BYTES,
                "nothing came for long: the line is opened again, in case it is stuck",
            )
        rests = (self._no_bytes - mute, self._no_frames - no_good, self._reopen - mute)
        listener.look_at = now + min(rest for rest in rests if rest > 0)
