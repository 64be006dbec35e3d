"""A TCP proxy between the daemon and a meter: a bridge, and what bridges do at their worst."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Bridge:
    """`black`: nothing goes through and connections stay open; `closed`: new connections are
    taken and closed at once, with `greeting` before that if there is one; `noise`: share of the
    pieces from the meter that have a wrong byte, miss some, come twice or bring others."""

    host: str
    target: int
    port: int = 0
    black: bool = False
    closed: bool = False
    greeting: bytes = b""
    noise: float = 0.0
    damaged: int = 0
    accepted: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
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
        for carrier in self._carriers:  # one that lets nothing through notices no reset
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
            back.write(self.greeting)
            back.close()
            return
        self._writers.add(back)
        on = None
        try:
            meter, on = await asyncio.open_connection(self.host, self.target)
            self._writers.add(on)
            tasks = {
                asyncio.create_task(self._carry(client, on, noisy=False)),
                asyncio.create_task(self._carry(meter, back, noisy=True)),
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
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, noisy: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(4096):
                while self.black:  # noqa: ASYNC110 - a test sets it at any time
                    await asyncio.sleep(0.01)
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
    bridge = Bridge(host, target)
    await bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()
