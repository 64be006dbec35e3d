"""The broker of `kamstrup-mqtt demo`: amqtt on the loopback, with an ear inside.

Good enough for a demonstration only: it speaks MQTT 3.1.1 and keeps nothing on disk. Imported by
`demo` alone, because amqtt comes with the extra `[demo]`.
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
"""Called with topic and payload of each message that the broker took."""

_LOOPBACK = "127.0.0.1"
_LISTENER = "default"


class MessageListener(BasePlugin[BrokerContext]):  # type: ignore[misc]  # amqtt comes without types
    """Tells what the broker received."""

    heard: OnMessage | None = None

    async def on_broker_message_received(
        self, *, client_id: str, message: ApplicationMessage
    ) -> None:
        """amqtt calls this for each PUBLISH."""
        if self.heard is not None:
            self.heard(message.topic, bytes(message.data or b""))


class DemoBroker:
    """`async with DemoBroker(port, heard) as broker`: a broker on 127.0.0.1 at `broker.port`.

    Port 0 is a free one. Raises LinkError when the port cannot be had.
    """

    def __init__(self, port: int, heard: OnMessage) -> None:
        self.port = port
        self._heard = heard

    async def __aenter__(self) -> DemoBroker:
        # the broker tells its life story, harmless losses of connections as warnings included
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # An "external" listener: the socket is ours, so a free port is known without a race.
        self._broker = Broker(
            BrokerConfig(
                listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                    f"{__name__}.{MessageListener.__name__}": {},
                },
            )
        )
        ear = self._broker.plugins_manager.get_plugin(MessageListener.__name__)
        if not isinstance(ear, MessageListener):
            raise TypeError(f"amqtt loaded {ear!r} instead of {MessageListener.__name__}")
        ear.heard = self._heard
        accept = functools.partial(self._broker.stream_connected, listener_name=_LISTENER)
        try:
            self._server = await asyncio.start_server(accept, _LOOPBACK, self.port)
        except OSError as error:
            raise LinkError(
                LinkState.BUSY,
                f"no broker on {_LOOPBACK}:{self.port}: {error.strerror or error};"
                " leave out --mqtt-port to take a free port",
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
