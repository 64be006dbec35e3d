"""Connections for a daemon whose meters are recordings.

The clock of a replay may run a thousand times as fast as a broker answers, or jump. Therefore the
daemon's session gets a connection that takes each message at once. A message for a broker is handed
to a thread that keeps the real connection, and the replay, clock included, waits for its
acknowledgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from kamstrup_mqtt.config import MqttConfig
from kamstrup_mqtt.mqtt import Connection, Connector, Received, Will, connect

T = TypeVar("T")

Write = Callable[[str, str, bool], None]
"""Takes topic, payload, and whether the message is retained."""


def print_connector(write: Write) -> Connector:
    """Return a connector whose connections give each message to `write`."""

    @contextlib.asynccontextmanager
    async def connector(mqtt: MqttConfig, will: Will | None, **_: Any) -> AsyncIterator[Connection]:
        yield WritingConnection(write)

    return connector


def broker_connector(published: Write, connector: Connector = connect) -> Connector:
    """Return a connector to the broker. `published` gets each message after its acknowledgement.

    Opening a connection and sending a message block and raise BrokerError.
    """

    @contextlib.asynccontextmanager
    async def connect_blocking(
        mqtt: MqttConfig, will: Will | None, **limits: Any
    ) -> AsyncIterator[Connection]:
        with BrokerThread() as thread, thread.enter(connector(mqtt, will, **limits)) as connection:

            def write(topic: str, payload: str, retain: bool) -> None:
                thread.run(connection.publish(topic, payload, retain=retain))
                published(topic, payload, retain)

            yield WritingConnection(write)

    return connect_blocking


class WritingConnection:
    """Gives each message to a function, and counts it as acknowledged. Nothing comes in.

    Implements `Connection`. What the function raises fails the connection.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()

    def send(
        self, topic: str, payload: str, on_ack: Callable[[], None], *, retain: bool = True
    ) -> None:
        """See `Connection.send`."""
        try:
            self._write(topic, payload, retain)
        except Exception as error:  # noqa: BLE001 - `wait_lost` raises it
            self.fail(error)
        else:
            self._loop.call_soon(on_ack)

    def flush(self) -> None:
        """See `Connection.flush`. There is nothing left to write."""

    def fail(self, error: Exception) -> None:
        """See `Connection.fail`."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def wait_lost(self) -> None:
        """See `Connection.wait_lost`."""
        await self._failure

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        """See `Connection.publish`."""
        self._write(topic, payload, retain)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """See `Connection.subscribe`. Does nothing."""

    async def unsubscribe(self, topic: str) -> None:
        """See `Connection.unsubscribe`. Does nothing."""

    async def messages(self) -> AsyncIterator[Received]:
        """See `Connection.messages`. Never yields."""
        await asyncio.Event().wait()
        yield Received("", b"", retained=False)  # never reached


class BrokerThread:
    """A daemon thread with an event loop that runs in real time. Use it as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="kamstrup-replay-broker", daemon=True
        )

    def __enter__(self) -> BrokerThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread's loop. Blocks until it returns or raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @contextlib.contextmanager
    def enter(self, context: contextlib.AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter and exit an asynchronous context manager in the thread's loop."""

        async def enter() -> T:
            return await context.__aenter__()

        async def leave() -> None:
            await context.__aexit__(None, None, None)

        value = self.run(enter())
        try:
            yield value
        finally:
            self.run(leave())
