"""The common base of serial and TCP links: buffered bytes and the loss of the line."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.base import Link, Tap

MAX_UNREAD = 65536
"""Size of the buffer in bytes. Between polls the oldest bytes (noise) are dropped. With continuous
reading the link is paused instead until the buffer is read."""


class StreamLink(Link, asyncio.Protocol):
    """A link that is also the asyncio protocol which receives its bytes."""

    def __init__(self, params: SerialParams, idle_timeout: float) -> None:
        self.params = params
        self.idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._reader: asyncio.Future[None] | None = None  # resolved to wake a waiting `read`
        self._expected = 1  # bytes in the buffer before `read` returns
        self._is_continuous = False
        self._is_paused = False
        self._sent_until = 0.0  # loop time when the written bytes have left the line
        self._tap: Tap | None = None
        # set here, because an attribute added later costs a dict of 600 bytes per link
        self.loss, self.holder, self.last_byte = None, None, 0.0

    def attach_tap(self, tap: Tap) -> None:
        """Report to `tap` from now on, starting with the unread bytes."""
        self._tap = tap
        if self._unread:
            tap.received(bytes(self._unread))

    def data_received(self, data: bytes) -> None:
        """Buffer received bytes; called by asyncio."""
        self.last_byte = self._loop.time()
        if self._tap is not None:
            self._tap.received(data)
        self._unread += data
        if len(self._unread) > MAX_UNREAD:
            if self._is_continuous:
                self._is_paused = True
                self._pause()
            else:
                del self._unread[:-MAX_UNREAD]
        if len(self._unread) >= self._expected:
            self._wake_reader()

    def mark_lost(self, error: LinkError, *, by_us: bool = False) -> None:
        """Mark the line as lost or, with `by_us`, closed. The first reason is kept."""
        if self.loss is None:
            self.loss = error
            if self._tap is not None:
                self._tap.closed(error, by_us=by_us)
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _pause(self) -> None:
        """Stop receiving."""

    def _resume(self) -> None:
        """Receive again."""

    def start_continuous(self) -> None:
        self._is_continuous = True

    def expect_bytes(self, count: int) -> None:
        self._expected = max(1, count)

    async def read(self) -> bytes:
        while len(self._unread) < self._expected:
            self.raise_if_lost()
            await self._wait_for_bytes()
        return self._take_unread()

    async def read_within(self, seconds: float) -> bytes:
        if len(self._unread) < self._expected:
            self.raise_if_lost()
            timer = self._loop.call_later(max(0.0, seconds), self._wake_reader)
            try:
                await self._wait_for_bytes()
            finally:
                timer.cancel()
            if len(self._unread) < self._expected:
                self.raise_if_lost()
                return b""
        return self._take_unread()

    async def _wait_for_bytes(self) -> None:
        """Wait for the expected number of bytes, the loss of the line, or a timer."""
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def discard_input(self) -> bytes:
        self.raise_if_lost()
        return self._take_unread()

    def raise_if_lost(self) -> None:
        """Raise LinkError if the line is lost."""
        if self.loss is not None:
            # a new exception each time, because a raised one keeps its frames alive
            raise LinkError(self.loss.state, str(self.loss))

    def _take_unread(self) -> bytes:
        data = bytes(self._unread)
        self._unread.clear()
        self._expected = 1
        if self._is_paused:
            self._is_paused = False
            self._resume()
        return data

    def wire_time(self, count: int) -> float:
        p = self.params
        bits = 1 + p.bytesize + (p.parity != "N") + p.stopbits
        return count * bits / p.baudrate

    def _record_sent(self, data: bytes) -> None:
        start = max(self._loop.time(), self._sent_until)
        self._sent_until = start + self.wire_time(len(data))
        if self._tap is not None:
            self._tap.sent(data)

    async def _wait_until_sent(self) -> None:
        await asyncio.sleep(max(0.0, self._sent_until - self._loop.time()))

    def _set_params(self, params: SerialParams) -> None:
        self.params = params
        if self._tap is not None:
            self._tap.changed(params)

    def _set_baudrate_param(self, baudrate: int) -> None:
        self._set_params(replace(self.params, baudrate=baudrate))
