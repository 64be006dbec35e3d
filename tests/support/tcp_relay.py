"""A TCP relay on a free port of the loopback that fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

POLL_INTERVAL = 0.01
"""Seconds."""


@dataclass(slots=True)
class Relay:
    """Relays connections to `target`.

    is_stalled  bytes are held, connections stay open
    refuses     new connections are closed at once (`_refuse`)
    accepted    number of connections so far

    Subclasses relay the bytes in `_directions`.
    """

    target: int
    host: str = "127.0.0.1"
    port: int = 0
    is_stalled: bool = False
    refuses: bool = False
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
        for carrier in self._carriers:  # a delayed or stalled one does not notice the reset
            carrier.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def reset(self) -> None:
        """Break every connection with a RST."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def wait_while_stalled(self) -> None:
        while self.is_stalled:  # noqa: ASYNC110 - tests set it at any time
            await asyncio.sleep(POLL_INTERVAL)

    def _refuse(self, client: asyncio.StreamWriter) -> None:
        client.transport.abort()

    def _directions(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        """Return the coroutines that relay the bytes of a connection in each direction."""
        raise NotImplementedError

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._serving.add(this)
        this.add_done_callback(self._serving.discard)
        self.accepted += 1
        if self.refuses:
            self._refuse(back)
            return
        self._writers.add(back)
        on = None
        try:
            server, on = await asyncio.open_connection(self.host, self.target)
            self._writers.add(on)
            tasks = {asyncio.create_task(x) for x in self._directions((client, back), (server, on))}
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
