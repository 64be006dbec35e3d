"""A connection to a real Mosquitto, through paho and through aiomqtt's public interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest

from kamstrup_mqtt.mqtt.broker_errors import BrokerError, Trouble
from kamstrup_mqtt.mqtt.connection import Connection
from kamstrup_mqtt.mqtt.connector import connect
from tests.support.broker import Mosquitto, eventually, watching
from tests.support.mqtt_proxy import proxied
from tests.support.mqtt_server import CONNACK_311, CONNECT, PUBLISH, packet_id, serving
from tests.support.publisher import make_config

pytestmark = pytest.mark.usefixtures("interface")

SECONDS = 10.0


@contextlib.asynccontextmanager
async def connected(port: int, ack: float = 5.0) -> AsyncIterator[Connection]:
    async with connect(make_config(port).mqtt, None, ack_timeout=ack) as connection:
        yield connection


async def test_messages_arrive_in_the_order_in_which_they_were_sent(broker: Mosquitto) -> None:
    messages = [("numbers", str(number)) for number in range(100)]
    async with watching(broker.port) as watcher, connected(broker.port) as connection:
        for topic, payload in messages:
            connection.send(topic, payload, lambda: None, retain=False)
        await eventually(lambda: watcher.seen == messages, "all messages, in order")


async def test_each_acknowledgement_calls_its_own_function(broker: Mosquitto) -> None:
    acknowledged: list[int] = []
    async with connected(broker.port) as connection:
        for number in range(30):
            connection.send("a", "x", partial(acknowledged.append, number))
        assert acknowledged == []
        await eventually(lambda: len(acknowledged) == 30, "all acknowledged")
    assert acknowledged == list(range(30))


async def test_more_than_the_socket_buffer_holds_is_written_later(broker: Mosquitto) -> None:
    acknowledged: list[int] = []
    async with connected(broker.port, ack=30.0) as connection:
        for number in range(20):  # 20 MB
            on_ack = partial(acknowledged.append, number)
            connection.send("large", "x" * 1_000_000, on_ack, retain=False)
        connection.flush()
        await eventually(lambda: len(acknowledged) == 20, "all acknowledged", 30)


async def test_a_broker_that_stops_acknowledging_is_reported(broker: Mosquitto) -> None:
    async with proxied(broker.port) as proxy, connected(proxy.port, ack=0.1) as connection:
        await connection.publish("a", "1")
        proxy.drops_acks = True
        connection.send("a", "2", lambda: pytest.fail("acknowledged"))
        with pytest.raises(BrokerError, match="does not acknowledge messages any more") as caught:
            async with asyncio.timeout(SECONDS):
                await connection.wait_lost()
        assert caught.value.trouble is Trouble.LOST
        with pytest.raises(BrokerError, match="does not acknowledge messages any more"):
            await connection.publish("a", "3")


async def test_the_timeout_is_that_of_each_message(broker: Mosquitto) -> None:
    """Sending for longer than the timeout is no failure if each message is acknowledged in time."""
    async with connected(broker.port, ack=1.0) as connection:
        lost = asyncio.create_task(connection.wait_lost())
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.5
        async with asyncio.timeout(SECONDS):
            while loop.time() < end:
                await connection.publish("a", "x")
        assert not lost.done()
        lost.cancel()
        await asyncio.wait([lost])


async def test_the_timeout_also_ends_a_later_message(broker: Mosquitto) -> None:
    async with proxied(broker.port) as proxy, connected(proxy.port, ack=0.2) as connection:
        for _ in range(3):
            await connection.publish("a", "x")
        proxy.drops_acks = True
        with pytest.raises(BrokerError, match="does not acknowledge messages any more"):
            async with asyncio.timeout(SECONDS):
                await connection.publish("a", "never")


async def test_publishing_on_a_lost_connection_fails(broker: Mosquitto) -> None:
    async with proxied(broker.port) as proxy, connected(proxy.port) as connection:
        await connection.publish("a", "1")
        proxy.reset()
        with pytest.raises(BrokerError, match="went away"):
            await asyncio.wait_for(anext(aiter(connection.messages())), SECONDS)
        with pytest.raises(BrokerError, match="went away"):
            await connection.publish("a", "2")


async def test_a_bug_in_an_acknowledgement_is_raised_as_it_is(broker: Mosquitto) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    async with connected(broker.port) as connection:
        connection.send("a", "1", bug)
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(SECONDS):
                await connection.wait_lost()


async def test_the_first_failure_is_kept(broker: Mosquitto) -> None:
    async with connected(broker.port) as connection:
        connection.fail(ZeroDivisionError())
        connection.fail(KeyError())
        with pytest.raises(ZeroDivisionError):
            await connection.wait_lost()


async def test_unknown_and_repeated_acknowledgements_are_ignored() -> None:
    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(CONNACK_311 + b"\x40\x02\x12\x34")
        elif kind == PUBLISH:
            writer.write(2 * (b"\x40\x02" + packet_id(body)))

    acknowledged: list[int] = []
    async with serving(answer) as server, connected(server.port) as connection:
        for number in range(3):
            connection.send("a", "x", partial(acknowledged.append, number))
        await connection.publish("a", "x")
    assert acknowledged == [0, 1, 2]


async def test_a_connection_is_kept_alive(broker: Mosquitto) -> None:
    """The broker ends a connection that is silent for one and a half times the keepalive."""
    mqtt = make_config(broker.port).mqtt.model_copy(update={"keepalive": 1})
    async with connect(mqtt, None) as connection:
        await connection.publish("a", "1")
        await eventually(
            lambda: broker.log.read_text().count("Sending PINGRESP") >= 2, "two pings answered"
        )
        await connection.publish("a", "2")
