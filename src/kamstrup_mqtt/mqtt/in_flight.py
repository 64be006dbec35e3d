"""So many messages may wait for their acknowledgement at once; the next goes when one has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from kamstrup_mqtt.mqtt.connection import Connection


def _nothing() -> None:
    pass


class Window:
    """Messages on their way over one connection, in the order in which they were sent.

    `room` is called, once for all acknowledgements of one turn of the loop, when there is room
    again in a window that was full.
    """

    def __init__(
        self, connection: Connection, size: int, room: Callable[[], None] = _nothing
    ) -> None:
        self._connection = connection
        self._size = size
        self._room = room
        self._in_flight = 0
        self._acked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def full(self) -> bool:
        return self._in_flight >= self._size

    def send(
        self, topic: str, payload: str, *, retain: bool = True, then: Callable[[], None] = _nothing
    ) -> None:
        """Send; `then` is called when it is acknowledged. Whoever sends more than there is room
        for is not stopped."""
        self._in_flight += 1
        self._connection.send(topic, payload, partial(self._take, then), retain=retain)

    def _take(self, then: Callable[[], None]) -> None:
        if self._in_flight == self._size:
            self._loop.call_soon(self._room)
        self._in_flight -= 1
        self._acked.set()
        then()

    async def vacancy(self) -> None:
        """Wait until there is room."""
        while self.full:
            await self._progress()

    async def drained(self) -> None:
        """Wait until everything that was sent is acknowledged."""
        while self._in_flight:
            await self._progress()

    async def _progress(self) -> None:
        self._acked.clear()
        await self._acked.wait()
