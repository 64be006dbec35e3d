"""The options of all meters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from kamstrup_mqtt.config.section import (
    Fault,
    Line,
    Section,
    Text,
    suggestion,
    validation_error,
)
from kamstrup_mqtt.config.values import (
    CustomValue,
    ListedValue,
    planned_custom,
    planned_values,
    read_custom,
    read_listed,
    sources_by_key,
)
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.core.topics import slug
from kamstrup_mqtt.links.address import PortAddress, parse_address
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan, default_values

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class _Port:
    """Reads a port from its text and writes it as text."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: object, _handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _port,
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema()
            ),
        )


def _port(value: Any) -> PortAddress:
    if not isinstance(value, str):
        raise ValueError("must be a device path (/dev/serial/by-id/...) or tcp://host:port")
    return parse_address(value)


def parity_letter(value: Any) -> Any:
    """Return the letter of none, even, odd or a letter. Other types are returned unchanged."""
    words = {"NONE": "N", "EVEN": "E", "ODD": "O"}
    return words.get(value.upper(), value.upper()) if isinstance(value, str) else value


def _meter_id(value: str) -> str:
    if not value or value != slug(value):
        raise ValueError(
            "must have 1 to 32 characters of a-z, 0-9, _ and -, and start and end with a letter"
            " or digit"
        )
    if value == "bridge":
        raise ValueError("bridge is reserved for the daemon; choose another id")
    return value


