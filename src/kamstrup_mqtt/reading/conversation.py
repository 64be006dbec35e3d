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
    DroppedBytes,
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

EXCERPT_BYTES = 64
"""Bytes shown in a message; the log at DEBUG has all."""

MAX_RECEIVED = 65536
"""Bytes kept for a report of what came since a request; the oldest are forgotten first."""

MAX_DROPS = 256
"""Pieces kept to tell why no answer came."""

_TEXT = frozenset((*range(0x20, 0x7F), 0x0D, 0x0A, 0x02, 0x03, 0x06))


def format_bytes(data: bytes) -> str:
    """Bytes for the log: hex, and text beside it where it is text (parity bits taken off)."""
    seven = bytes(byte & 0x7F for byte in data)
    text = f" {seven.decode('ascii')!r}" if data and _TEXT.issuperset(seven) else ""
    return data.hex(" ") + text


def _ignore_wait(_seconds: float) -> None:
    pass


async def _yield_control() -> None:
    await asyncio.sleep(0)


class FrameStream:
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

    def next_event(self) -> Event | None:
        """The framer's next event, counted. An echo (a request on our own line) is none of the
        meter's frames; whoever waits for an answer counts it."""
        event = self.framer.next_event()
        self.counters.parity_errors += self.framer.parity_errors - self._parity
        self._parity = self.framer.parity_errors
        talks = self.log.isEnabledFor(logging.DEBUG)
        if isinstance(event, DroppedBytes):
            self.counters.record_drop(event.reason, event.raw, asyncio.get_running_loop().time())
            if talks:
                self.log.debug("<- dropped (%s): %s", event.reason, format_bytes(event.raw))
        elif event is not None:
            self.counters.frames += event.direction != "request"
            if talks:
                self.log.debug(
                    "<- %s, checksum right: %s", event.direction, format_bytes(event.raw)
                )
        return event

    def discard_pending(self) -> None:
        """Throw away what came before we asked."""
        old = self.link.discard_input()
        if old:
            self.log.debug("<- not asked for, discarded: %s", format_bytes(old))
        self.framer.end_burst()
        while self.framer.next_event() is not None:
            pass
        self._parity = self.framer.parity_errors


class EchoFilter:
    """Takes an exact copy of what we sent off the front of what comes.

    Bytes that may still become the echo are held back: `/?!` and `/KAM...` begin alike.
    """

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._held = bytearray()
        self._is_done = not sent
        self.seen = False

    def strip(self, data: bytes) -> bytes:
        """What of `data` (and of what was held back) is not echo."""
        if self._is_done:
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
        self._is_done = True
        held = bytes(self._held)
        self._held.clear()
        return held


class ConversationRunner:
    """One link, one framer: what a conversation yields is done on the line.

    `received` holds what came since the last request, for a report; `request_sent`: something was
    asked; `got_response`: something came back that is not an echo; `is_silent`: not one byte came.
    `will_act` is told before each wait how long it takes at most."""

    def __init__(
        self,
        link: Link,
        framer: Framer,
        counters: Counters,
        log: logging.Logger,
        *,
        will_act: Callable[[float], None] = _ignore_wait,
    ) -> None:
        self._link = link
        self._stream = FrameStream(link, framer, counters, log)
        self._counters = counters
        self._log = log
        self._will_act = will_act
        self.received = bytearray()
        self.request_sent = False
        self.got_response = False
        self.is_silent = True

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
            self._stream.discard_pending()
        return None

    async def _send(self, step: Send) -> Frame | None:
        wire_time = self._link.wire_time(len(step.data))
        expected = self._link.wire_time(step.expected_bytes)
        self._will_act(wire_time + step.total_timeout + expected + 1.0)
        if step.data:  # else: the conversation waits for more of what it asked for before
            self._stream.discard_pending()
            self.received.clear()
            self._log.debug("-> %s", format_bytes(step.data))
            self.request_sent = True
            self._counters.record_request(asyncio.get_running_loop().time())
            await self._link.write(step.data)
        if not step.expects_response:
            await self._link.drain()
            return None
        return await _ResponseWaiter(self, step, wire_time).wait()

    def count_echo(self) -> None:
        """Count an echo; the first one of a meter is told."""
        self._counters.echoes += 1
        if self._counters.echoes == 1:
            self._log.info(
                "the optical head sends back what we send (an echo). It is skipped; if readings"
                " fail, lower the sensitivity of the head or shade it"
            )


