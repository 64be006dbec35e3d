"""Sends messages through the paho client inside aiomqtt.

aiomqtt needs a task, a timer and several loop iterations for each message. Here a message goes to
paho at once, its acknowledgement calls a function, and one timer watches the oldest message.

This is the only module that uses a private name of aiomqtt (`Client._client`). With the paho client
found there only documented functions of paho are used. A release of aiomqtt without that name is
served by `AiomqttConnection`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from kamstrup_mqtt.mqtt.aiomqtt_client import AiomqttConnection
from kamstrup_mqtt.mqtt.paho_socket import PahoSocket

_LOG = logging.getLogger(__package__)

NO_RECEIVE_MAXIMUM = 65_535
"""Messages in flight that a broker accepts if CONNACK does not limit them (MQTT 5, 3.2.2.3.3)."""


def find_paho_client(client: aiomqtt.Client) -> paho.Client | None:
    """Return the paho client inside `client`. Logs one warning and returns None without one."""
    inner = getattr(client, "_client", None)
    if isinstance(inner, paho.Client):
        return inner
    _warn_about_release(importlib.metadata.version("aiomqtt"))
    return None


@functools.cache
def _warn_about_release(version: str) -> None:
    _LOG.warning(
        "aiomqtt %s is not known to this program: messages are sent more slowly, and with MQTT 5"
        " messages that the broker refuses are not reported; install aiomqtt 2.5.1, or a newer"
        " kamstrup-mqtt",
        version,
    )


class _Message(NamedTuple):
    topic: str
    payload: str
    on_ack: Callable[[], None]
    retain: bool


class _Unacknowledged(NamedTuple):
    topic: str
    on_ack: Callable[[], None]
    deadline: float


class PahoConnection(AiomqttConnection):
    """A connection that hands messages to paho itself. Implements `Connection`.

    `on_refusal` is called with the topic and the reason when an MQTT 5 broker refuses a message.
    """

    def __init__(
        self,
        client: aiomqtt.Client,
        paho_client: paho.Client,
        address: str,
        on_refusal: Callable[[str, str], None],
    ) -> None:
        super().__init__(client, address)
        self._paho = paho_client
        self._on_refusal = on_refusal
        self._socket = PahoSocket(paho_client, self._fail_network)
        self._unacknowledged: dict[int, _Unacknowledged] = {}
        self._waiting: deque[_Message] = deque()
        self._receive_maximum = NO_RECEIVE_MAXIMUM
        self._ack_timer: asyncio.TimerHandle | None = None
        self._on_connect = paho_client.on_connect
        paho_client.on_connect = self._handle_connack
        paho_client.on_publish = self._handle_puback

    async def open(self, timeout: float) -> None:
        """See `AiomqttConnection.open`."""
        # aiomqtt forgets a loss between CONNACK and the end of its attempt
        on_disconnect = self._paho.on_disconnect
        self._paho.on_disconnect = functools.partial(self._handle_disconnect, None)
        await super().open(timeout)
        self._paho.on_disconnect = functools.partial(self._handle_disconnect, on_disconnect)

    def _abandon(self, attempt: asyncio.Task[Any]) -> None:
        attempt.cancel()
        self._socket.abandon()

    async def close(self) -> None:
        """Disconnect. Does nothing if the connection is lost already."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        await super().close()

    def _fail_network(self, error: Exception) -> None:
        lost = aiomqtt.MqttError("paho failed")
        lost.__cause__ = error
        self.fail(lost)

    def _handle_connack(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        # paho does not look at this property. A broker disconnects a client that ignores it.
        self._receive_maximum = getattr(properties, "ReceiveMaximum", NO_RECEIVE_MAXIMUM)
        assert self._on_connect is not None
        self._on_connect(client, userdata, flags, reason, properties)  # type: ignore[call-arg]

    def _handle_disconnect(
        self,
        forward: Callable[..., None] | None,
        client: paho.Client,
        userdata: Any,
        flags: Any,
        reason: Any,
        properties: Any,
    ) -> None:
        if forward is not None:
            forward(client, userdata, flags, reason, properties)
        if reason.is_failure:
            self.fail(aiomqtt.MqttCodeError(reason, "Unexpected disconnection"))

    # Sending

    def send(
        self, topic: str, payload: str, on_ack: Callable[[], None], *, retain: bool = True
    ) -> None:
        """See `Connection.send`."""
        if len(self._unacknowledged) < self._receive_maximum:
            self._publish(topic, payload, on_ack, retain)
        else:
            self._waiting.append(_Message(topic, payload, on_ack, retain))

    def _publish(self, topic: str, payload: str, on_ack: Callable[[], None], retain: bool) -> None:
        info = self._paho.publish(topic, payload, 1, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.fail(aiomqtt.MqttCodeError(info.rc, "Could not publish message"))
            return
        deadline = self._loop.time() + self._client.timeout
        self._unacknowledged[info.mid] = _Unacknowledged(topic, on_ack, deadline)
        if self._ack_timer is None:
            self._ack_timer = self._loop.call_at(deadline, self._check_oldest)

    def _check_oldest(self) -> None:
        """Fail if the oldest message is overdue, else come back when the oldest one is due."""
        self._ack_timer = None
        if self._unacknowledged:
            deadline = next(iter(self._unacknowledged.values())).deadline
            if deadline <= self._loop.time():
                self.fail(aiomqtt.MqttError("Operation timed out"))
            else:
                self._ack_timer = self._loop.call_at(deadline, self._check_oldest)

    def _handle_puback(
        self, client: paho.Client, userdata: Any, mid: int, reason: Any, properties: Any
    ) -> None:
        message = self._unacknowledged.pop(mid, None)
        if message is None:
            return
        try:
            if reason is not None and reason.is_failure:
                self._on_refusal(message.topic, str(reason))
            if self._waiting:
                self._publish(*self._waiting.popleft())
            message.on_ack()
        except Exception as bug:  # noqa: BLE001 - paho would take it for a lost connection
            self.fail(bug)

    def flush(self) -> None:
        """See `Connection.flush`."""
        self._socket.flush()
