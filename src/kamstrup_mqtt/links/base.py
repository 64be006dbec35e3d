"""The contract of an open byte stream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Protocol

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress


class Tap(Protocol):
    """Who is told what passes on a link; must not raise, and must not take long."""

    def received(self, data: bytes) -> None:
        """Bytes came from the line."""

    def sent(self, data: bytes) -> None:
        """Bytes were handed to the line."""

    def changed(self, params: SerialParams) -> None:
        """The line is set otherwise from now on."""

    def closed(self, reason: LinkError, *, by_us: bool) -> None:
        """The line is lost, or closed by us."""


class Link(ABC):
    """An open line to a meter. Every method raises LinkError when the line is lost.

    `idle_timeout`: seconds without a byte after which a partial frame is given up (1 s on a tty,
    2.5 s on TCP, where a bridge and a network lie between). `loss`: why the line is lost, None
    while it is not. `holder`: the meter whose turn on the line it is, or was last. `last_byte`:
    loop time at which the last bytes came, 0 before the first."""

    idle_timeout: float
    params: SerialParams
    loss: LinkError | None = None
    holder: str | None = None
    last_byte: float = 0.0

    @abstractmethod
    async def read(self) -> bytes:
        """The bytes that came, at least one; waits for them. Cancelling loses none."""

    async def read_within(self, seconds: float) -> bytes:
        """What `read` gives within so many seconds, b"" when it gives nothing."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self.read()
        except TimeoutError:
            return b""

    def start_continuous(self) -> None:  # noqa: B027 - a line may do without
        """From now on somebody reads all the time: what comes faster than it is read waits
        outside, and pushes nothing out."""

    def expect_bytes(self, count: int) -> None:  # noqa: B027 - a line may do without
        """Nothing can be made of what comes before there are `count` bytes more: until then `read`
        may wait, and the line may be left alone. Holds for the next `read`."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Write in one call; returns when the bytes were handed over."""

    @abstractmethod
    async def drain(self) -> None:
        """Wait until what was written has left the port (on TCP: for its time on the wire)."""

    @abstractmethod
    async def set_baudrate(self, baudrate: int) -> None:
        """Change the speed. Raises MeterError where it belongs to a bridge."""

    async def configure(self, params: SerialParams) -> None:
        """Set the line as another meter on the same port wants it."""
        self.params = params

    @abstractmethod
    def discard_input(self) -> bytes:
        """Throw away what came and was not read yet; returns it."""

    @abstractmethod
    def wire_time(self, count: int) -> float:
        """Seconds that `count` bytes need on the wire at the present speed."""

    @abstractmethod
    async def close(self) -> None:
        """Close; never raises, never takes longer than a few seconds."""


class Opener(Protocol):
    """Opens the link that an address names."""

    async def __call__(
        self,
        address: PortAddress,
        params: SerialParams,
        *,
        open_timeout: float,
        idle_timeout: float | None = None,
    ) -> Link:
        """The open line. Raises LinkError with what to do about it."""
