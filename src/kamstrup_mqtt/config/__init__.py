"""The configuration, checked: broker, Home Assistant, meters. `configfile` reads the file."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kamstrup_mqtt.config.meter import LogLevel, Meter
from kamstrup_mqtt.config.meters import MeterConfig
from kamstrup_mqtt.config.section import (
    Directory,
    ExistingFile,
    Fault,
    Limit,
    Line,
    Secret,
    Section,
    Text,
    as_text,
    validation_error,
)
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.links.address import PortAddress, SerialDevice, TcpBridge
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.auto import AUTO

__all__ = [
    "Config",
    "HomeAssistantConfig",
    "Meter",
    "MeterConfig",
    "MqttConfig",
    "SpoolConfig",
    "TlsConfig",
    "collect_warnings",
    "cross_check",
    "cross_check_raw",
    "with_models",
]

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
        raise ValueError("must be 1 to 32 of A-Z, a-z, 0-9, _ and -")
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


def _minimum(value: Any) -> Any:
    text = str(value) if isinstance(value, Decimal) else value
    match = re.fullmatch(r"(\d{4})\.(\d{1,2})(?:\.\d+)?", text) if isinstance(text, str) else None
    if match is None or not 1 <= int(match[2]) <= 12:
        raise ValueError('must be a version of Home Assistant, such as "2025.12"')
    version = (int(match[1]), int(match[2]))
    if version < (2024, 11):
        raise ValueError("must be 2024.11 or later: device discovery is not known before")
    return f"{version[0]}.{version[1]}"


class HomeAssistantConfig(Section):
    """Discovery messages for Home Assistant."""

    enabled: bool = True
    """Publish discovery messages.

    Example: `enabled: false`
    """
    prefix: Topic = "homeassistant"
    """The discovery prefix of Home Assistant.

    Example: `prefix: ha`
    """
    status_topic: Topic = Field(default="", validate_default=True)
    """Where Home Assistant announces that it has started.

    Default: `<prefix>/status`
    Example: `status_topic: homeassistant/status`
    """
    birth_payload: Text = "online"
    """The message with which Home Assistant announces its start.

    Example: `birth_payload: online`
    """
    minimum: Annotated[str, BeforeValidator(_minimum)] = "2025.12"
    """The oldest version of Home Assistant that must accept everything, at least `2024.11`.

    Example: `minimum: "2024.11"`
    """

    @field_validator("status_topic", mode="before")
    @classmethod
    def _default_topic(cls, value: Any, info: ValidationInfo) -> Any:
        return value or f"{info.data.get('prefix', 'homeassistant')}/status"

    @property
    def is_modern(self) -> bool:
        """Whether temperature_delta, reactive_energy and L/h may be used (2025.12 and later)."""
        year, month = self.minimum.split(".")
        return (int(year), int(month)) >= (2025, 12)


def _spool(value: Any) -> Any:
    if value is False:  # YAML's off
        raise ValueError("cannot be switched off; memory is the mode that never uses the disk")
    return {"mode": value} if isinstance(value, str) else value


class SpoolConfig(Section):
    """Where the history waits for the broker. `spool: always` is short for `mode` alone."""

    mode: Literal["offline", "always", "memory"] = "offline"
    """When records are written to disk: while the broker does not acknowledge (`offline`), before
    they are sent (`always`), or never (`memory`).

    Example: `mode: always`
    """
    rows: Annotated[int, Field(ge=100, le=100_000_000)] = 100_000
    """The number of records that are kept. The oldest are dropped and counted.

    Example: `rows: 500000`
    """
    megabytes: Annotated[int, Field(ge=1, le=100_000)] = 64
    """The size of the records that are kept.

    Example: `megabytes: 256`
    """
    resend: Limit = 60.0
    """What the broker acknowledged in this time before a connection was lost is sent again.

    Example: `resend: 2m`
    """


def _at_least_one(meters: tuple[Meter, ...]) -> tuple[Meter, ...]:
    if not meters:
        raise ValueError("list at least one meter")
    return meters


class Config(Section):
    """The whole configuration."""

    mqtt: MqttConfig = Field(default={}, validate_default=True)
    """The broker and the topics.

    Example: `mqtt: {host: 192.168.1.10}`
    """
    homeassistant: HomeAssistantConfig = Field(default={}, validate_default=True)
    """Discovery for Home Assistant.

    Example: `homeassistant: {enabled: false}`
    """
    spool: Annotated[SpoolConfig, BeforeValidator(_spool)] = Field(
        default={}, validate_default=True
    )
    """Where the history waits for the broker.

    Example: `spool: always`
    """
    meters: Annotated[tuple[MeterConfig, ...], AfterValidator(_at_least_one)]
    """The meters, at least one."""
    log_level: LogLevel = "info"
    """The least severe level that is logged.

    Example: `log_level: debug`
    """
    state_directory: Directory | None = None
    """Where the state file and the history are kept.

    Default: `$STATE_DIRECTORY`, else `~/.local/state/kamstrup-mqtt`
    Example: `state_directory: /var/lib/kamstrup-mqtt`
    """
    _warnings: tuple[str, ...] = PrivateAttr(())
    _from_environment: Mapping[str, str] = PrivateAttr({})

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        faults = list(cross_check(dict(enumerate(self.meters))))
        if faults:
            raise validation_error(faults)
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but probably not meant: one line of text each, with its place."""
        return self._warnings

    @property
    def from_environment(self) -> Mapping[str, str]:
        """Texts that came from the environment -> as they were written: ${NAME}."""
        return self._from_environment

    def with_source_info(
        self, warnings: tuple[str, ...], from_environment: Mapping[str, str]
    ) -> Config:
        """The same configuration with these warnings, and where its texts came from."""
        self._warnings = warnings
        self._from_environment = from_environment
        return self

    def secrets(self) -> tuple[str, ...]:
        """What must never be written to a log."""
        tls = self.mqtt.tls
        held = (self.mqtt.password, tls.key_password if tls else None)
        own = tuple(secret.get_secret_value() for secret in held if secret is not None)
        return own + tuple(secret for meter in self.meters for secret in meter.secrets())


