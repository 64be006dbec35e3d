"""The connection to the broker as the rest of the package sees it, independent of the client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from kamstrup_mqtt.config import MqttConfig

CONNECT_TIMEOUT = 30.0
"""Seconds for name resolution, TCP, TLS and CONNACK together."""

ACK_TIMEOUT = 10.0
"""Seconds for one acknowledgement."""

STATE_WINDOW = 10
"""QoS 1 messages of states that may be in flight at once."""

HISTORY_WINDOW = 20
"""QoS 1 messages of the history that may be in flight at once."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the broker."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Will:
    """The retained message that the broker publishes if this client vanishes."""

    topic: str
    payload: str


class Connection(Protocol):
    """An open connection. Every coroutine raises BrokerError when the connection is lost."""

    def send(
        self, topic: str, payload: str, on_ack: Callable[[], None], *, retain: bool = True
    ) -> None:
        """Publish with QoS 1 and call `on_ack` once the broker has acknowledged the message.

        Never raises. `wait_lost` reports failures.
        """

    def flush(self) -> None:
        """Write pending messages now instead of at the end of this loop iteration."""

    def fail(self, error: Exception) -> None:
        """Make `wait_lost` raise `error`, unless the connection has failed before."""

    async def wait_lost(self) -> None:
        """Wait until the connection fails. Never returns.

        Raises BrokerError when the broker stops acknowledging, or the error given to `fail`.
        """

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        """Publish with QoS 1 and wait for the acknowledgement."""

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe and wait for the acknowledgement."""

    async def unsubscribe(self, topic: str) -> None:
        """Unsubscribe and wait for the acknowledgement."""

    def messages(self) -> AsyncIterator[Received]:
        """Iterate over incoming messages. Raises BrokerError as soon as the connection is lost."""


class Connector(Protocol):
    """Opens connections. A replay gives the daemon another connector than `connect`."""

    def __call__(
        self,
        mqtt: MqttConfig,
        will: Will | None,
        *,
        client_id: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        ack_timeout: float = ACK_TIMEOUT,
    ) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Connect for the duration of an `async with` block. Raises BrokerError."""


def format_address(mqtt: MqttConfig) -> str:
    """Return the broker's address as shown to users, for example `broker.lan:8883 (TLS)`."""
    return f"{mqtt.host}:{mqtt.port}{' (TLS)' if mqtt.tls else ''}"
