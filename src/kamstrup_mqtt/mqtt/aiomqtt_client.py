"""aiomqtt's client with what a daemon needs besides.

Many messages in flight without a task and a timer for each: a message is handed to paho, its
acknowledgement calls a function, and one timer watches the oldest. What is sent in one turn of the
loop is written in one go, without waiting for the loop to say that the socket can be written to.
An attempt to connect can be given up wherever it is stuck.

This is the place that uses private names of aiomqtt 2 and paho 2; `pyproject.toml` bounds the
former, and every promise made here is tried against a real broker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode

from kamstrup_mqtt.mqtt.fd_guard import CarefulLoop

MISC_EVERY = 12
"""Looks at the keepalive within one keepalive interval."""


class Ack:
    """What aiomqtt's table of pending messages holds: `set` is called by the acknowledgement."""

    __slots__ = ("deadline", "set", "topic")

    def __init__(self, topic: str, acked: Callable[[], None], deadline: float) -> None:
        self.topic = topic
        self.set = acked
        self.deadline = deadline


class Client(aiomqtt.Client):
    """`failed` is done, with an exception, when the broker acknowledges nothing any more, when a
    message could not be sent, and when an acknowledgement's function raised one. `refused` is
    called with a topic and the broker's word for it when MQTT 5 acknowledges, and says no."""

    given_up = False

    def __init__(
        self, hostname: str, port: int, *, refused: Callable[[str, str], None], **options: Any
    ) -> None:
        super().__init__(hostname, port, **options)
        self._refused = refused
        self._loop = cast(asyncio.AbstractEventLoop, CarefulLoop(self._loop))
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._ack_timer: asyncio.TimerHandle | None = None
        self._write_due = False
        self._thread = threading.get_ident()

    # Giving up

    def give_up(self) -> None:
        """aiomqtt leaves the socket of a failed attempt open, and watched by the loop."""
        self.given_up = True
        # aiomqtt's own callback would stumble over the attempt's cancelled future
        self._client.on_disconnect = None
        self._client.disconnect()

    def forget(self) -> None:
        """The connection is over: stop the timer, and let nobody look for what failed."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        for gone in (self._disconnected, self.failed):
            if gone.done() and not gone.cancelled():
                gone.exception()  # asyncio would report one that nobody looked at

    def _client_connect(self) -> None:
        # in a thread: name resolution may come back long after we were given up, and a connection
        # then would take our own client id away from us
        super()._client_connect()
        if self.given_up:
            self.give_up()

    async def _misc_loop(self) -> None:
        """Ping when the keepalive says so; paho's precision of a second is not needed."""
        while self._client.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS:  # noqa: ASYNC110
            # paho's: MQTT 5 lets the broker name a shorter one
            await asyncio.sleep(max(1.0, self._client.keepalive / MISC_EVERY))

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        # MQTT 5, 3.2.2.3.3: more at once would end the connection; paho does not look at it. It
        # keeps what is too much, in order, until there is room
        most = getattr(properties, "ReceiveMaximum", None)
        if most is not None:
            known = self._client._max_inflight_messages
            self._client._max_inflight_messages = min(known, most)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    # Sending

    def send(self, topic: str, payload: str, acked: Callable[[], None], *, retain: bool) -> None:
        """Publish with QoS 1; `acked` is called when the broker has it. Never raises: what goes
        wrong is told by `failed`."""
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.fail(aiomqtt.MqttCodeError(info.rc, "Could not publish message"))
            return
        deadline = self._loop.time() + self.timeout
        self._pending_publishes[info.mid] = Ack(topic, acked, deadline)  # type: ignore[assignment]
        if self._ack_timer is None:
            self._ack_timer = self._loop.call_at(deadline, self._look_for_acks)

    def fail(self, error: Exception) -> None:
        """Tell that this connection is of no use any more; the first reason stays."""
        if not self.failed.done():
            self.failed.set_exception(error)

    def _look_for_acks(self) -> None:
        """Is the oldest message still not acknowledged? Else come back when the next one is due."""
        self._ack_timer = None
        for pending in self._pending_publishes.values():
            deadline: float = pending.deadline  # type: ignore[attr-defined]
            if deadline <= self._loop.time():
                self.fail(aiomqtt.MqttError("Operation timed out"))
            else:
                self._ack_timer = self._loop.call_at(deadline, self._look_for_acks)
            return

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any
    ) -> None:
        pending = cast(Ack | None, self._pending_publishes.pop(mid, None))
        if pending is None:
            return
        try:
            if reason_code is not None and reason_code.is_failure:
                self._refused(pending.topic, str(reason_code))
            pending.set()
        except Exception as bug:  # noqa: BLE001 - paho would take it for a lost connection
            self.fail(bug)

    # Writing

    def flush(self) -> None:
        """Write what was sent since the last time; by itself at the end of this turn."""
        if not self._write_due:
            return
        self._write_due = False
        try:
            self._client.loop_write()
        except Exception as error:  # noqa: BLE001 - as aiomqtt does: the connection broke
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
            return
        if self._client.want_write() and (sock := self._client.socket()) is not None:
            super()._on_socket_register_write(self._client, None, sock)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        if threading.get_ident() != self._thread:  # while connecting
            super()._on_socket_register_write(client, userdata, sock)
        elif not self._write_due:
            self._write_due = True
            self._loop.call_soon(self.flush)
