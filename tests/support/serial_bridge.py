"""A relay between the daemon and a meter: a bridge, and what bridges do at their worst."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.support.tcp_relay import Relay


@dataclass(slots=True)
class Bridge(Relay):
    """`greeting`: what a refused connection is told; `noise`: share of the pieces from the meter
    that have a wrong byte, miss some, come twice or bring others, of which there were `damaged`."""

    greeting: bytes = b""
    noise: float = 0.0
    damaged: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def _refuse(self, back: asyncio.StreamWriter) -> None:
        back.write(self.greeting)
        back.close()

    def _ways(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        return (
            self._carry(client[0], server[1], noisy=False),
            self._carry(server[0], client[1], noisy=True),
        )

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, noisy: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(4096):
                await self.while_black()
                if noisy and self.chance.random() < self.noise:
                    data = self._damage(data)
                sink.write(data)
                await sink.drain()

    def _damage(self, data: bytes) -> bytes:
        self.damaged += 1
        at = self.chance.randrange(len(data))
        kind = self.chance.randrange(4)
        if kind == 0:
            return data[:at] + bytes((data[at] ^ 1 << self.chance.randrange(8),)) + data[at + 1 :]
        if kind == 1:
            return data[:at] + data[at + self.chance.randint(1, 8) :]
        if kind == 2:
            return data[:at] + data
        return data[:at] + self.chance.randbytes(self.chance.randint(1, 40)) + data[at:]


@contextlib.asynccontextmanager
async def bridged(host: str, target: int) -> AsyncIterator[Bridge]:
    bridge = Bridge(target, host)
    await bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()
