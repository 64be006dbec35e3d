"""A relay in front of the broker that records MQTT 3.1.1 messages and simulates faults.

It parses the fixed header of each packet (MQTT 3.1.1, 2.2): the type in the upper four bits, the
length in one to four bytes. For a PUBLISH with QoS 1 it parses topic, packet id and payload (3.3).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.support.tcp_relay import Relay

PUBLISH, PUBACK = 3, 4


@dataclass(slots=True)
class Proxy(Relay):
    """Relays one client to the broker.

    published     topic and payload of each PUBLISH from the client
    acknowledged  those whose PUBACK was relayed to the client
    drops_acks    PUBACKs are dropped
    delay         seconds before each message of the client is relayed
    """

    published: list[tuple[str, str]] = field(default_factory=list)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    drops_acks: bool = False
    delay: float = 0.0

    def _directions(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        waiting: dict[int, tuple[str, str]] = {}
        return (
            self._forward(client[0], server[1], waiting),
            self._return(server[0], client[1], waiting),
        )

    async def _packets(self, source: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                packet = await _packet(source)
                await self.wait_while_stalled()
                yield packet

    async def _forward(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        waiting: dict[int, tuple[str, str]],
    ) -> None:
        with contextlib.suppress(OSError):
            async for packet, body in self._packets(source):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if packet[0] >> 4 == PUBLISH and packet[0] & 0x06 == 0x02:
                    end = 2 + int.from_bytes(body[:2])
                    message = body[2:end].decode(), body[end + 2 :].decode()
                    self.published.append(message)
                    waiting[int.from_bytes(body[end : end + 2])] = message
                sink.write(packet + body)
                await sink.drain()

    async def _return(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        waiting: dict[int, tuple[str, str]],
    ) -> None:
        with contextlib.suppress(OSError):
            async for packet, body in self._packets(source):
                if packet[0] >> 4 == PUBACK:
                    if self.drops_acks:
                        continue
                    self.acknowledged.append(waiting.pop(int.from_bytes(body[:2]), ("?", "?")))
                sink.write(packet + body)
                await sink.drain()


async def _packet(source: asyncio.StreamReader) -> tuple[bytes, bytes]:
    header = await source.readexactly(1)
    length, shift = 0, 0
    while True:
        byte = await source.readexactly(1)
        header += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            break
    return header, await source.readexactly(length)


@contextlib.asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the broker on the port `target`."""
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
