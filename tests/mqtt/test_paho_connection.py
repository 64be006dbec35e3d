"""Access to the paho client inside aiomqtt, and what it makes possible."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from kamstrup_mqtt.mqtt import connector
from kamstrup_mqtt.mqtt.aiomqtt_client import AiomqttConnection
from kamstrup_mqtt.mqtt.broker_errors import BrokerError
from kamstrup_mqtt.mqtt.connector import connect
from kamstrup_mqtt.mqtt.paho_connection import (
    PahoConnection,
    _warn_about_release,
    find_paho_client,
)
from kamstrup_mqtt.mqtt.paho_socket import KEEPALIVE_CHECKS, PahoSocket
from tests.support.broker import Mosquitto, eventually, running
from tests.support.mqtt_server import CONNACK_311, CONNECT, PUBLISH, packet_id, serving
from tests.support.publisher import make_config

SECONDS = 5.0
"""Less than the timeout of an acknowledgement."""


async def test_the_installed_release_gives_access_to_paho(broker: Mosquitto) -> None:
    assert isinstance(find_paho_client(aiomqtt.Client("127.0.0.1")), paho.Client)
    async with connect(make_config(broker.port).mqtt, None) as connection:
        assert isinstance(connection, PahoConnection)


@pytest.mark.parametrize("client", [object(), type("Client", (), {"_client": "renamed"})()])
def test_another_release_is_reported_once(
    client: object, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("is not known to this program")
    _warn_about_release.cache_clear()
    for _ in range(2):
        assert find_paho_client(cast(aiomqtt.Client, client)) is None
    (line,) = logged(30)
    assert line.startswith("aiomqtt 2.")
    assert "install aiomqtt 2.5.1, or a newer kamstrup-mqtt" in line


async def test_another_release_is_used_by_its_public_interface(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "find_paho_client", lambda client: None)
    async with connect(make_config(broker.port).mqtt, None) as connection:
        assert type(connection) is AiomqttConnection
        await connection.publish("a", "1")


# MQTT 5


@pytest.mark.parametrize(
    ("interface", "most"), [("paho", 3), ("aiomqtt", 1)], indirect=["interface"]
)
async def test_no_more_messages_are_in_flight_than_the_broker_accepts(
    interface: str, most: int
) -> None:
    """CONNACK may name a Receive Maximum (MQTT 5, 3.2.2.3.3). Without access to it: one message."""
    in_flight: set[bytes] = set()
    most_seen = 0

    def acknowledge(message: bytes, writer: asyncio.StreamWriter) -> None:
        in_flight.discard(message)
        writer.write(b"\x40\x02" + message)

    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal most_seen
        if kind == CONNECT:
            writer.write(b"\x20\x06\x00\x00\x03\x21\x00\x03")
        elif kind == PUBLISH:
            in_flight.add(packet_id(body))
            most_seen = max(most_seen, len(in_flight))
            asyncio.get_running_loop().call_later(0.01, acknowledge, packet_id(body), writer)

    acknowledged: list[int] = []
    async with (
        serving(answer) as server,
        connect(make_config(server.port, version="5").mqtt, None) as connection,
    ):
        for number in range(20):
            connection.send("a", str(number), partial(acknowledged.append, number))
        await eventually(lambda: len(acknowledged) == 20, "all acknowledged")
    assert acknowledged == list(range(20))
    assert most_seen == most


async def test_a_refused_message_is_reported_once_for_each_reason(
    tmp_path: Path, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("the broker does not accept messages")
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


# The socket


async def test_a_lost_connection_is_noticed_without_reading_messages(broker: Mosquitto) -> None:
    async with connect(make_config(broker.port).mqtt, None) as connection:
        broker.kill()
        with pytest.raises(BrokerError, match="went away"):
            async with asyncio.timeout(SECONDS):
                await connection.wait_lost()


async def test_a_connection_that_is_lost_right_after_the_login_is_noticed() -> None:
    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(CONNACK_311)
            writer.close()

    async with (
        serving(answer) as server,
        connect(make_config(server.port).mqtt, None) as connection,
    ):
        with pytest.raises(BrokerError, match="went away"):
            async with asyncio.timeout(SECONDS):
                await connection.wait_lost()


async def test_a_packet_that_paho_cannot_process_ends_the_connection() -> None:
    def answer(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            topic_without_utf8 = b"\x30\x04\x00\x01\xffx"
            writer.write(CONNACK_311 + topic_without_utf8)

    async with (
        serving(answer) as server,
        connect(make_config(server.port).mqtt, None) as connection,
    ):
        with pytest.raises(BrokerError, match=r"the connection failed \(UnicodeDecodeError"):
            async with asyncio.timeout(SECONDS):
                await connection.wait_lost()


async def test_an_exception_while_writing_ends_the_connection(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(client: paho.Client) -> None:
        raise RuntimeError("broken")

    async with connect(make_config(broker.port).mqtt, None) as connection:
        with monkeypatch.context() as patch:
            patch.setattr(paho.Client, "loop_write", fail)
            with pytest.raises(BrokerError, match=r"the connection failed \(RuntimeError: broken"):
                await connection.publish("a", "1")


async def test_a_socket_that_was_closed_meanwhile_is_not_watched() -> None:
    """Its number may already belong to the connection of a meter."""
    loop = asyncio.get_running_loop()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    PahoSocket(client, lambda error: None)
    near, far = socket.socketpair()
    with contextlib.closing(near), contextlib.closing(far):
        assert client.on_socket_open is not None
        # paho opens sockets in a thread
        await asyncio.to_thread(client.on_socket_open, client, None, near)
        await asyncio.sleep(0)
        assert not loop.remove_reader(near)


def test_the_keepalive_is_checked_often_enough() -> None:
    """A broker waits one and a half times the keepalive (MQTT 3.1.1, 3.1.2.10)."""
    assert 1 / KEEPALIVE_CHECKS < 0.5