class Meter(Section):
    """Options of every meter."""

    is_pushed: ClassVar[bool] = False
    protocol_name: ClassVar[str]

    name: Annotated[Line, Field(max_length=100)]
    """The name in Home Assistant and in the log.

    Example: `name: District heating`
    """
    id: Annotated[Text, AfterValidator(_meter_id)] = Field(default="", validate_default=True)
    """The name in topics: a-z, 0-9, `_` and `-`.

    Default: made from the name
    Example: `id: district_heating`
    """
    model: Text
    """The id of the model, or `auto`. `kamstrup-mqtt models` lists them.

    Example: `model: auto`
    """
    port: Annotated[PortAddress, _Port]
    """A serial device, or a raw TCP bridge.

    Example: `port: tcp://192.168.1.20:2002`
    """
    serial: Annotated[Line, Field(max_length=64)] | None = None
    """The serial number, for a meter that does not send it.

    Default: the meter is asked
    Example: `serial: "12345678"`
    """
    values: tuple[ListedValue, ...] | None = None
    """The values to read, instead of the default list of the model.

    Default: the list of the model
    Example: `values: [heat_energy, {flow: {unit: L/h}}]`
    """
    custom: tuple[CustomValue, ...] = ()
    """Registers, OBIS codes or addresses to read besides.

    Example: `custom: [{register: 86, name: Inlet}]`
    """
    baudrate: Annotated[int, Field(ge=50, le=4_000_000)] | None = None
    """The speed of the line. Behind a bridge it is set there.

    Default: by protocol and model
    Example: `baudrate: 9600`
    """
    bytesize: Literal[7, 8] | None = None
    """The data bits of the line.

    Default: by protocol and model
    Example: `bytesize: 8`
    """
    parity: Annotated[Literal["N", "E", "O"], BeforeValidator(parity_letter)] | None = None
    """The parity of the line.

    Default: by protocol and model
    Example: `parity: none`
    """
    stopbits: Literal[1, 2] | None = None
    """The stop bits of the line.

    Default: by protocol and model
    Example: `stopbits: 2`
    """
    dtr: bool | None = None
    """The control line DTR, which may power the head.

    Default: by protocol
    Example: `dtr: true`
    """
    rts: bool | None = None
    """The control line RTS, which may power the head.

    Default: by protocol
    Example: `rts: false`
    """
    log_level: LogLevel | None = None
    """The level of the log for this meter alone.

    Default: the `log_level` of the file
    Example: `log_level: debug`
    """
    max_power: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """The largest plausible power in W (also var). A total that rises faster is rejected.

    Default: by model: 1000000 for heat, 55200 (3 × 80 A) for electricity
    Example: `max_power: 1000000`
    """
    max_flow: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The largest plausible flow in m³/h, for volume and mass.

    Default: `200`
    Example: `max_flow: 20`
    """

    @field_validator("id", mode="before")
    @classmethod
    def _from_name(cls, value: Any, info: ValidationInfo) -> Any:
        if value != "" or "name" not in info.data:
            return value or "meter"  # the missing name is reported
        found = slug(info.data["name"])
        if not found:
            raise ValueError("cannot be made from the name; give an id of a-z, 0-9, _ and -")
        return found

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        known = registry.models_of(cls.protocol_name)
        if value in known:
            return value
        elsewhere = registry.all_models().get(value)
        if elsewhere is not None:
            raise ValueError(
                f"{value} does not speak {cls.protocol_name};"
                f" it speaks {', '.join(elsewhere.profiles)}"
            )
        raise ValueError(f"no such model: {value}; {suggestion(value, list(known))}")

    @field_validator("values", mode="before")
    @classmethod
    def _known_values(cls, raw: Any, info: ValidationInfo) -> tuple[ListedValue, ...] | None:
        if raw is None or "model" not in info.data:
            return None
        return read_listed(cls.protocol_name, cls._profile_of(info.data["model"]), raw)

    @field_validator("custom", mode="before")
    @classmethod
    def _known_custom(cls, raw: Any, info: ValidationInfo) -> tuple[CustomValue, ...]:
        if raw is None or "model" not in info.data:
            return ()
        return read_custom(cls.protocol_name, cls._profile_of(info.data["model"]), raw)

    @model_validator(mode="after")
    def _reads_something(self) -> Meter:
        if not self.plan().values and not self.plan().accept_unlisted:
            place = "values" if self.values is not None else "model"
            raise validation_error(
                [
                    (
                        (place,),
                        "no value is read from this meter; list values, or registers in custom",
                    )
                ]
            )
        return self

    @classmethod
    def _profile_of(cls, model: str) -> ProtocolProfile:
        return registry.all_models()[model].profiles[cls.protocol_name]

    def with_model(self, model: str) -> Self:
        """Return the meter with another model, the same line, and those listed values that the
        model has."""
        params = self.serial_params()
        known = sources_by_key(self.protocol_name, self._profile_of(model))
        values = self.values and tuple(value for value in self.values if value.key in known)
        line = {name: getattr(params, name) for name in ("baudrate", "parity", "stopbits")}
        return self.model_copy(update={"model": model, "values": values, **line})

    @property
    def meter_model(self) -> MeterModel:
        """The data of the model."""
        return registry.all_models()[self.model]

    @property
    def profile(self) -> ProtocolProfile:
        """The profile of the model in this protocol."""
        return self._profile_of(self.model)

    @property
    def interval_seconds(self) -> float | None:
        """Seconds from one poll to the next; None for a meter that pushes."""
        return None

    def serial_params(self) -> SerialParams:
        """Return the settings of the line: the protocol's, changed by the model and by the user."""
        spec = registry.find_protocol(self.protocol_name)
        return self._with_overrides(self.profile.serial or spec.serial)

    def _with_overrides(self, params: SerialParams) -> SerialParams:
        names = ("baudrate", "bytesize", "parity", "stopbits", "dtr", "rts")
        given: dict[str, Any] = {
            name: getattr(self, name) for name in names if getattr(self, name) is not None
        }
        return dataclasses.replace(params, **given)

    @property
    def detects_parity(self) -> bool:
        """Whether the parity of the line is detected."""
        return False

    def secrets(self) -> tuple[str, ...]:
        """Return the texts that must never be logged."""
        return ()

    def warnings(self) -> Iterator[Fault]:
        """Yield what is allowed but probably a mistake."""
        return iter(())

    def codec_options(self) -> dict[str, Any]:
        """Return the keyword arguments of the protocol's codec."""
        return {}

    def _chosen(self) -> tuple[PlannedValue, ...]:
        """Return the values to read: the listed ones or those of the model, and the custom ones."""
        if self.values is None:
            chosen = list(default_values(self.protocol_name, self.profile))
        else:
            chosen = planned_values(self.protocol_name, self.profile, self.values)
        by_source = {value.source: value for value in chosen}
        custom = planned_custom(self.protocol_name, self.profile, self.custom)
        by_source.update(
            {value.source: value for value in custom}
        )  # replaces a value of the same source
        return tuple(by_source.values())

    def plan(self) -> ReadingPlan:
        """Return the reading plan."""
        values = self._planned()
        return ReadingPlan(
            protocol=self.protocol_name,
            profile=self.profile,
            values=values,
            periods=self._periods(values),
            accept_unlisted=self.values is None and self._accepts_unlisted,
        )

    def _planned(self) -> tuple[PlannedValue, ...]:
        return self._chosen()

    def _periods(self, values: tuple[PlannedValue, ...]) -> Mapping[str, float]:
        return dict(self.profile.periods)

    @property
    def _accepts_unlisted(self) -> bool:
        return False
