"""A TCP relay on a free port of the loopback: what stands between two parties, and fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Relay:
    """`black`: nothing goes through and connections stay open; `closed`: new connections end at
    once (`_refuse`); `accepted`: connections taken so far. What becomes of the bytes is told by
    `_ways`."""

    target: int
    host: str = "127.0.0.1"
    port: int = 0
    black: bool = False
    closed: bool = False
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

    async def while_black(self) -> None:
        while self.black:  # noqa: ASYNC110 - a test sets it at any time
            await asyncio.sleep(0.01)

    def _refuse(self, back: asyncio.StreamWriter) -> None:
        back.transport.abort()

    def _ways(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        """What carries a connection's bytes there and back, until one of the two ends."""
        raise NotImplementedError

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._serving.add(this)
        this.add_done_callback(self._serving.discard)
        self.accepted += 1
        if self.closed:
            self._refuse(back)
            return
        self._writers.add(back)
        on = None
        try:
            server, on = await asyncio.open_connection(self.host, self.target)
            self._writers.add(on)
            tasks = {asyncio.create_task(x) for x in self._ways((client, back), (server, on))}
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
