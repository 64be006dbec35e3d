"""A TCP proxy before the broker that counts MQTT 3.1.1 messages and does what networks do.

It reads the fixed header of each packet (MQTT 3.1.1, 2.2): type in the upper four bits, the length
in one to four bytes; of a PUBLISH with QoS 1 also topic, packet id and payload (3.3).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

PUBLISH, PUBACK = 3, 4


@dataclass(slots=True)
class Proxy:
    """`published`: (topic, payload) of every PUBLISH seen from the client; `acknowledged`: those
    whose PUBACK went back to it. `silent`: PUBACKs are swallowed; `black`: nothing goes through,
    and connections stay open; `closed`: new connections are refused at once; `delay`: seconds that
    each message of the client takes."""

    target: int
    port: int = 0
    published: list[tuple[str, str]] = field(default_factory=list)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    silent: bool = False
    black: bool = False
    closed: bool = False
    delay: float = 0.0
    accepted: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _carriers: set[asyncio.Task[None]] = field(default_factory=set)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for carrier in self._carriers:  # one that delays, or lets nothing through, notices no reset
            carrier.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def reset(self) -> None:
        """Break every connection with a RST."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._serving.add(this)
        this.add_done_callback(self._serving.discard)
        self.accepted += 1
        if self.closed:
            back.transport.abort()
            return
        self._writers.add(back)
        on = None
        try:
            broker, on = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(on)
            waiting: dict[int, tuple[str, str]] = {}
            tasks = {
                asyncio.create_task(self._carry(client, on, waiting)),
                asyncio.create_task(self._carry(broker, back, waiting)),
            }
            self._carriers |= tasks
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._carriers -= tasks
        except OSError:
            pass
        finally:
            for writer in (back, on):
                if writer is not None:
                    self._writers.discard(writer)
                    writer.transport.abort()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        waiting: dict[int, tuple[str, str]],
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet, body = await _packet(source)
                while self.black:  # noqa: ASYNC110 - a test sets it at any time
                    await asyncio.sleep(0.01)
                if self.delay and self._of_client(sink):
                    await asyncio.sleep(self.delay)
                kind = packet[0] >> 4
                if kind == PUBLISH and packet[0] & 0x06 == 0x02 and self._of_client(sink):
                    end = 2 + int.from_bytes(body[:2])
                    message = body[2:end].decode(), body[end + 2 :].decode()
                    self.published.append(message)
                    waiting[int.from_bytes(body[end : end + 2])] = message
                if kind == PUBACK and not self._of_client(sink):
                    if self.silent:
                        continue
                    self.acknowledged.append(waiting.pop(int.from_bytes(body[:2]), ("?", "?")))
                sink.write(packet + body)
                await sink.drain()

    def _of_client(self, sink: asyncio.StreamWriter) -> bool:
        """Whether what is written to `sink` comes from the client."""
        peer = sink.get_extra_info("peername")
        return peer is not None and peer[1] == self.target


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
    """A proxy before the broker on the port `target`."""
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
