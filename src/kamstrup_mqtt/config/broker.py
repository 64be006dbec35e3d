"""Options of the broker, its TLS connection, and the topics."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kamstrup_mqtt.config.section import (
    ExistingFile,
    Line,
    Secret,
    Section,
    Text,
    as_text,
    validation_error,
)
from kamstrup_mqtt.core.topics import Topics

PORT, PORT_TLS = 1883, 8883


def _topic(text: str) -> str:
    if re.search(r"[+#\s\x00]", text) or "" in text.split("/") or text.startswith("$"):
        raise ValueError(
            "must be a topic without +, #, spaces, a leading $, and without / at its ends"
        )
    return text


def _host(text: str) -> str:
    # not quoted: in mqtt://user:password@broker there is a password
    if re.search(r"[\s/@\[\]]", text) or (":" in text and not _is_address(text)):
        raise ValueError(
            "must be the broker's name or address alone: no mqtt://, no user name, no brackets, and"
            " no :1883 behind it (that is mqtt.port)"
        )
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _instance(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", text):
        raise ValueError("must have 1 to 32 characters of A-Z, a-z, 0-9, _ and -")
    return text


Topic: TypeAlias = Annotated[Text, AfterValidator(_topic)]


class TlsConfig(Section):
    """Certificates for TLS to the broker, which is always verified."""

    ca_file: ExistingFile | None = None
    """The authorities that may have signed the certificate of the broker, as PEM.

    Default: the authorities of the system
    Example: `ca_file: ca.pem`
    """
    cert_file: ExistingFile | None = None
    """The client certificate, as PEM.

    Example: `cert_file: client.pem`
    """
    key_file: ExistingFile | None = None
    """The private key of the client certificate. Needs `cert_file`.

    Example: `key_file: client.key`
    """
    key_password: Secret | None = None
    """The password of `key_file`.

    Example: `key_password: ${KEY_PASSWORD}`
    """

    @model_validator(mode="after")
    def _key_with_certificate(self) -> TlsConfig:
        if self.key_file is not None and self.cert_file is None:
            raise validation_error([(("key_file",), "needs cert_file beside it")])
        return self


def _tls(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return value


class MqttConfig(Section):
    """The connection to the broker, and the topics."""

    host: Annotated[Line, AfterValidator(_host)] = "localhost"
    """The name or address of the broker, without a scheme, a user name or a port.

    Example: `host: 192.168.1.10`
    """
    tls: Annotated[TlsConfig | None, BeforeValidator(_tls)] = None
    """TLS with the authorities of the system, or with options.

    Default: `false`
    Example: `tls: true`
    """
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=0, validate_default=True)
    """The port of the broker.

    Default: `1883`, with TLS `8883`
    Example: `port: 8883`
    """
    username: Text | None = None
    """The user name at the broker.

    Example: `username: kamstrup`
    """
    password: Secret | None = None
    """The password at the broker.

    Example: `password: ${MQTT_PASSWORD}`
    """
    password_file: Text | None = None
    """A file with the password on one line. A credential of systemd with this name is preferred.

    Default: the credential `mqtt_password`, if there is one
    Example: `password_file: mqtt-password`
    """
    base: Topic = "kamstrup"
    """The first part of all topics.

    Example: `base: meters`
    """
    instance: Annotated[Text, AfterValidator(_instance)] = "main"
    """The second part of all topics. Each daemon on a broker needs its own.

    Example: `instance: cellar`
    """
    version: Annotated[Literal["3.1.1", "5"], BeforeValidator(as_text)] = "3.1.1"
    """The version of MQTT.

    Example: `version: "5"`
    """
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 60
    """Seconds between two pings on an idle connection.

    Example: `keepalive: 30`
    """
    commands: bool = True
    """Accept "read now" over MQTT. `false` also removes the button in Home Assistant.

    Example: `commands: false`
    """
    client_id: Annotated[Line, Field(max_length=128)] | None = None
    """The client id at the broker.

    Default: `kamstrup-mqtt-<base>-<instance>`
    Example: `client_id: gateway-1`
    """

    @field_validator("port", mode="before")
    @classmethod
    def _default_port(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None or value == 0:
            return PORT_TLS if info.data.get("tls") is not None else PORT
        return value

    @property
    def topics(self) -> Topics:
        """The topics of this daemon."""
        return Topics(self.base, self.instance)
