"""Messages on one connection: order, window, the deadline of the oldest; at a real Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kamstrup_mqtt.mqtt.connection import BrokerError, Connection, Trouble, connect
from kamstrup_mqtt.mqtt.in_flight import Window
from tests.mqtt.test_publisher import make_config
from tests.support.broker import Mosquitto, eventually, running, watching
from tests.support.mqtt_proxy import proxied

SECONDS = 10.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as broker:
        yield broker


@contextlib.asynccontextmanager
async def connected(port: int, ack: float = 5.0) -> AsyncIterator[Connection]:
    async with connect(make_config(port).mqtt, None, ack_timeout=ack) as connection:
        yield connection


async def test_in_order_and_never_more_than_the_window(broker: Mosquitto) -> None:
    async with (
        watching(broker.port) as watcher,
        proxied(broker.port) as proxy,
        connected(proxy.port) as connection,
    ):
        window = Window(connection, 5)
        most = 0
        for number in range(100):
            await window.vacancy()
            window.send("numbers", str(number), retain=False)
            await asyncio.sleep(0)
            most = max(most, len(proxy.published) - len(proxy.acknowledged))
        async with asyncio.timeout(SECONDS):
            await window.drained()
        wanted = [("numbers", str(number)) for number in range(100)]
        assert proxy.published == wanted
        assert proxy.acknowledged == wanted
        assert 1 < most <= 5
        await eventually(lambda: watcher.seen == wanted, "all of them at the subscriber, in order")


async def test_room_is_told_once_when_a_full_window_has_it_again(broker: Mosquitto) -> None:
    told: list[bool] = []
    async with connected(broker.port) as connection:
        window = Window(connection, 2, lambda: told.append(window.full))
        window.send("a", "1")
        assert not window.full
        window.send("a", "2")
        assert window.full
        async with asyncio.timeout(SECONDS):
            await window.drained()
        await asyncio.sleep(0)  # what the loop was asked to call
        assert told == [False]
        window.send("a", "3")
        async with asyncio.timeout(SECONDS):
            await window.drained()
        await asyncio.sleep(0)
        assert told == [False]  # it was not full


async def test_each_acknowledgement_calls_its_own(broker: Mosquitto) -> None:
    got: list[int] = []
    async with connected(broker.port) as connection:
        window = Window(connection, 100)
        for number in range(30):
            window.send("a", "x", then=partial(got.append, number))
        assert got == []
        async with asyncio.timeout(SECONDS):
            await window.drained()
    assert got == list(range(30))


async def test_what_the_socket_does_not_take_at_once_goes_later(broker: Mosquitto) -> None:
    async with connected(broker.port) as connection:
        window = Window(connection, 100)
        for number in range(20):  # 20 MB, far more than a socket's buffer
            window.send("large", str(number) * 1_000_000, retain=False)
        connection.flush()
        async with asyncio.timeout(30):
            await window.drained()


async def test_a_broker_that_acknowledges_nothing_is_given_up(broker: Mosquitto) -> None:
    async with proxied(broker.port) as proxy, connected(proxy.port, ack=0.1) as connection:
        await connection.publish("a", "1")
        proxy.silent = True
        window = Window(connection, 5)
        window.send("a", "2")
        with pytest.raises(BrokerError, match="acknowledges nothing") as caught:
            async with asyncio.timeout(SECONDS):
                await connection.lost()
        assert caught.value.trouble is Trouble.LOST
        with pytest.raises(BrokerError, match="acknowledges nothing"):
            await connection.publish("a", "3")


async def test_the_oldest_message_counts_not_the_sum_of_all(broker: Mosquitto) -> None:
    """Messages for longer than the limit, each acknowledged in time, are no silence."""
    async with connected(broker.port, ack=0.3) as connection:
        lost = asyncio.create_task(connection.lost())
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.0
        async with asyncio.timeout(SECONDS):
            while loop.time() < end:
                await connection.publish("a", "x")
        assert not lost.done()
        lost.cancel()
        await asyncio.wait([lost])


async def test_one_that_is_not_acknowledged_behind_others_that_are(broker: Mosquitto) -> None:
    """The deadline is looked at again for the message that is the oldest then."""
    async with proxied(broker.port) as proxy, connected(proxy.port, ack=0.2) as connection:
        for _ in range(3):
            await connection.publish("a", "x")
        proxy.silent = True
        with pytest.raises(BrokerError, match="acknowledges nothing"):
            async with asyncio.timeout(SECONDS):
                await connection.publish("a", "never")


async def test_sending_on_a_connection_that_is_gone(broker: Mosquitto) -> None:
    async with proxied(broker.port) as proxy, connected(proxy.port) as connection:
        await connection.publish("a", "1")
        proxy.reset()
        with pytest.raises(BrokerError, match="went away"):
            await asyncio.wait_for(anext(connection.messages()), SECONDS)
        with pytest.raises(BrokerError, match="went away"):
            await connection.publish("a", "2")


async def test_a_bug_in_an_acknowledgement_is_no_lost_connection(broker: Mosquitto) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    async with connected(broker.port) as connection:
        Window(connection, 5).send("a", "1", then=bug)
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(SECONDS):
                await connection.lost()


async def test_the_first_failure_stays(broker: Mosquitto) -> None:
    async with connected(broker.port) as connection:
        connection.fail(ZeroDivisionError())
        connection.fail(KeyError())
        with pytest.raises(ZeroDivisionError):
            await connection.lost()


async def test_an_acknowledgement_nobody_waits_for(broker: Mosquitto) -> None:
    """A broker that acknowledges twice, or what we never sent, is no fault of ours."""
    async with connected(broker.port) as connection:
        connection._client._on_publish(None, None, 4711, None, None)
        await connection.publish("a", "1")


# MQTT 5


@contextlib.asynccontextmanager
async def broker_that_takes_at_once(most: int, arrived: list[int]) -> AsyncIterator[int]:
    """Speaks as much of MQTT 5 as it takes: in CONNACK (3.2) a Receive Maximum (3.2.2.3.3), each
    PUBLISH acknowledged a little later (3.4). `arrived`: how many were not, when one came."""
    waiting = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting

        def acknowledge(mid: bytes) -> None:
            nonlocal waiting
            waiting -= 1
            writer.write(b"\x40\x02" + mid)

        loop = asyncio.get_running_loop()
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, length = await reader.readexactly(2)
                body = await reader.readexactly(length)  # all of ours are short
                if kind >> 4 == 1:
                    writer.write(b"\x20\x06\x00\x00\x03\x21" + most.to_bytes(2, "big"))
                elif kind >> 4 == 3:
                    waiting += 1
                    arrived.append(waiting)
                    topic = int.from_bytes(body[:2], "big")
                    loop.call_later(0.01, acknowledge, body[2 + topic : 4 + topic])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_no_more_at_once_than_the_broker_takes() -> None:
    arrived: list[int] = []
    got: list[int] = []
    async with broker_that_takes_at_once(3, arrived) as port:
        mqtt = make_config(port, version="5").mqtt
        async with connect(mqtt, None) as connection:
            window = Window(connection, 20)
            for number in range(20):
                window.send("a", str(number), then=partial(got.append, number))
            async with asyncio.timeout(SECONDS):
                await window.drained()
    assert got == list(range(20))
    assert len(arrived) == 20
    assert max(arrived) == 3


async def test_what_the_broker_does_not_take_is_told_once(
    tmp_path: Path, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("the broker does not take what is published")
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite ours/#\n")
    acl.chmod(0o644)
    with running(tmp_path, ["allow_anonymous true", f"acl_file {acl}"]) as broker:
        async with connect(make_config(broker.port, version="5").mqtt, None) as connection:
            for topic in ("ours/a", "theirs/a", "theirs/b", "ours/b"):
                async with asyncio.timeout(SECONDS):
                    await connection.publish(topic, "1")
    (line,) = logged(30)
    assert "theirs/a (Not authorized)" in line
