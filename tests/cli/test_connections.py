"""The connections that a replay gives to the daemon's session."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.cli.replay.connections import broker_connector, print_connector
from kamstrup_mqtt.config import MqttConfig
from kamstrup_mqtt.mqtt import BrokerError, Connection
from tests.support.broker import free_port, running, watching

Messages = list[tuple[str, str, bool]]


async def acknowledged(send: Callable[[Callable[[], None]], None]) -> None:
    """Wait until the function given to `send` is called."""
    ack = asyncio.Event()
    send(ack.set)
    assert not ack.is_set(), "acknowledged before `send` returned"
    async with asyncio.timeout(10):
        await ack.wait()


async def test_messages_are_written_and_acknowledged_without_a_broker() -> None:
    written: Messages = []
    connect = print_connector(lambda *message: written.append(message))
    async with connect(MqttConfig(), None) as connection:
        await acknowledged(lambda ack: connection.send("a", "1", ack))
        connection.flush()
        await connection.publish("b", "2", retain=False)
        await connection.subscribe(["#"])
        await connection.unsubscribe("#")
        incoming = asyncio.ensure_future(anext(aiter(connection.messages())))
        await asyncio.sleep(0)
        assert not incoming.done()
        incoming.cancel()
        connection.fail(ValueError("first"))
        connection.fail(ValueError("second"))
        with pytest.raises(ValueError, match="first"):
            await connection.wait_lost()
    assert written == [("a", "1", True), ("b", "2", False)]


async def test_a_write_error_fails_the_connection() -> None:
    def write(*_: Any) -> None:
        raise BrokenPipeError

    async with print_connector(write)(MqttConfig(), None) as connection:
        connection.send("a", "1", lambda: pytest.fail("acknowledged"))
        with pytest.raises(BrokenPipeError):
            await connection.wait_lost()
        with pytest.raises(BrokenPipeError):
            await connection.publish("a", "1")


async def test_a_message_is_at_the_broker_when_send_returns(tmp_path: Path) -> None:
    published: Messages = []
    connect = broker_connector(lambda *message: published.append(message))
    with running(tmp_path) as broker:
        mqtt = MqttConfig(host="127.0.0.1", port=broker.port)
        async with connect(mqtt, None) as connection:
            async with watching(broker.port) as watcher:
                await acknowledged(lambda ack: connection.send("a", "1", ack))
                assert published == [("a", "1", True)]
                await connection.publish("b", "2", retain=False)
                assert published == [("a", "1", True), ("b", "2", False)]
                await watcher.until("b", "2")
            broker.kill()
            connection.send("c", "3", lambda: pytest.fail("acknowledged"))
            with pytest.raises(BrokerError):
                await connection.wait_lost()
    assert len(published) == 2
    assert not [t for t in threading.enumerate() if t.name == "kamstrup-replay-broker"]


async def test_no_thread_is_left_when_the_broker_cannot_be_reached() -> None:
    mqtt = MqttConfig(host="127.0.0.1", port=free_port())
    with pytest.raises(BrokerError, match="connection refused"):
        async with broker_connector(lambda *_: None)(mqtt, None):
            pytest.fail("connected")
    assert not [t for t in threading.enumerate() if t.name == "kamstrup-replay-broker"]


async def test_the_timeouts_reach_the_real_connection() -> None:
    given: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def connector(*_: Any, **limits: Any) -> AsyncIterator[Connection]:
        given.update(limits)
        async with print_connector(lambda *_: None)(MqttConfig(), None) as connection:
            yield connection

    connect = broker_connector(lambda *_: None, connector)
    async with connect(MqttConfig(), None, connect_timeout=1.0, ack_timeout=2.0) as connection:
        await connection.publish("a", "1")
    assert given == {"connect_timeout": 1.0, "ack_timeout": 2.0}
