"""Carries out a conversation on a link.

The protocols say what to send and what a frame is. This module has the clock, removes the echo,
and says why no response came.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator
from typing import TypeVar

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.links.base import Link, WillAct, ignore_wait
from kamstrup_mqtt.protocols.base import (
    Configure,
    DroppedBytes,
    DropReason,
    Frame,
    Framer,
    Pause,
    Send,
    Step,
)
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.echo import EchoFilter
from kamstrup_mqtt.reading.frame_stream import FrameStream, format_bytes

T = TypeVar("T")

EXCERPT_BYTES = 64
"""Bytes shown in a message; the log at DEBUG has all."""

MAX_RECEIVED = 65536
"""Bytes kept of what came since a request, for a report; the oldest are dropped first."""

MAX_DROPS = 256
"""Pieces kept to say why no response came."""


class ConversationRunner:
    """Carries out the steps that a conversation yields.

    received      the bytes since the last request, for a report
    request_sent  whether a request was sent
    got_response  whether anything but an echo came back
    is_silent     whether not one byte came back
    will_act      called before each wait with the seconds that it takes at most
    """

    def __init__(
        self,
        link: Link,
        framer: Framer,
        counters: Counters,
        log: logging.Logger,
        *,
        will_act: WillAct = ignore_wait,
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
        """Carry out the conversation and return its result.

        Raises LinkError if the line is lost, and MeterError if the meter does not answer and the
        conversation gives up.
        """
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
            result: T = stop.value
            return result
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
        if step.data:  # else the conversation waits for more responses to its last request
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
        """Count an echo, and log the first one of a meter."""
        self._counters.echoes += 1
        if self._counters.echoes == 1:
            self._log.info(
                "the optical head sends back what we send (an echo). It is skipped; if readings"
                " fail, lower the sensitivity of the head or shade it"
            )


class _ResponseWaiter:
    """Waits for one response."""

    def __init__(self, runner: ConversationRunner, step: Send, wire_time: float) -> None:
        self._runner = runner
        self._stream = runner._stream
        self._step = step
        self._echo = EchoFilter(step.data)
        self._clock = asyncio.get_running_loop().time
        now = self._clock()
        # a bridge may pass a response on only once all of it has come
        expected = runner._link.wire_time(step.expected_bytes)
        self._first_byte_due = now + wire_time + step.response_timeout + expected
        self._last_moment = now + wire_time + step.total_timeout + expected
        self._inter_byte_timeout = max(step.inter_byte_timeout, runner._link.idle_timeout)
        self._last_byte: float | None = None
        self._burst_ended = True
        self._drops: deque[DroppedBytes] = deque(maxlen=MAX_DROPS)
        self._echoes = 0

    async def wait(self) -> Frame:
        """Return the first frame that is no echo. Raises MeterError with the reason why none
        came."""
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
        """Return when this wait ends: after `inter_byte_timeout` seconds of silence, but not before
        the time for the first byte is over (noise may precede the response), and after
        `total_timeout` in any case."""
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
