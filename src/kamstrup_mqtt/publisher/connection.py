"""One connection to the broker: the only module that knows aiomqtt.

Its exceptions become BrokerError here. A fresh client per connection: aiomqtt's is not made to be
used again after a loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from kamstrup_mqtt.config import MqttConfig, TlsConfig
from kamstrup_mqtt.errors import KamstrupMqttError
from kamstrup_mqtt.publisher.threads import use_daemon_threads

_LOG = logging.getLogger(__package__)

MAX_INCOMING = 10_000
"""Messages from the broker that may wait for us; more are discarded."""

CONNECT_TIMEOUT = 30.0
"""Seconds for name resolution, TCP, TLS and CONNACK together."""

ACK_TIMEOUT = 10.0
"""Seconds for one acknowledgement."""

LEAVE_TIMEOUT = 1.0
"""Seconds for the DISCONNECT to leave us."""

_FAILURE = 0x80
"""The first of the codes in a SUBACK that mean no (MQTT 3.1.1, 3.9.3)."""

IN_FLIGHT = 10
"""QoS 1 messages of states that may wait for their acknowledgement at once."""

HISTORY_WINDOW = 20
"""The same of the history."""


class _Demoted(logging.LoggerAdapter[logging.Logger]):
    """What the library logs, at DEBUG: each loss is told once, in our words, by the publisher."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        super().log(logging.DEBUG, msg, *args, **kwargs)


class _CarefulLoop:
    """The loop as aiomqtt sees it. aiomqtt has it watch a descriptor a moment later, when the
    socket may be closed and its number that of a meter's line."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        if callback not in (self._loop.add_reader, self._loop.add_writer):
            return self._loop.call_soon_threadsafe(callback, *args)
        asked = _identity(args[0])

        def watch() -> None:
            if asked is not None and _identity(args[0]) == asked:
                callback(*args)

        return self._loop.call_soon_threadsafe(watch)


def _identity(descriptor: int) -> int | None:
    """Tells one socket from another that has its number; None: it is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None


class _Client(aiomqtt.Client):
    """A client whose attempt to connect can be given up, wherever it is stuck."""

    given_up = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loop = cast(asyncio.AbstractEventLoop, _CarefulLoop(self._loop))

    def give_up(self) -> None:
        """aiomqtt leaves the socket of a failed attempt open, and watched by the loop."""
        self.given_up = True
        # aiomqtt's own callback would stumble over the attempt's cancelled future
        self._client.on_disconnect = None
        self._client.disconnect()

    def _client_connect(self) -> None:
        # in a thread: name resolution may come back long after we were given up, and a connection
        # then would take our own client id away from us
        super()._client_connect()
        if self.given_up:
            self.give_up()


class Trouble(Enum):
    """What kind of trouble, for the back-off: waiting does not help against a wrong password."""

    LOST = "lost"
    REFUSED_US = "refused us"
    TLS = "tls"
    TAKEN_OVER = "taken over"


class BrokerError(KamstrupMqttError):
    """The broker cannot be reached, refused us or went away; the message says what to do."""

    def __init__(self, message: str, trouble: Trouble = Trouble.LOST) -> None:
        self.trouble = trouble
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the broker."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us, retained, when we vanish."""

    topic: str
    payload: str


class Connection:
    """An open connection. Every method raises BrokerError when it is lost."""

    def __init__(self, client: aiomqtt.Client, where: str) -> None:
        self._client = client
        self._where = where

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        """Publish with QoS 1; returns when the broker has acknowledged it."""
        try:
            await self._client.publish(topic, payload, qos=1, retain=retain)
        except aiomqtt.MqttError as error:
            raise _lost(error, self._where) from error

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe; returns when the broker has acknowledged it."""
        wanted = [(topic, 1) for topic in topics]
        try:
            granted = await self._client.subscribe(wanted)
        except aiomqtt.MqttError as error:
            raise _lost(error, self._where) from error
        codes = [code.value if isinstance(code, ReasonCode) else code for code in granted]
        for (topic, _), code in zip(wanted, codes, strict=False):
            if code >= _FAILURE:
                _LOG.warning(
                    "the broker does not let us subscribe to %s: allow it in the broker's access"
                    " list for this user",
                    topic,
                )

    async def unsubscribe(self, topic: str) -> None:
        """Unsubscribe, acknowledged."""
        try:
            await self._client.unsubscribe(topic)
        except aiomqtt.MqttError as error:
            raise _lost(error, self._where) from error

    async def messages(self) -> AsyncIterator[Received]:
        """What comes in; the only place where a lost connection is noticed at once."""
        try:
            async for message in self._client.messages:
                payload = message.payload
                yield Received(
                    str(message.topic),
                    bytes(payload) if isinstance(payload, bytes | bytearray) else b"",
                    message.retain,
                )
        except aiomqtt.MqttError as error:
            raise _lost(error, self._where) from error


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
    use_daemon_threads()
    where = address(mqtt)
    client = _client(mqtt, will, client_id or mqtt.client_id or mqtt.topics.client_id, ack_timeout)
    entered = False
    try:
        async with asyncio.timeout(connect_timeout):
            await client.__aenter__()
        entered = True
    except TimeoutError as error:
        raise BrokerError(
            f"{where} did not answer within {connect_timeout:g} s: is the address right, does a"
            " firewall drop the packets?"
        ) from error
    except (aiomqtt.MqttError, ValueError) as error:  # ValueError: a host name paho cannot use
        raise _refused(error, mqtt) from error
    finally:
        if not entered:
            client.give_up()
    try:
        yield Connection(client, where)
    finally:
        await _leave(client)


async def _leave(client: aiomqtt.Client) -> None:
    """Disconnect; a connection that is lost already is no fault any more."""
    with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(LEAVE_TIMEOUT):
            await client.__aexit__(None, None, None)
    # the loss may have been noticed elsewhere; asyncio would report an exception nobody looked at
    gone: asyncio.Future[None] = client._disconnected
    if gone.done() and not gone.cancelled():
        gone.exception()


def address(mqtt: MqttConfig) -> str:
    """The broker's address for people: broker.lan:8883 (TLS)."""
    return f"{mqtt.host}:{mqtt.port}{' (TLS)' if mqtt.tls else ''}"


