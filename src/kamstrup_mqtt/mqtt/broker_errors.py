"""Turns the errors of aiomqtt and paho into a BrokerError whose message says what to do."""

from __future__ import annotations

import socket
import ssl
from enum import Enum

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from kamstrup_mqtt.config import MqttConfig
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.mqtt.connection import format_address

# Reason codes of CONNACK in MQTT 5 (3.2.2.2). paho reports those of MQTT 3.1.1 (3.2.2.3) by them.
_CONNECT_ERRORS = {
    0x84: "it does not speak this version of MQTT; set mqtt.version to 3.1.1 or 5",
    0x85: "it does not accept our client id; set mqtt.client_id",
    0x86: "user name or password is wrong; check mqtt.username and mqtt.password",
    0x87: "not authorized; check mqtt.username, mqtt.password and the broker's access list",
}
# Reason codes of DISCONNECT in MQTT 5 (3.14.2.1)
_SESSION_TAKEN_OVER = 0x8E
_UNSPECIFIED = 0x80


class Trouble(Enum):
    """The kind of a failure. It decides how long the back-off is."""

    LOST = "lost"
    REFUSED = "refused"
    TLS = "tls"
    TAKEN_OVER = "taken over"


class BrokerError(KamstrupMqttError):
    """The broker cannot be reached, refused the connection, or the connection was lost."""

    def __init__(self, message: str, trouble: Trouble = Trouble.LOST) -> None:
        self.trouble = trouble
        super().__init__(message)


def connect_error(error: Exception, mqtt: MqttConfig) -> BrokerError:
    """Return the BrokerError for an error raised while connecting."""
    address = format_address(mqtt)
    code = _reason_code(error)
    if isinstance(error, aiomqtt.exceptions.MqttConnectError) and code is not None:
        reason = _CONNECT_ERRORS.get(code)
        if reason is not None:
            return BrokerError(f"{address} refused the connection: {reason}", Trouble.REFUSED)
        return BrokerError(f"{address} refused the connection: {error}")
    # aiomqtt keeps only the text of the original exception, which is still the context
    return _network_error(error.__context__, error, mqtt)


def _network_error(cause: BaseException | None, error: Exception, mqtt: MqttConfig) -> BrokerError:
    address = format_address(mqtt)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return BrokerError(
            f"{address}: its certificate is not trusted ({cause.verify_message}); set"
            " mqtt.tls.ca_file to the CA that signed it, and mqtt.host to the name in it",
            Trouble.TLS,
        )
    if isinstance(cause, ssl.SSLError) or (mqtt.tls and isinstance(cause, ConnectionResetError)):
        return BrokerError(
            f"{address}: no TLS connection ({_os_error_text(cause)}); is mqtt.port the TLS port,"
            " and does the broker require a client certificate?",
            Trouble.TLS,
        )
    if isinstance(cause, socket.gaierror):
        return BrokerError(f"{address}: the name is not known ({cause.strerror}); check mqtt.host")
    if isinstance(cause, ConnectionRefusedError):
        return BrokerError(
            f"{address}: connection refused; is the broker running, and is mqtt.port right?"
        )
    return BrokerError(
        f"{address} cannot be reached: {error}; check mqtt.host and mqtt.port, and that an MQTT"
        " broker listens there"
    )


def connection_lost_error(error: aiomqtt.MqttError, address: str) -> BrokerError:
    """Return the BrokerError for an error raised on an open connection to `address`."""
    cause = error.__cause__ or error
    code = _reason_code(cause)
    if code == _SESSION_TAKEN_OVER:
        return BrokerError(f"{address}: another client took our client id", Trouble.TAKEN_OVER)
    if not isinstance(cause, aiomqtt.MqttError):  # raised by paho
        return BrokerError(f"{address}: the connection failed ({type(cause).__name__}: {cause})")
    if code is None:  # aiomqtt's timeout while it waited for an acknowledgement
        return BrokerError(f"{address} does not acknowledge messages any more ({cause})")
    if code == _UNSPECIFIED:  # paho's code for a connection that ended without DISCONNECT
        return BrokerError(f"{address} went away: the connection broke")
    return BrokerError(f"{address} went away: {cause}")


def _reason_code(error: BaseException) -> int | None:
    code = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
    return code.value if isinstance(code, ReasonCode) else code


def _os_error_text(error: OSError) -> str:
    return (isinstance(error, ssl.SSLError) and error.reason) or error.strerror or str(error)
