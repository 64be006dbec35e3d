"""The interface of an open byte stream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress

WillAct = Callable[[float], None]
"""Called before each wait with the seconds within which the caller will act again."""


def ignore_wait(_seconds: float) -> None:
    """A `WillAct` that does nothing."""


class Tap(Protocol):
    """Observes a link. Its methods must neither raise nor block."""

    def received(self, data: bytes) -> None:
        """Called with bytes received from the line."""

    def sent(self, data: bytes) -> None:
        """Called with bytes written to the line."""

    def changed(self, params: SerialParams) -> None:
        """Called with new line settings."""

    def closed(self, reason: LinkError, *, by_us: bool) -> None:
        """Called when the line is lost or, with `by_us`, closed by this program."""


class Link(ABC):
    """An open line to a meter. Each method raises LinkError if the line is lost.

    idle_timeout  seconds without a byte after which a partial frame is dropped: 1 s on a tty, 2.5 s
                  on TCP because of the bridge and the network
    loss          why the line is lost, None while it is open
    holder        id of the meter that leases the line, or did so last
    last_byte     loop time of the last received bytes, 0 before the first
    """

    idle_timeout: float
    params: SerialParams
    loss: LinkError | None = None
    holder: str | None = None
    last_byte: float = 0.0

    @abstractmethod
    async def read(self) -> bytes:
        """Wait for bytes and return them, at least one. Cancelling loses no bytes."""

    async def read_within(self, seconds: float) -> bytes:
        """Return the bytes that arrive within `seconds`, or b"" if there are none."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self.read()
        except TimeoutError:
            return b""

    def start_continuous(self) -> None:  # noqa: B027 - optional
        """Switch to continuous reading: apply back-pressure, never drop the oldest bytes."""

    def expect_bytes(self, count: int) -> None:  # noqa: B027 - optional
        """Hint that the next `read` is of no use before `count` more bytes have arrived.

        Until then `read` may wait and the link may leave the bytes in the driver.
        """

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Write the bytes in one call; return when the driver or the connection has them."""

    @abstractmethod
    async def drain(self) -> None:
        """Wait until the written bytes have left the port (on TCP: for their time on the wire)."""

    @abstractmethod
    async def set_baudrate(self, baudrate: int) -> None:
        """Change the speed. Raises MeterError if a bridge sets it."""

    async def configure(self, params: SerialParams) -> None:
        """Change the line settings, for another meter on the same port."""
        self.params = params

    @abstractmethod
    def discard_input(self) -> bytes:
        """Discard the unread bytes and return them."""

    @abstractmethod
    def wire_time(self, count: int) -> float:
        """Return the seconds that `count` bytes take on the wire at the present speed."""

    @abstractmethod
    async def close(self) -> None:
        """Close the line within a few seconds. Never raises."""


class Opener(Protocol):
    """Opens the link to an address."""

    async def __call__(
        self,
        address: PortAddress,
        params: SerialParams,
        *,
        open_timeout: float,
        idle_timeout: float | None = None,
    ) -> Link:
        """Open the line. Raises LinkError with a message that says what to do."""
