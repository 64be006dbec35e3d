"""Carries a conversation out on a link, or listens on it.

The protocols say what to send and what a frame is; here are the clock, the echo, and the reason
why nothing came.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import TypeVar

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.protocols.base import (
    Configure,
    Dropped,
    DropReason,
    Event,
    Frame,
    Framer,
    Pause,
    Send,
    Step,
)
from kamstrup_mqtt.reading.counters import Counters

T = TypeVar("T")

SHOWN = 64
"""Bytes shown in a message; the log at DEBUG has all."""

MAX_RECEIVED = 65536
"""Bytes kept for a report of what came since a request; the oldest are forgotten first."""

MAX_DROPS = 256
"""Pieces kept to tell why no answer came."""

_TEXT = frozenset((*range(0x20, 0x7F), 0x0D, 0x0A, 0x02, 0x03, 0x06))


def shown(data: bytes) -> str:
    """Bytes for the log: hex, and text beside it where it is text (parity bits taken off)."""
    seven = bytes(byte & 0x7F for byte in data)
    text = f" {seven.decode('ascii')!r}" if data and _TEXT.issuperset(seven) else ""
    return data.hex(" ") + text


def _tell_nobody(_seconds: float) -> None:
    pass


async def _yield() -> None:
    await asyncio.sleep(0)


class _Wire:
    """What came on one link: bytes into the framer, events out of it, counted and logged."""

    def __init__(self, link: Link, framer: Framer, counters: Counters, log: logging.Logger) -> None:
        self.link = link
        self.framer = framer
        self.counters = counters
        self.log = log
        self._parity = framer.parity_errors

    def feed(self, data: bytes) -> None:
        if data:
            self.framer.receive_data(data)

    def event(self) -> Event | None:
        """The framer's next event, counted. An echo (a request on our own line) is none of the
        meter's frames; whoever waits for an answer counts it."""
        event = self.framer.next_event()
        self.counters.parity_errors += self.framer.parity_errors - self._parity
        self._parity = self.framer.parity_errors
        talks = self.log.isEnabledFor(logging.DEBUG)
        if isinstance(event, Dropped):
            self.counters.drop(event.reason, event.raw, asyncio.get_running_loop().time())
            if talks:
                self.log.debug("<- dropped (%s): %s", event.reason, shown(event.raw))
        elif event is not None:
            self.counters.frames += event.direction != "request"
            if talks:
                self.log.debug("<- %s, checksum right: %s", event.direction, shown(event.raw))
        return event

    def forget(self) -> None:
        """Throw away what came before we asked."""
        old = self.link.discard_input()
        if old:
            self.log.debug("<- not asked for, discarded: %s", shown(old))
        self.framer.silence()
        while self.framer.next_event() is not None:
            pass
        self._parity = self.framer.parity_errors


class _Echo:
    """Takes an exact copy of what we sent off the front of what comes.

    Bytes that may still become the echo are held back: `/?!` and `/KAM...` begin alike.
    """

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._held = bytearray()
        self._over = not sent
        self.seen = False

    def strip(self, data: bytes) -> bytes:
        """What of `data` (and of what was held back) is not echo."""
        if self._over:
            return data
        self._held += data
        if self._held.startswith(self._sent):
            self.seen = True
            del self._held[: len(self._sent)]
        elif self._sent.startswith(self._held):
            return b""
        return self.release()

    def release(self) -> bytes:
        """The line is quiet: what was held back is no echo, or one that was cut off."""
        self._over = True
        held = bytes(self._held)
        self._held.clear()
        return held


