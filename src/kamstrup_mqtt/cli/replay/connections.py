"""Connections for a daemon whose meters are recordings: without a broker, or with one that is
waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from kamstrup_mqtt.config import MqttConfig
from kamstrup_mqtt.mqtt.connection import Connection, Connector, Received, Will, connect

Write = Callable[[str, str, bool], None]
"""Takes topic, payload, and whether the message is retained."""

SETTLE = 0.5
"""Real seconds in which a broker shows what it has retained."""


def without_broker(write: Write) -> Connector:
    """A connector to no broker: what would be published is written."""

    @contextlib.asynccontextmanager
    async def connector(mqtt: MqttConfig, will: Will | None, **_: Any) -> AsyncIterator[Connection]:
        yield _Written(write)

    return connector


def waited_for(
    hold: Callable[[], AbstractContextManager[None]], write: Write, connector: Connector = connect
) -> Connector:
    """A connector whose connections do everything inside `hold`, and tell `write` what was
    published."""

    @contextlib.asynccontextmanager
    async def holding(
        mqtt: MqttConfig, will: Will | None, **limits: Any
    ) -> AsyncIterator[Connection]:
        async with contextlib.AsyncExitStack() as stack:
            with hold():
                connection = await stack.enter_async_context(connector(mqtt, will, **limits))
            waited_for = _WaitedFor(connection, hold, write)
            try:
                yield waited_for
            finally:
                waited_for.close()

    return holding


class _Written(Connection):
    """Nothing comes in; what goes out is written, and counts as acknowledged."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()

    def send(
        self, topic: str, payload: str, acked: Callable[[], None], *, retain: bool = True
    ) -> None:
        self._write(topic, payload, retain)
        self._loop.call_soon(acked)

    def flush(self) -> None:
        pass

    def fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    async def lost(self) -> None:
        await self._failed

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        self._write(topic, payload, retain)

    async def subscribe(self, topics: Iterable[str]) -> None:
        pass

    async def unsubscribe(self, topic: str) -> None:
        pass

    async def messages(self) -> AsyncIterator[Received]:
        await asyncio.Event().wait()
        yield Received("", b"", retained=False)  # never


class _WaitedFor(Connection):
    """Another connection, which the clock waits for."""

    def __init__(
        self,
        connection: Connection,
        hold: Callable[[], AbstractContextManager[None]],
        write: Write,
    ) -> None:
        self._connection = connection
        self._hold = hold
        self._write = write
        self._holding: set[contextlib.ExitStack] = set()

    def close(self) -> None:
        """What is not acknowledged now never will be."""
        for holding in self._holding:
            holding.close()
        self._holding.clear()

    def send(
        self, topic: str, payload: str, acked: Callable[[], None], *, retain: bool = True
    ) -> None:
        holding = contextlib.ExitStack()
        holding.enter_context(self._hold())
        self._holding.add(holding)

        def done() -> None:
            self._holding.discard(holding)
            holding.close()
            self._write(topic, payload, retain)
            acked()

        self._connection.send(topic, payload, done, retain=retain)

    def flush(self) -> None:
        self._connection.flush()

    def fail(self, error: Exception) -> None:
        self._connection.fail(error)

    async def lost(self) -> None:
        await self._connection.lost()

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        with self._hold():
            await self._connection.publish(topic, payload, retain=retain)
        self._write(topic, payload, retain)

    async def subscribe(self, topics: Iterable[str]) -> None:
        with self._hold():
            await self._connection.subscribe(topics)
            # in real time: the session's own wait for retained messages may take no time at all
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, SETTLE)

    async def unsubscribe(self, topic: str) -> None:
        with self._hold():
            await self._connection.unsubscribe(topic)

    def messages(self) -> AsyncIterator[Received]:
        return self._connection.messages()
