"""A relay between the daemon and a meter that simulates faults of bridges and lines."""

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
    """Relays the daemon to a meter.

    greeting  sent to refused connections
    noise     share of the pieces from the meter that are damaged: a changed byte, lost, repeated
              or added bytes
    damaged   number of damaged pieces
    """

    greeting: bytes = b""
    noise: float = 0.0
    damaged: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def _refuse(self, client: asyncio.StreamWriter) -> None:
        client.write(self.greeting)
        client.close()

    def _directions(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        return (
            self._carry(client[0], server[1], is_noisy=False),
            self._carry(server[0], client[1], is_noisy=True),
        )

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_noisy: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(4096):
                await self.wait_while_stalled()
                if is_noisy and self.rng.random() < self.noise:
                    data = self._damage(data)
                sink.write(data)
                await sink.drain()

    def _damage(self, data: bytes) -> bytes:
        self.damaged += 1
        at = self.rng.randrange(len(data))
        kind = self.rng.randrange(4)
        if kind == 0:
            return data[:at] + bytes((data[at] ^ 1 << self.rng.randrange(8),)) + data[at + 1 :]
        if kind == 1:
            return data[:at] + data[at + self.rng.randint(1, 8) :]
        if kind == 2:
            return data[:at] + data
        return data[:at] + self.rng.randbytes(self.rng.randint(1, 40)) + data[at:]


@contextlib.asynccontextmanager
async def bridged(host: str, target: int) -> AsyncIterator[Bridge]:
    bridge = Bridge(target, host)
    await bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()