class Exchange:
    """One link, one framer: what a conversation yields is done on the line.

    `received` holds what came since the last request, for a report; `sent`: something was asked;
    `heard`: something came back that is not an echo; `dead`: not one byte came. `will_act` is told
    before each wait how long it takes at most.
    """

    def __init__(
        self,
        link: Link,
        framer: Framer,
        counters: Counters,
        log: logging.Logger,
        *,
        will_act: Callable[[float], None] = _tell_nobody,
    ) -> None:
        self._link = link
        self._wire = _Wire(link, framer, counters, log)
        self._counters = counters
        self._log = log
        self._will_act = will_act
        self.received = bytearray()
        self.sent = False
        self.heard = False
        self.dead = True

    async def run(self, conversation: Generator[Step, Frame | None, T]) -> T:
        """Hold the conversation. Raises LinkError when the line is lost, MeterError when the
        meter did not answer and the conversation gave up."""
        try:
            step = next(conversation)
            while True:
                try:
                    frame = await self._carry_out(step)
                except MeterError as error:
                    self._log.debug("%s", error)
                    step = conversation.throw(error)
                else:
                    step = conversation.send(frame)
        except StopIteration as stop:
            answer: T = stop.value
            return answer
        finally:
            conversation.close()

    async def _carry_out(self, step: Step) -> Frame | None:
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Configure):
            self._log.debug("%d baud", step.baudrate)
            self._will_act(10.0)
            await self._link.set_baudrate(step.baudrate)
        elif isinstance(step, Pause):
            self._will_act(step.seconds)
            await asyncio.sleep(step.seconds)
            self._wire.forget()
        return None

    async def _send(self, step: Send) -> Frame | None:
        wire_time = self._link.wire_time(len(step.data))
        expected = self._link.wire_time(step.expected)
        self._will_act(wire_time + step.total + expected + 1.0)
        if step.data:  # else: the conversation waits for more of what it asked for before
            self._wire.forget()
            self.received.clear()
            self._log.debug("-> %s", shown(step.data))
            self.sent = True
            self._counters.asked(asyncio.get_running_loop().time())
            await self._link.write(step.data)
        if not step.answer:
            await self._link.drain()
            return None
        return await _Waiting(self, step, wire_time).answer()

    def echo(self) -> None:
        """Count an echo; the first one of a meter is told."""
        self._counters.echoes += 1
        if self._counters.echoes == 1:
            self._log.info(
                "the optical head sends back what we send (an echo). It is skipped; if readings"
                " fail, lower the sensitivity of the head or shade it"
            )


class _Waiting:
    """The wait for one answer."""

    def __init__(self, exchange: Exchange, step: Send, wire_time: float) -> None:
        self._exchange = exchange
        self._wire = exchange._wire
        self._step = step
        self._echo = _Echo(step.data)
        self._clock = asyncio.get_running_loop().time
        now = self._clock()
        # a bridge may hand an answer over only when all of it has come
        expected = exchange._link.wire_time(step.expected)
        self._first_byte = now + wire_time + step.first_byte + expected
        self._end = now + wire_time + step.total + expected
        self._between = max(step.between, exchange._link.silence)
        self._last_byte: float | None = None
        self._quiet_told = True
        self._drops: deque[Dropped] = deque(maxlen=MAX_DROPS)
        self._echoes = 0

    async def answer(self) -> Frame:
        """The first frame that is no echo. Raises MeterError with the reason why none came."""
        while True:
            frame = self._next_answer()
            if frame is not None:
                return frame
            now = self._clock()
            until = self._until()
            if now >= until:
                if self._quiet_told:
                    raise self._failure()
                self._quiet()
                continue
            data = await self._wire.link.read_within(until - now)
            if data:
                self._take(data)
            elif not self._quiet_told:
                self._quiet()

    def _until(self) -> float:
        """The end of this wait: the line must have been quiet for `between` seconds, the time for
        the first byte must be over (noise may come before the answer), and `total` ends all."""
        if self._last_byte is None:
            return min(self._first_byte, self._end)
        quiet = self._last_byte + self._between
        if self._quiet_told:
            quiet = max(quiet, self._first_byte)
        return min(quiet, self._end)

    def _take(self, data: bytes) -> None:
        self._exchange.dead = False
        received = self._exchange.received
        received += data
        del received[:-MAX_RECEIVED]
        rest = self._echo.strip(data)
        if self._echo.seen and not self._echoes:
            self._wire.log.debug("<- our own request (an echo)")
            self._count_echo()
        if rest:
            self._wire.feed(rest)
        if rest or not self._echo.seen:
            self._last_byte = self._clock()
            self._quiet_told = False

    def _quiet(self) -> None:
        self._quiet_told = True
        self._wire.feed(self._echo.release())
        self._wire.framer.silence()

    def _next_answer(self) -> Frame | None:
        while (event := self._wire.event()) is not None:
            if isinstance(event, Dropped):
                self._exchange.heard = True
                self._drops.append(event)
            elif event.direction == "request" or event.raw == self._step.data:
                self._count_echo()
            else:
                self._exchange.heard = True
                return event
        return None

    def _count_echo(self) -> None:
        self._echoes += 1
        self._exchange.echo()

    def _failure(self) -> MeterError:
        counters = self._wire.counters
        damaged = [drop for drop in self._drops if drop.reason is DropReason.CHECKSUM]
        if damaged:
            return MeterError(
                LinkState.CHECKSUM,
                "an answer came, but its checksum is wrong (the head sits badly, or light"
                f" disturbs it): {_cut(damaged[-1].raw)}",
            )
        if self._drops:
            raw = b"".join(drop.raw for drop in self._drops)
            count = "1 byte" if len(raw) == 1 else f"{len(raw)} bytes"
            return MeterError(
                LinkState.BYTES_NO_FRAMES,
                f"{count} came, but no answer that can be read ({self._drops[-1].reason};"
                f" wrong speed, parity or protocol, or the head sits badly): {_cut(raw)}",
            )
        counters.timeouts += 1
        if self._echoes:
            return MeterError(
                LinkState.ECHO_ONLY,
                "only the echo of our request came back: the meter sleeps (press a button), or"
                " the head is turned or shifted",
            )
        return MeterError(
            LinkState.NO_BYTES,
            "nothing came back: is the head on the meter's eye, the right way up, and the meter"
            " awake (press a button)?",
        )


