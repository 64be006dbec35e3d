"""The broker of `kamstrup-mqtt demo`: amqtt on the loopback address.

It is good enough for a demonstration only: it supports MQTT 3.1.1 and stores nothing on disk. Only
`demo` imports it, because amqtt belongs to the extra `[demo]`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from types import TracebackType

from amqtt.broker import Broker, BrokerContext
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BasePlugin
from amqtt.session import ApplicationMessage

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import LinkState

OnMessage = Callable[[str, bytes], None]
"""Callback with topic and payload of each message that the broker receives."""

_LOOPBACK = "127.0.0.1"
_LISTENER = "default"


class MessageObserver(BasePlugin[BrokerContext]):  # type: ignore[misc]  # amqtt comes without types
    """Plugin of the broker that passes on each message."""

    on_message: OnMessage | None = None

    async def on_broker_message_received(
        self, *, client_id: str, message: ApplicationMessage
    ) -> None:
        """Called by amqtt for each PUBLISH."""
        if self.on_message is not None:
            self.on_message(message.topic, bytes(message.data or b""))


class DemoBroker:
    """A broker on 127.0.0.1 that runs as an async context manager.

    `port` 0 selects a free port; `port` is then the selected one. Raises LinkError on entry if the
    port is not available.
    """

    def __init__(self, port: int, on_message: OnMessage) -> None:
        self.port = port
        self._on_message = on_message

    async def __aenter__(self) -> DemoBroker:
        # amqtt logs every step, and harmless losses of connections as warnings
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # with an "external" listener the socket is ours: a free port is found without a race
        self._broker = Broker(
            BrokerConfig(
                listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                    f"{__name__}.{MessageObserver.__name__}": {},
                },
            )
        )
        observer = self._broker.plugins_manager.get_plugin(MessageObserver.__name__)
        if not isinstance(observer, MessageObserver):
            raise TypeError(f"amqtt loaded {observer!r} instead of {MessageObserver.__name__}")
        observer.on_message = self._on_message
        accept = functools.partial(self._broker.stream_connected, listener_name=_LISTENER)
        try:
            self._server = await asyncio.start_server(accept, _LOOPBACK, self.port)
        except OSError as error:
            raise LinkError(
                LinkState.BUSY,
                f"no broker on {_LOOPBACK}:{self.port}: {error.strerror or error};"
                " leave out --mqtt-port to use a free port",
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        await self._broker.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        await self._broker.shutdown()