def _client(mqtt: MqttConfig, will: Will | None, client_id: str, ack_timeout: float) -> _Client:
    version = aiomqtt.ProtocolVersion.V5 if mqtt.version == "5" else aiomqtt.ProtocolVersion.V311
    client = _Client(
        mqtt.host,
        mqtt.port,
        username=mqtt.username,
        password=mqtt.password.get_secret_value() if mqtt.password else None,
        identifier=client_id,
        protocol=version,
        will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=True) if will else None,
        timeout=ack_timeout,
        keepalive=mqtt.keepalive,
        max_queued_incoming_messages=MAX_INCOMING,
        max_inflight_messages=2 * (IN_FLIGHT + HISTORY_WINDOW),
        tls_context=_tls_context(mqtt.tls) if mqtt.tls else None,
        logger=cast(logging.Logger, _Demoted(logging.getLogger("paho.mqtt"))),
    )
    client.pending_calls_threshold = 2 * (IN_FLIGHT + HISTORY_WINDOW)
    return client


def _tls_context(tls: TlsConfig) -> ssl.SSLContext:
    # an encrypted key without a password would ask for one on the terminal
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


def _code(error: BaseException) -> int | None:
    rc = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
    return rc.value if isinstance(rc, ReasonCode) else rc


# CONNACK in MQTT 3.1.1 (3.2.2.3), which paho shows as MQTT 5's codes (3.2.2.2)
_REFUSALS = {
    0x85: "it does not accept our client id; set mqtt.client_id",
    0x86: "user name or password is wrong; check mqtt.username and mqtt.password",
    0x87: "not authorized; check mqtt.username, mqtt.password and the broker's access list",
    0x84: "it does not speak this version of MQTT; set mqtt.version to 3.1.1 or 5",
}
_TAKEN_OVER = 0x8E
_UNSPECIFIED = 0x80


def _refused(error: Exception, mqtt: MqttConfig) -> BrokerError:
    """What went wrong while connecting, with what to do."""
    where = address(mqtt)
    code = _code(error)
    if isinstance(error, aiomqtt.exceptions.MqttConnectError) and code is not None:
        reason = _REFUSALS.get(code)
        if reason is not None:
            return BrokerError(f"{where} refused us: {reason}", Trouble.REFUSED_US)
        return BrokerError(f"{where} refused us: {error}")
    # aiomqtt keeps only the text; the exception itself is still its context
    cause = error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return BrokerError(
            f"{where}: its certificate is not trusted ({cause.verify_message}); set"
            " mqtt.tls.ca_file to the CA that signed it, and mqtt.host to the name in it",
            Trouble.TLS,
        )
    if isinstance(cause, ssl.SSLError) or (mqtt.tls and isinstance(cause, ConnectionResetError)):
        return BrokerError(
            f"{where}: no TLS connection ({_words(cause)}); is mqtt.port the TLS port, and"
            " does the broker want a client certificate?",
            Trouble.TLS,
        )
    if isinstance(cause, socket.gaierror):
        return BrokerError(f"{where}: the name is not known ({cause.strerror}); check mqtt.host")
    if isinstance(cause, ConnectionRefusedError):
        return BrokerError(
            f"{where}: connection refused; is the broker running, and is mqtt.port right?"
        )
    return BrokerError(
        f"{where} cannot be reached: {error}; check mqtt.host and mqtt.port, and that it is an MQTT"
        " broker which listens there"
    )


def _words(error: OSError) -> str:
    return (isinstance(error, ssl.SSLError) and error.reason) or error.strerror or str(error)


def _lost(error: aiomqtt.MqttError, where: str) -> BrokerError:
    cause = error.__cause__ or error
    code = _code(cause)
    if code == _TAKEN_OVER:
        return BrokerError(f"{where}: another client took our client id", Trouble.TAKEN_OVER)
    if code is None:  # aiomqtt's own words for a step without acknowledgement
        return BrokerError(f"{where} went silent, it acknowledges nothing ({cause})")
    if code == _UNSPECIFIED:  # all that paho says of a connection that ends without a word
        return BrokerError(f"{where} went away: the connection broke")
    return BrokerError(f"{where} went away: {cause}")