def with_models(config: Config, found: Mapping[str, str]) -> Config:
    """The configuration in which meters with `model: auto` have the model that was found."""
    meters = tuple(
        meter.with_model(found[meter.id])
        if meter.model == AUTO and found.get(meter.id) in registry.models_of(meter.protocol_name)
        else meter
        for meter in config.meters
    )
    same = all(new is old for new, old in zip(meters, config.meters, strict=True))
    return config if same else config.model_copy(update={"meters": meters})


def cross_check(meters: Mapping[int, Meter]) -> Iterator[Fault]:
    """Faults between meters (position -> meter): ids that are not unique, ports that clash."""
    ids: dict[str, Meter] = {}
    ports: dict[object, Meter] = {}
    for index, meter in meters.items():
        first = ids.setdefault(meter.id, meter)
        if first is not meter:
            place = "id" if "id" in meter.model_fields_set else "name"
            yield (
                ("meters", index, place),
                f"the id {meter.id} is that of meter {first.name!r} too; give another id",
            )
        owner = ports.setdefault(_same_port(meter.port), meter)
        clash = _clash(owner, meter) if owner is not meter else None
        if clash:
            yield ("meters", index, "port"), clash


def cross_check_raw(raw: object, context: dict[str, Any]) -> Iterator[Fault]:
    """`cross_check` of those of the raw meters that are good by themselves."""
    from pydantic import TypeAdapter  # for faults only

    adapter: TypeAdapter[Meter] = TypeAdapter(MeterConfig)
    good = {}
    for index, meter in enumerate(raw if isinstance(raw, list) else ()):
        try:
            good[index] = adapter.validate_python(meter, context=context)
        except ValidationError:
            continue  # its own faults are reported already
    return cross_check(good)


def _same_port(port: PortAddress) -> object:
    """Equal for two spellings of one port: a device and a link to it, H:1 and h:1."""
    if isinstance(port, TcpBridge):
        return port.host.lower(), port.port
    return os.path.realpath(port.path) if isinstance(port, SerialDevice) else port


def _clash(owner: Meter, meter: Meter) -> str | None:
    """Why two meters cannot have the same port; None: they can."""
    if owner.port != meter.port:
        return f"is the same port as {owner.port} of meter {owner.name!r}; write both the same way"
    if owner.is_pushed or meter.is_pushed:
        return f"{meter.port} is used by meter {owner.name!r}; a HAN port cannot be shared"
    if owner.protocol_name != meter.protocol_name:
        return (
            f"{meter.port} is used by meter {owner.name!r} with protocol {owner.protocol_name};"
            " meters on one port must speak the same protocol"
        )
    if owner.serial_params() != meter.serial_params():
        return (
            f"{meter.port} is opened as {owner.serial_params()} for meter {owner.name!r},"
            f" as {meter.serial_params()} here; give both the same line settings"
        )
    return None


def collect_warnings(config: Config) -> Iterator[Fault]:
    """What is allowed but probably not meant."""
    for index, meter in enumerate(config.meters):
        for place, text in meter.warnings():
            yield ("meters", index, *place), text
