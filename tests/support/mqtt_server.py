"""Servers that speak just enough MQTT to do what no real broker does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
CONNACK_311 = b"\x20\x02\x00\x00"
"""Accepted, no session present (MQTT 3.1.1, 3.2)."""


@dataclass(slots=True)
class MqttServer:
    """Calls `answer(type, body, writer)` for each packet.

    `received` holds all bytes. `ended` is set when the client has closed its side.
    """

    answer: Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None] | None]
    received: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                header = await reader.readexactly(2)  # each packet of these tests is short
                body = await reader.readexactly(header[1])
                self.received += header + body
                answered = self.answer(header[0] >> 4, body, writer)
                if answered is not None:
                    await answered
        writer.close()
        self.ended.set()


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None] | None],
) -> AsyncIterator[MqttServer]:
    """A server on a free port of the loopback."""
    server = MqttServer(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def packet_id(publish: bytes) -> bytes:
    """Return the packet identifier from the body of a PUBLISH with QoS 1 (MQTT 3.1.1, 3.3.2)."""
    end = 2 + int.from_bytes(publish[:2], "big")
    return publish[end : end + 2]
