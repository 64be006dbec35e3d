"""Limits the QoS 1 messages in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from kamstrup_mqtt.mqtt.connection import Connection


def _do_nothing() -> None:
    pass


class InFlightWindow:
    """Messages of one connection that wait for their acknowledgement, at most `size` at once.

    `on_slot_free` is called when a full window has room again, once for all acknowledgements of a
    loop iteration.
    """

    def __init__(
        self,
        connection: Connection,
        size: int,
        on_slot_free: Callable[[], None] = _do_nothing,
    ) -> None:
        self._connection = connection
        self._size = size
        self._on_slot_free = on_slot_free
        self._in_flight = 0
        self._acknowledged = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def is_full(self) -> bool:
        """Whether `size` messages are in flight."""
        return self._in_flight >= self._size

    def send(
        self,
        topic: str,
        payload: str,
        *,
        retain: bool = True,
        on_ack: Callable[[], None] = _do_nothing,
    ) -> None:
        """Send a message and call `on_ack` once it is acknowledged. Sends also if it is full."""
        self._in_flight += 1
        self._connection.send(topic, payload, partial(self._handle_ack, on_ack), retain=retain)

    def _handle_ack(self, on_ack: Callable[[], None]) -> None:
        if self._in_flight == self._size:
            self._loop.call_soon(self._on_slot_free)
        self._in_flight -= 1
        self._acknowledged.set()
        on_ack()

    async def wait_for_slot(self) -> None:
        """Wait until the window is not full."""
        while self.is_full:
            await self._wait_for_ack()

    async def wait_empty(self) -> None:
        """Wait until all messages are acknowledged."""
        while self._in_flight:
            await self._wait_for_ack()

    async def _wait_for_ack(self) -> None:
        self._acknowledged.clear()
        await self._acknowledged.wait()
