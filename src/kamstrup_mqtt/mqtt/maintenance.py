"""Short visits to the broker from the command line: `check --connect` and `remove`."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence

from kamstrup_mqtt.config import Config, MqttConfig
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig
from kamstrup_mqtt.homeassistant.removal import parse_announced
from kamstrup_mqtt.mqtt.connection import (
    ACK_TIMEOUT,
    CONNECT_TIMEOUT,
    BrokerError,
    Connection,
    Received,
    address,
    connect,
)

SETTLE = 1.0
"""Seconds without a retained message after which the broker has shown them all."""


async def probe(
    mqtt: MqttConfig,
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    ack_timeout: float = ACK_TIMEOUT,
) -> list[str]:
    """Connect, publish to one of our own topics and read it back; what went well, line by line.

    A broker acknowledges also what its access list forbids, so only reading back proves it.
    Raises BrokerError with what to do. A running daemon is not disturbed.
    """
    topic = f"{mqtt.topics.root}/bridge/check"
    token = uuid.uuid4().hex
    client_id = f"{mqtt.client_id or mqtt.topics.client_id}-check"
    async with connect(
        mqtt, None, client_id=client_id, connect_timeout=connect_timeout, ack_timeout=ack_timeout
    ) as connection:
        done = [f"connected to {address(mqtt)}"]
        await connection.subscribe([topic])
        await connection.publish(topic, token, retain=False)
        try:
            async with asyncio.timeout(ack_timeout):
                await _until(connection, topic, token)
        except TimeoutError as error:
            raise BrokerError(
                f"{address(mqtt)}: what was published to {topic} did not come back; the broker's"
                f" access list must let this user read and write {mqtt.topics.root}/#"
            ) from error
    return [*done, f"published to {topic} and read it back"]


async def _until(connection: Connection, topic: str, payload: str) -> None:
    async for message in connection.messages():
        if message.topic == topic and message.payload == payload.encode():
            return


async def clear(
    config: Config,
    version: str,
    *,
    force: bool = False,
    settle: float = SETTLE,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> list[str]:
    """Clear every retained message of this instance; returns their topics, discovery first.

    Raises KamstrupMqttError when a daemon says that it is online (unless `force`).
    """
    topics = config.mqtt.topics
    announcer = DiscoveryConfig(
        topics=topics,
        prefix=config.homeassistant.prefix,
        is_modern=config.homeassistant.is_modern,
        version=version,
    )
    client_id = f"{config.mqtt.client_id or topics.client_id}-remove"
    async with connect(
        config.mqtt, None, client_id=client_id, connect_timeout=connect_timeout
    ) as connection:
        discovery = f"{announcer.prefix}/device/+/config"
        await connection.subscribe([discovery, f"{topics.root}/#"])
        shown = [message async for message in _retained(connection, settle)]
        if not force:
            _refuse_beside_daemon(topics, shown)
        ours = _ours(announcer, shown)
        for topic in ours:
            await connection.publish(topic, "")
    return ours


def _refuse_beside_daemon(topics: Topics, shown: Iterable[Received]) -> None:
    if any(m.topic == topics.bridge_status and m.payload == b"online" for m in shown):
        raise KamstrupMqttError(
            f"a daemon is online as {topics.root}: stop it first, it would publish everything"
            " again (or it was killed together with its broker: then use --force)"
        )


def _ours(announcer: DiscoveryConfig, shown: Sequence[Received]) -> list[str]:
    """The topics of this instance, discovery first: an entity that still listens would complain
    of an empty state."""
    announced = [
        m.topic
        for m in shown
        if parse_announced(announcer, m.topic, m.payload.decode(errors="replace")) is not None
    ]
    root = f"{announcer.topics.root}/"
    return [*announced, *(m.topic for m in shown if m.topic.startswith(root))]


async def _retained(connection: Connection, settle: float) -> AsyncIterator[Received]:
    """Retained messages, until none came for `settle` seconds."""
    arrived: asyncio.Queue[Received] = asyncio.Queue()

    async def listen() -> None:
        async for message in connection.messages():
            if message.retained:
                arrived.put_nowait(message)

    listener = asyncio.create_task(listen())
    try:
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(settle):
                    message = await arrived.get()
                yield message
    finally:
        listener.cancel()
        await asyncio.wait([listener])
