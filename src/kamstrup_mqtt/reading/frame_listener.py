"""Receives frames from a meter that sends by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.protocols.base import Event, Frame, Framer
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.frame_stream import FrameStream


async def _yield_control() -> None:
    await asyncio.sleep(0)


class FrameListener:
    """Yields the frames and drops of one link.

    last_frame     loop time of the last frame, at first of the start
    wake_at        loop time at which to yield None although nothing came
    idle_check     seconds after which to yield None in any case
    yield_control  awaited between two events that came together
    """

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
        """Loop time of the last byte, at first of the start."""
        return max(self._last_read, self._link.last_byte)

    async def events(self) -> AsyncGenerator[Event | None, None]:
        """Yield frames and drops as they come, and None when a deadline may have passed.

        Raises LinkError if the line is lost.
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
                    await self._yield_control()  # a flooded line must not starve the others
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
        """Return the seconds until the next deadline."""
        until = self._clock() + self._idle_check
        if self.wake_at is not None:
            until = min(until, self.wake_at)
        if not quiet:
            until = min(until, self.last_byte + self._link.idle_timeout)
        return until - self._clock()


async def listen(
    link: Link, framer: Framer, counters: Counters, log: logging.Logger, *, idle_check: float = 1.0
) -> AsyncIterator[Event | None]:
    """Yield what a pushing meter sends, and None at least every `idle_check` seconds while no byte
    comes."""
    async for event in FrameListener(link, framer, counters, log, idle_check=idle_check).events():
        yield event
