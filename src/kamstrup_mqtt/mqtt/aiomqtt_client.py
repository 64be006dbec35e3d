"""Connects to the broker with aiomqtt, using its public interface only.

A client is used for one connection. `PahoConnection` replaces how messages are sent where aiomqtt
lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NoReturn

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from kamstrup_mqtt.mqtt.broker_errors import connection_lost_error
from kamstrup_mqtt.mqtt.connection import Received

_LOG = logging.getLogger(__package__)

DISCONNECT_TIMEOUT = 1.0
"""Seconds for sending DISCONNECT."""

_FAILURE = 0x80
"""The lowest reason code of SUBACK that means a refusal (MQTT 3.1.1, 3.9.3)."""


class AiomqttConnection:
    """A connection that sends each message in a task. Implements `Connection`.

    Each coroutine raises BrokerError when the connection is lost.
    """

    def __init__(self, client: aiomqtt.Client, address: str) -> None:
        self._client = client
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._late_close: asyncio.Task[None] | None = None

    # Opening and closing

    async def open(self, timeout: float) -> None:
        """Connect within `timeout` seconds.

        Raises TimeoutError, aiomqtt.MqttError, or ValueError for a host name paho cannot use.
        """
        attempt: asyncio.Task[Any] = self._loop.create_task(self._client.__aenter__())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(attempt)
        except BaseException:
            self._abandon(attempt)
            raise

    def _abandon(self, attempt: asyncio.Task[Any]) -> None:
        """Close the socket of an attempt that failed or took too long.

        The blocking part of an attempt runs in a thread, which cannot be interrupted. If it
        connected later, this client would take the client id away from its successor.
        """
        self._client.timeout = 0.0  # do not wait for CONNACK or the end of the connection
        self._late_close = self._loop.create_task(self._close_late(attempt))

    async def _close_late(self, attempt: asyncio.Task[Any]) -> None:
        await asyncio.wait([attempt])
        if not attempt.cancelled():
            attempt.exception()  # asyncio would report one that nobody retrieved
        with contextlib.suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def close(self) -> None:
        """Disconnect. Does nothing if the connection is lost already."""
        for delivery in self._deliveries:
            delivery.cancel()
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(DISCONNECT_TIMEOUT):
                await self._client.__aexit__(None, None, None)
                # The iterator retrieves the reason of a loss, which asyncio would report otherwise
                async for _ in self._client.messages:
                    pass

    # Sending

    def send(
        self, topic: str, payload: str, on_ack: Callable[[], None], *, retain: bool = True
    ) -> None:
        """See `Connection.send`."""
        delivery = self._loop.create_task(self._deliver(topic, payload, on_ack, retain))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(
        self, topic: str, payload: str, on_ack: Callable[[], None], retain: bool
    ) -> None:
        try:
            await self._client.publish(topic, payload, qos=1, retain=retain)
            on_ack()
        except Exception as error:  # noqa: BLE001 - `wait_lost` raises it
            self.fail(error)

    def flush(self) -> None:
        """See `Connection.flush`. aiomqtt writes when the loop says that the socket is writable."""

    def fail(self, error: Exception) -> None:
        """See `Connection.fail`."""
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # asyncio would report one that nobody retrieved

    async def wait_lost(self) -> None:
        """See `Connection.wait_lost`."""
        # Cancelling a task that awaits the future itself would cancel the future
        await asyncio.wait([self._failure])
        self._raise_failure()

    def _raise_failure(self) -> NoReturn:
        error = self._failure.exception()
        assert error is not None  # the future never gets a result
        if isinstance(error, aiomqtt.MqttError):
            raise connection_lost_error(error, self._address) from error
        raise error

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        """See `Connection.publish`."""
        acknowledged: asyncio.Future[None] = self._loop.create_future()
        self.send(topic, payload, lambda: acknowledged.set_result(None), retain=retain)
        self.flush()
        await asyncio.wait((acknowledged, self._failure), return_when=asyncio.FIRST_COMPLETED)
        if not acknowledged.done():
            self._raise_failure()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """See `Connection.subscribe`. Warns about each topic that the broker refuses."""
        requested = [(topic, 1) for topic in topics]
        try:
            granted = await self._client.subscribe(requested)
        except aiomqtt.MqttError as error:
            raise connection_lost_error(error, self._address) from error
        codes = [code.value if isinstance(code, ReasonCode) else code for code in granted]
        for (topic, _), code in zip(requested, codes, strict=False):
            if code >= _FAILURE:
                _LOG.warning(
                    "the broker does not let us subscribe to %s: allow it in the broker's access"
                    " list for this user",
                    topic,
                )

    async def unsubscribe(self, topic: str) -> None:
        """See `Connection.unsubscribe`."""
        try:
            await self._client.unsubscribe(topic)
        except aiomqtt.MqttError as error:
            raise connection_lost_error(error, self._address) from error

    async def messages(self) -> AsyncIterator[Received]:
        """See `Connection.messages`."""
        try:
            async for message in self._client.messages:
                payload = message.payload
                yield Received(
                    str(message.topic),
                    bytes(payload) if isinstance(payload, bytes | bytearray) else b"",
                    message.retain,
                )
        except aiomqtt.MqttError as error:
            raise connection_lost_error(error, self._address) from error
