"""Opens a connection to the configured broker."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import aiomqtt

from kamstrup_mqtt.config import MqttConfig, TlsConfig
from kamstrup_mqtt.core.threads import use_daemon_threads
from kamstrup_mqtt.mqtt.aiomqtt_client import AiomqttConnection
from kamstrup_mqtt.mqtt.broker_errors import BrokerError, Trouble, connect_error
from kamstrup_mqtt.mqtt.connection import (
    ACK_TIMEOUT,
    CONNECT_TIMEOUT,
    HISTORY_WINDOW,
    STATE_WINDOW,
    Connection,
    Will,
    format_address,
)
from kamstrup_mqtt.mqtt.paho_connection import PahoConnection, find_paho_client

_LOG = logging.getLogger(__package__)

MAX_INCOMING = 10_000
"""Messages from the broker that may wait to be handled. aiomqtt discards further ones."""


@contextlib.asynccontextmanager
async def connect(
    mqtt: MqttConfig,
    will: Will | None,
    *,
    client_id: str | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
    ack_timeout: float = ACK_TIMEOUT,
) -> AsyncIterator[Connection]:
    """Connect as `client_id` (default: the configured one). Raises BrokerError."""
    use_daemon_threads("connecting to the broker")
    address = format_address(mqtt)
    client_id = client_id or mqtt.client_id or mqtt.topics.client_id
    connection = _create_connection(mqtt, _client_options(mqtt, will, client_id, ack_timeout))
    try:
        await connection.open(connect_timeout)
    except TimeoutError as error:
        raise BrokerError(
            f"{address} did not answer within {connect_timeout:g} s: is the address right, does a"
            " firewall drop the packets?"
        ) from error
    except (aiomqtt.MqttError, ValueError) as error:
        raise connect_error(error, mqtt) from error
    try:
        yield connection
    finally:
        await connection.close()


def _create_connection(mqtt: MqttConfig, options: dict[str, Any]) -> AiomqttConnection:
    client = aiomqtt.Client(mqtt.host, mqtt.port, **options)
    paho_client = find_paho_client(client)
    address = format_address(mqtt)
    if paho_client is not None:
        return PahoConnection(client, paho_client, address, RefusalLog().warn)
    if mqtt.version == "5":
        # How many messages the broker accepts at once cannot be found out: at least one
        client = aiomqtt.Client(mqtt.host, mqtt.port, **{**options, "max_inflight_messages": 1})
    return AiomqttConnection(client, address)


def _client_options(
    mqtt: MqttConfig, will: Will | None, client_id: str, ack_timeout: float
) -> dict[str, Any]:
    version = aiomqtt.ProtocolVersion.V5 if mqtt.version == "5" else aiomqtt.ProtocolVersion.V311
    return {
        "username": mqtt.username,
        "password": mqtt.password.get_secret_value() if mqtt.password else None,
        "identifier": client_id,
        "protocol": version,
        "will": aiomqtt.Will(will.topic, will.payload, qos=1, retain=True) if will else None,
        "timeout": ack_timeout,
        "keepalive": mqtt.keepalive,
        "max_queued_incoming_messages": MAX_INCOMING,
        "max_inflight_messages": 2 * (STATE_WINDOW + HISTORY_WINDOW),
        "socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        "tls_context": _tls_context(mqtt.tls) if mqtt.tls else None,
        "logger": cast(logging.Logger, _DebugLogger(logging.getLogger("paho.mqtt"))),
    }


class _DebugLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs the library's messages at DEBUG. The publisher reports each loss once."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if self.logger.isEnabledFor(logging.DEBUG):  # checked first, as paho logs each message
            super().log(logging.DEBUG, msg, *args, **kwargs)


class RefusalLog:
    """Logs each reason once for which an MQTT 5 broker refuses messages on one connection.

    MQTT 3.1.1 has no such reasons. A refused message counts as delivered: if it were sent again, it
    would be refused again and block all later messages.
    """

    def __init__(self) -> None:
        self._reasons: set[str] = set()

    def warn(self, topic: str, reason: str) -> None:
        """Log that the broker refused a message to `topic`."""
        level = logging.DEBUG if reason in self._reasons else logging.WARNING
        self._reasons.add(reason)
        _LOG.log(
            level,
            "the broker does not accept messages to %s (%s), they are lost: allow them in the"
            " broker's access list and limits for this user",
            topic,
            reason,
        )


def _tls_context(tls: TlsConfig) -> ssl.SSLContext:
    # Without a password OpenSSL would ask for the one of an encrypted key on the terminal
    password = tls.key_password.get_secret_value() if tls.key_password else ""
    try:
        context = ssl.create_default_context(cafile=_path(tls.ca_file))
        if tls.cert_file is not None:
            context.load_cert_chain(str(tls.cert_file), _path(tls.key_file), password)
    except OSError as error:
        raise BrokerError(
            f"mqtt.tls: the certificates cannot be used ({error}); check that ca_file, cert_file"
            " and key_file are PEM and can be read by this user, and key_password",
            Trouble.TLS,
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _path(file: object) -> str | None:
    return None if file is None else str(file)
