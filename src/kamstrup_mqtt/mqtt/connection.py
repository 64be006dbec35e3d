"""One connection to the broker: the only module that knows aiomqtt.

Its exceptions become BrokerError here. A fresh client per connection: aiomqtt's is not made to be
used again after a loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, cast

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from kamstrup_mqtt.config import MqttConfig, TlsConfig
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.mqtt.aiomqtt_client import Client
from kamstrup_mqtt.mqtt.threads import use_daemon_threads

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
        if self.logger.isEnabledFor(logging.DEBUG):  # asked with each message
            super().log(logging.DEBUG, msg, *args, **kwargs)


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
    """An open connection. Every coroutine raises BrokerError when it is lost."""

    def __init__(self, client: Client, where: str) -> None:
        self._client = client
        self._where = where

    def send(
        self, topic: str, payload: str, acked: Callable[[], None], *, retain: bool = True
    ) -> None:
        """Publish with QoS 1; `acked` is called when the broker has acknowledged it. Never raises:
        `lost` tells what went wrong."""
        self._client.send(topic, payload, acked, retain=retain)

    def flush(self) -> None:
        """Write what was sent, now instead of at the end of this turn of the loop."""
        self._client.flush()

    def fail(self, error: Exception) -> None:
        """Let `lost` raise this."""
        self._client.fail(error)

    async def lost(self) -> None:
        """Returns never; raises when the broker acknowledges nothing any more."""
        # not itself: whoever is cancelled while waiting would cancel it
        await asyncio.wait([self._client.failed])
        self._raise_failure()

    def _raise_failure(self) -> None:
        error = self._client.failed.exception()
        assert error is not None  # it has no result
        if isinstance(error, aiomqtt.MqttError):
            raise _lost(error, self._where) from error
        raise error

    async def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        """Publish with QoS 1; returns when the broker has acknowledged it."""
        acked = asyncio.Event()
        self.send(topic, payload, acked.set, retain=retain)
        self.flush()
        waiting = asyncio.create_task(acked.wait())
        either: list[asyncio.Future[Any]] = [waiting, self._client.failed]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not acked.is_set():
            self._raise_failure()

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


class Connector(Protocol):
    """What `connect` is, and what a replay puts in its place."""

    def __call__(
        self,
        mqtt: MqttConfig,
        will: Will | None,
        *,
        client_id: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        ack_timeout: float = ACK_TIMEOUT,
    ) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Connect for as long as the `async with` lasts. Raises BrokerError."""


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


async def _leave(client: Client) -> None:
    """Disconnect; a connection that is lost already is no fault any more."""
    with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(LEAVE_TIMEOUT):
            await client.__aexit__(None, None, None)
    client.forget()


def address(mqtt: MqttConfig) -> str:
    """The broker's address for people: broker.lan:8883 (TLS)."""
    return f"{mqtt.host}:{mqtt.port}{' (TLS)' if mqtt.tls else ''}"


def _client(mqtt: MqttConfig, will: Will | None, client_id: str, ack_timeout: float) -> Client:
    version = aiomqtt.ProtocolVersion.V5 if mqtt.version == "5" else aiomqtt.ProtocolVersion.V311
    return Client(
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
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        tls_context=_tls_context(mqtt.tls) if mqtt.tls else None,
        logger=cast(logging.Logger, _Demoted(logging.getLogger("paho.mqtt"))),
        refused=_Refusals().add,
    )


class _Refusals:
    """What the broker does not take on one connection: each reason is told once. MQTT 3.1.1 has no
    word for that. The message counts as taken: sent again it would be refused again, and hold up
    all that comes behind it."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def add(self, topic: str, reason: str) -> None:
        level = logging.DEBUG if reason in self._told else logging.WARNING
        self._told.add(reason)
        _LOG.log(
            level,
            "the broker does not take what is published to %s (%s), and it is lost: allow it in"
            " the broker's access list and limits for this user",
            topic,
            reason,
        )


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
