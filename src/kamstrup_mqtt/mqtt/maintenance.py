"""Short connections for the command line: `check --connect` and `remove`."""

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
from kamstrup_mqtt.mqtt.broker_errors import BrokerError
from kamstrup_mqtt.mqtt.connection import (
    ACK_TIMEOUT,
    CONNECT_TIMEOUT,
    Connection,
    Received,
    format_address,
)
from kamstrup_mqtt.mqtt.connector import connect

QUIET_PERIOD = 1.0
"""Seconds without a retained message after which the broker has sent them all."""


async def check_broker(
    mqtt: MqttConfig,
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    ack_timeout: float = ACK_TIMEOUT,
) -> list[str]:
    """Connect, publish to a topic of this instance and read it back. Returns the results as lines.

    A broker also acknowledges messages that its access list forbids, so only reading back proves
    that they are accepted. A running daemon is not disturbed. Raises BrokerError.
    """
    topic = f"{mqtt.topics.root}/bridge/check"
    token = uuid.uuid4().hex
    client_id = f"{mqtt.client_id or mqtt.topics.client_id}-check"
    address = format_address(mqtt)
    async with connect(
        mqtt, None, client_id=client_id, connect_timeout=connect_timeout, ack_timeout=ack_timeout
    ) as connection:
        results = [f"connected to {address}"]
        await connection.subscribe([topic])
        await connection.publish(topic, token, retain=False)
        try:
            async with asyncio.timeout(ack_timeout):
                await _wait_for_message(connection, topic, token)
        except TimeoutError as error:
            raise BrokerError(
                f"{address}: what was published to {topic} did not come back; the broker's access"
                f" list must let this user read and write {mqtt.topics.root}/#"
            ) from error
    return [*results, f"published to {topic} and read it back"]


async def _wait_for_message(connection: Connection, topic: str, payload: str) -> None:
    async for message in connection.messages():
        if message.topic == topic and message.payload == payload.encode():
            return


async def clear_retained(
    config: Config,
    version: str,
    *,
    force: bool = False,
    quiet_period: float = QUIET_PERIOD,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> list[str]:
    """Clear every retained message of this instance. Returns their topics, discovery first.

    Raises BrokerError, or KamstrupMqttError if a daemon is online (unless `force`).
    """
    topics = config.mqtt.topics
    discovery = DiscoveryConfig(
        topics=topics,
        prefix=config.homeassistant.prefix,
        is_modern=config.homeassistant.is_modern,
        version=version,
    )
    client_id = f"{config.mqtt.client_id or topics.client_id}-remove"
    async with connect(
        config.mqtt, None, client_id=client_id, connect_timeout=connect_timeout
    ) as connection:
        await connection.subscribe([f"{discovery.prefix}/device/+/config", f"{topics.root}/#"])
        retained = [message async for message in _retained_messages(connection, quiet_period)]
        if not force:
            _check_no_daemon(topics, retained)
        own_topics = _own_topics(discovery, retained)
        for topic in own_topics:
            await connection.publish(topic, "")
    return own_topics


def _check_no_daemon(topics: Topics, retained: Iterable[Received]) -> None:
    if any(m.topic == topics.bridge_status and m.payload == b"online" for m in retained):
        raise KamstrupMqttError(
            f"a daemon is online as {topics.root}: stop it first, it would publish everything"
            " again (or it was killed together with its broker: then use --force)"
        )


def _own_topics(discovery: DiscoveryConfig, retained: Sequence[Received]) -> list[str]:
    """Return the topics of this instance.

    Discovery comes first: an entity that still exists would report an error about an empty state.
    """
    announced = [
        m.topic
        for m in retained
        if parse_announced(discovery, m.topic, m.payload.decode(errors="replace")) is not None
    ]
    root = f"{discovery.topics.root}/"
    return [*announced, *(m.topic for m in retained if m.topic.startswith(root))]


async def _retained_messages(
    connection: Connection, quiet_period: float
) -> AsyncIterator[Received]:
    """Iterate over retained messages until none has arrived for `quiet_period` seconds."""
    arrived: asyncio.Queue[Received] = asyncio.Queue()

    async def listen() -> None:
        async for message in connection.messages():
            if message.retained:
                arrived.put_nowait(message)

    listener = asyncio.create_task(listen())
    try:
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(quiet_period):
                    message = await arrived.get()
                yield message
    finally:
        listener.cancel()
        await asyncio.wait([listener])
        if not listener.cancelled():
            listener.result()  # raises BrokerError
