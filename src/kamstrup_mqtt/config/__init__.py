"""The configuration as pydantic models: broker, Home Assistant, spool, meters.

`config.loader` reads the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kamstrup_mqtt.config.broker import MqttConfig, TlsConfig, Topic
from kamstrup_mqtt.config.cross_check import cross_check
from kamstrup_mqtt.config.meter import LogLevel, Meter
from kamstrup_mqtt.config.meters import MeterConfig
from kamstrup_mqtt.config.section import (
    Directory,
    Fault,
    Limit,
    Section,
    Text,
    validation_error,
)
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.storage.history.settings import (
    DEFAULT_MEGABYTES,
    DEFAULT_RESEND,
    DEFAULT_ROWS,
    SpoolMode,
)

__all__ = [
    "Config",
    "HomeAssistantConfig",
    "Meter",
    "MeterConfig",
    "MqttConfig",
    "SpoolConfig",
    "TlsConfig",
    "collect_warnings",
    "with_models",
]


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
    if value is False:  # YAML reads `off` as false
        raise ValueError("cannot be switched off; use the mode memory, which never writes to disk")
    return {"mode": value} if isinstance(value, str) else value


class SpoolConfig(Section):
    """Where the history waits for the broker. `spool: always` is short for `mode` alone."""

    mode: SpoolMode = "offline"
    """When records are written to disk: while the broker does not acknowledge (`offline`), before
    they are sent (`always`), or never (`memory`).

    Example: `mode: always`
    """
    rows: Annotated[int, Field(ge=100, le=100_000_000)] = DEFAULT_ROWS
    """The number of records that are kept. The oldest are dropped and counted.

    Example: `rows: 500000`
    """
    megabytes: Annotated[int, Field(ge=1, le=100_000)] = DEFAULT_MEGABYTES
    """The size of the records that are kept.

    Example: `megabytes: 256`
    """
    resend: Limit = DEFAULT_RESEND
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
        """Lines of text, each with its place, about what is allowed but probably a mistake."""
        return self._warnings

    @property
    def from_environment(self) -> Mapping[str, str]:
        """Text from the environment -> its spelling in the file: ${NAME}."""
        return self._from_environment

    def with_source_info(
        self, warnings: tuple[str, ...], from_environment: Mapping[str, str]
    ) -> Config:
        """Store the warnings and the texts from the environment, and return the configuration."""
        self._warnings = warnings
        self._from_environment = from_environment
        return self

    def secrets(self) -> tuple[str, ...]:
        """Return the texts that must never be logged."""
        tls = self.mqtt.tls
        held = (self.mqtt.password, tls.key_password if tls else None)
        own = tuple(secret.get_secret_value() for secret in held if secret is not None)
        return own + tuple(secret for meter in self.meters for secret in meter.secrets())


def with_models(config: Config, found: Mapping[str, str]) -> Config:
    """Return the configuration with the detected model for meters with `model: auto`."""
    meters = tuple(
        meter.with_model(found[meter.id])
        if meter.model == AUTO and found.get(meter.id) in registry.models_of(meter.protocol_name)
        else meter
        for meter in config.meters
    )
    same = all(new is old for new, old in zip(meters, config.meters, strict=True))
    return config if same else config.model_copy(update={"meters": meters})


def collect_warnings(config: Config) -> Iterator[Fault]:
    """Yield what is allowed but probably a mistake."""
    for index, meter in enumerate(config.meters):
        for place, text in meter.warnings():
            yield ("meters", index, *place), text