class _ResponseWaiter:
    """The wait for one answer."""

    def __init__(self, runner: ConversationRunner, step: Send, wire_time: float) -> None:
        self._runner = runner
        self._stream = runner._stream
        self._step = step
        self._echo = EchoFilter(step.data)
        self._clock = asyncio.get_running_loop().time
        now = self._clock()
        # a bridge may hand an answer over only when all of it has come
        expected = runner._link.wire_time(step.expected_bytes)
        self._first_byte_due = now + wire_time + step.response_timeout + expected
        self._last_moment = now + wire_time + step.total_timeout + expected
        self._inter_byte_timeout = max(step.inter_byte_timeout, runner._link.idle_timeout)
        self._last_byte: float | None = None
        self._burst_ended = True
        self._drops: deque[DroppedBytes] = deque(maxlen=MAX_DROPS)
        self._echoes = 0

    async def wait(self) -> Frame:
        """The first frame that is no echo. Raises MeterError with the reason why none came."""
        while True:
            frame = self._next_response()
            if frame is not None:
                return frame
            now = self._clock()
            until = self._deadline()
            if now >= until:
                if self._burst_ended:
                    raise self._describe_failure()
                self._end_burst()
                continue
            data = await self._stream.link.read_within(until - now)
            if data:
                self._receive(data)
            elif not self._burst_ended:
                self._end_burst()

    def _deadline(self) -> float:
        """The end of this wait: the line must have been quiet for `inter_byte_timeout` seconds, the
        time for the first byte must be over (noise may come before the answer), and `total_timeout`
        ends all."""
        if self._last_byte is None:
            return min(self._first_byte_due, self._last_moment)
        quiet = self._last_byte + self._inter_byte_timeout
        if self._burst_ended:
            quiet = max(quiet, self._first_byte_due)
        return min(quiet, self._last_moment)

    def _receive(self, data: bytes) -> None:
        self._runner.is_silent = False
        received = self._runner.received
        received += data
        del received[:-MAX_RECEIVED]
        rest = self._echo.strip(data)
        if self._echo.seen and not self._echoes:
            self._stream.log.debug("<- our own request (an echo)")
            self._count_echo()
        if rest:
            self._stream.feed(rest)
        if rest or not self._echo.seen:
            self._last_byte = self._clock()
            self._burst_ended = False

    def _end_burst(self) -> None:
        self._burst_ended = True
        self._stream.feed(self._echo.release())
        self._stream.framer.end_burst()

    def _next_response(self) -> Frame | None:
        while (event := self._stream.next_event()) is not None:
            if isinstance(event, DroppedBytes):
                self._runner.got_response = True
                self._drops.append(event)
            elif event.direction == "request" or event.raw == self._step.data:
                self._count_echo()
            else:
                self._runner.got_response = True
                return event
        return None

    def _count_echo(self) -> None:
        self._echoes += 1
        self._runner.count_echo()

    def _describe_failure(self) -> MeterError:
        counters = self._stream.counters
        damaged = [drop for drop in self._drops if drop.reason is DropReason.CHECKSUM]
        if damaged:
            return MeterError(
                LinkState.CHECKSUM,
                "an answer came, but its checksum is wrong (the head sits badly, or light"
                f" disturbs it): {_format_excerpt(damaged[-1].raw)}",
            )
        if self._drops:
            raw = b"".join(drop.raw for drop in self._drops)
            count = "1 byte" if len(raw) == 1 else f"{len(raw)} bytes"
            return MeterError(
                LinkState.BYTES_NO_FRAMES,
                f"{count} came, but no answer that can be read ({self._drops[-1].reason};"
                f" wrong speed, parity or protocol, or the head sits badly):"
                f" {_format_excerpt(raw)}",
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


def _format_excerpt(data: bytes) -> str:
    return format_bytes(data[:EXCERPT_BYTES]) + (" ..." if len(data) > EXCERPT_BYTES else "")


class Listener:
    """What a meter sends by itself. `last_byte` and `last_frame` are loop times; at first both
    are when the listening began. `wake_at`: the loop time at which whoever listens wants to look
    at the clock; `idle_check`: the seconds after which it looks in any case. `yield_control` is
    awaited between two events that came together."""

    def __init__(
        self,
        link: Link,
        framer: Framer,
        counters: Counters,
        log: logging.Logger,
        *,
        idle_check: float = 1.0,
        yield_control: Callable[[], Awaitable[None]] = _yield_control,
    ) -> None:
        self._stream = FrameStream(link, framer, counters, log)
        self._link = link
        self._idle_check = idle_check
        self._yield_control = yield_control
        self._clock = asyncio.get_running_loop().time
        self._last_read = self.last_frame = self._clock()
        self.wake_at: float | None = None

    @property
    def last_byte(self) -> float:
        return max(self._last_read, self._link.last_byte)

    async def events(self) -> AsyncGenerator[Event | None, None]:
        """Frames and drops as they come; None whenever it is time to look at the clock.

        Raises LinkError when the line is lost.
        """
        self._link.start_continuous()
        framer = self._stream.framer
        quiet = True
        while True:
            event = self._stream.next_event()
            while event is not None:
                if isinstance(event, Frame):
                    self.last_frame = self._clock()
                yield event
                event = self._stream.next_event()
                if event is not None:
                    await self._yield_control()  # a line that floods us leaves the others theirs
            self._link.expect_bytes(framer.bytes_needed)
            data = await self._link.read_within(self._seconds_left(quiet))
            if data:
                self._last_read = self._clock()
                quiet = False
                self._stream.feed(data)
                continue
            if not quiet and self._clock() - self.last_byte >= self._link.idle_timeout:
                quiet = True
                self._stream.feed(self._link.discard_input())
                framer.end_burst()
            yield None

    def _seconds_left(self, quiet: bool) -> float:
        """Seconds until something is due though nothing comes."""
        until = self._clock() + self._idle_check
        if self.wake_at is not None:
            until = min(until, self.wake_at)
        if not quiet:
            until = min(until, self.last_byte + self._link.idle_timeout)
        return until - self._clock()


async def listen(
    link: Link, framer: Framer, counters: Counters, log: logging.Logger, *, idle_check: float = 1.0
) -> AsyncIterator[Event | None]:
    """What a pushing meter sends; None at least every `idle_check` seconds while no byte comes."""
    async for event in Listener(link, framer, counters, log, idle_check=idle_check).events():
        yield event
