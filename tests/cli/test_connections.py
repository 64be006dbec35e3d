"""What stands between a replay and its broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from kamstrup_mqtt.cli.replay.connections import SETTLE, waited_for, without_broker
from kamstrup_mqtt.config import MqttConfig
from kamstrup_mqtt.mqtt.connection import Connection, Received


class Broker(Connection):
    """Acknowledges when it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bool, Callable[[], None]]] = []
        self.told: list[str] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(
        self, topic: str, payload: str, acked: Callable[[], None], *, retain: bool = True
    ) -> None:
        self.sent.append((topic, payload, retain, acked))

    def flush(self) -> None:
        self.told.append("flush")

    def fail(self, error: Exception) -> None:
        self.failed.set_exception(error)

    async def lost(self) -> None:
        await self.failed

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        self.told.append(f"publish {topic}")

    async def subscribe(self, topics: Any) -> None:
        self.told.append(f"subscribe {', '.join(topics)}")

    async def unsubscribe(self, topic: str) -> None:
        self.told.append(f"unsubscribe {topic}")

    async def messages(self) -> AsyncIterator[Received]:
        yield Received("a", b"b", retained=False)


class Clock:
    """Counts who holds it."""

    def __init__(self) -> None:
        self.holders = 0
        self.most = 0

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self.holders += 1
        self.most = max(self.most, self.holders)
        try:
            yield
        finally:
            self.holders -= 1


async def test_the_clock_waits_for_each_acknowledgement() -> None:
    broker, clock = Broker(), Clock()
    written: list[tuple[str, str, bool]] = []
    acked: list[str] = []

    @contextlib.asynccontextmanager
    async def connector(*_: Any, **__: Any) -> AsyncIterator[Connection]:
        assert clock.holders == 1  # name, TCP, TLS and CONNACK are waited for
        yield broker

    connect = waited_for(clock.hold, lambda *message: written.append(message), connector)
    async with connect(MqttConfig(), None) as connection:
        assert clock.holders == 0
        connection.send("a", "1", lambda: acked.append("a"))
        connection.send("b", "2", lambda: acked.append("b"), retain=False)
        connection.send("c", "3", lambda: acked.append("c"))
        connection.flush()
        assert (clock.holders, acked, written) == (3, [], [])
        for _, _, _, done in broker.sent[:2]:
            done()
        assert (clock.holders, acked) == (1, ["a", "b"])
        assert written == [("a", "1", True), ("b", "2", False)]
        await connection.publish("d", "4")
        await connection.unsubscribe("e")
        begin = asyncio.get_running_loop().time()
        await connection.subscribe(["f", "g"])
        # by the real clock, since a replay's may jump over any wait
        assert asyncio.get_running_loop().time() - begin >= SETTLE
        assert [message.topic async for message in connection.messages()] == ["a"]
        connection.fail(OSError("gone"))
        with pytest.raises(OSError, match="gone"):
            await connection.lost()
        assert clock.holders == 1
    # c will never be acknowledged
    assert (clock.holders, acked) == (0, ["a", "b"])
    assert broker.told == ["flush", "publish d", "unsubscribe e", "subscribe f, g"]


async def test_without_a_broker_all_is_written_and_acknowledged() -> None:
    written: list[tuple[str, str, bool]] = []
    acked = asyncio.Event()
    connect = without_broker(lambda *message: written.append(message))
    async with connect(MqttConfig(), None) as connection:
        connection.send("a", "1", acked.set)
        assert not acked.is_set()  # as with a real one: not before we let go
        connection.flush()
        await asyncio.wait_for(acked.wait(), 1)
        await connection.publish("b", "2", retain=False)
        await connection.subscribe(["#"])
        await connection.unsubscribe("#")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(aiter(connection.messages())), 0.01)
        connection.fail(ValueError("our fault"))
        connection.fail(ValueError("another"))
        with pytest.raises(ValueError, match="our fault"):
            await connection.lost()
    assert written == [("a", "1", True), ("b", "2", False)]