def _cut(data: bytes) -> str:
    return shown(data[:SHOWN]) + (" ..." if len(data) > SHOWN else "")


class Listener:
    """What a meter sends by itself. `last_byte` and `last_frame` are loop times; at first both
    are when the listening began. `look_at`: the loop time at which whoever listens wants to look
    at the clock; `tick`: the seconds after which it looks in any case. `turn` is awaited between
    two events that came together."""

    def __init__(
        self,
        link: Link,
        framer: Framer,
        counters: Counters,
        log: logging.Logger,
        *,
        tick: float = 1.0,
        turn: Callable[[], Awaitable[None]] = _yield,
    ) -> None:
        self._wire = _Wire(link, framer, counters, log)
        self._link = link
        self._tick = tick
        self._turn = turn
        self._clock = asyncio.get_running_loop().time
        self._last_read = self.last_frame = self._clock()
        self.look_at: float | None = None

    @property
    def last_byte(self) -> float:
        return max(self._last_read, self._link.last_byte)

    async def events(self) -> AsyncGenerator[Event | None, None]:
        """Frames and drops as they come; None whenever it is time to look at the clock.

        Raises LinkError when the line is lost.
        """
        self._link.listen()
        framer = self._wire.framer
        quiet = True
        while True:
            event = self._wire.event()
            while event is not None:
                if isinstance(event, Frame):
                    self.last_frame = self._clock()
                yield event
                event = self._wire.event()
                if event is not None:
                    await self._turn()  # a line that floods us leaves the others theirs
            self._link.expect(framer.wanted)
            data = await self._link.read_within(self._rest(quiet))
            if data:
                self._last_read = self._clock()
                quiet = False
                self._wire.feed(data)
                continue
            if not quiet and self._clock() - self.last_byte >= self._link.silence:
                quiet = True
                self._wire.feed(self._link.discard_input())
                framer.silence()
            yield None

    def _rest(self, quiet: bool) -> float:
        """Seconds until something is due though nothing comes."""
        until = self._clock() + self._tick
        if self.look_at is not None:
            until = min(until, self.look_at)
        if not quiet:
            until = min(until, self.last_byte + self._link.silence)
        return until - self._clock()


async def listen(
    link: Link, framer: Framer, counters: Counters, log: logging.Logger, *, tick: float = 1.0
) -> AsyncIterator[Event | None]:
    """What a pushing meter sends; None at least every `tick` seconds while no byte comes."""
    async for event in Listener(link, framer, counters, log, tick=tick).events():
        yield event
