"""The meters of a configuration: one class for each protocol, told apart by `protocol`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kamstrup_mqtt import registry
from kamstrup_mqtt.address import PortAddress, TcpBridge, parse_address
from kamstrup_mqtt.config.section import (
    Fault,
    Interval,
    Limit,
    Line,
    Offset,
    Section,
    Text,
    choose,
    refusal,
)
from kamstrup_mqtt.config.values import (
    CustomValue,
    ListedValue,
    normalise,
    option_faults,
    planned_custom,
    planned_values,
    read_custom,
    read_listed,
    sources_by_key,
)
from kamstrup_mqtt.model import Dialect, MeterModel, SerialParams
from kamstrup_mqtt.plan import Plan, PlannedValue, default_values
from kamstrup_mqtt.topics import slug

KEY_SIZE = 16
"""Bytes of an encryption or authentication key."""
AUTO = "auto"
"""The model that is recognised by what it sends."""

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

MAINS_INTERVAL = 60.0
BATTERY_INTERVAL = 3600.0
BATTERY_WARNING = 60.0
SLOW = "slow"
"""Seconds between two polls: the defaults, and below which a battery meter is warned about."""


def _port(value: Any) -> PortAddress:
    if not isinstance(value, str):
        raise ValueError("must be a device path (/dev/serial/by-id/...) or tcp://host:port")
    return parse_address(value)


def _parity(value: Any) -> Any:
    words = {"NONE": "N", "EVEN": "E", "ODD": "O"}
    return words.get(value.upper(), value.upper()) if isinstance(value, str) else value


def _han_parity(value: Any) -> Any:
    return "auto" if isinstance(value, str) and value.lower() == "auto" else _parity(value)


def _meter_id(value: str) -> str:
    if not value or value != slug(value):
        raise ValueError(
            "must be 1 to 32 of a-z, 0-9, _ and -, the first and last a letter or digit"
        )
    if value == "bridge":
        raise ValueError("bridge is the name of the daemon itself; choose another id")
    return value


class Timing(Section):
    """Time limits of one exchange, in seconds, and how often it is tried.

    first_byte from the end of the request to the answer's first byte, between from byte to byte,
    total for the whole answer, pause between two tries.
    """

    first_byte: Limit
    between: Limit
    total: Limit
    pause: Limit
    tries: Annotated[int, Field(ge=1, le=10)]


class KmpTiming(Timing):
    first_byte: Limit = 1.6
    between: Limit = 0.5
    total: Limit = 6.0
    pause: Limit = 1.6
    tries: Annotated[int, Field(ge=1, le=10)] = 3


class KmpAsciiTiming(Timing):
    first_byte: Limit = 1.0
    between: Limit = 0.6
    total: Limit = 4.0
    pause: Limit = 1.6
    tries: Annotated[int, Field(ge=1, le=10)] = 3


class IecTiming(Timing):
    first_byte: Limit = 3.0
    between: Limit = 2.0
    total: Limit = 60.0
    pause: Limit = 1.6
    tries: Annotated[int, Field(ge=1, le=10)] = 2


class Meter(Section):
    """What every meter has. `id` is part of its topics, `serial` its number where it has none.

    `max_power` (W) and `max_flow` (m³/h): what it can measure at most; default: by model.
    """

    pushed: ClassVar[bool] = False
    protocol_name: ClassVar[str]

    name: Annotated[Line, Field(max_length=100)]
    id: Annotated[Text, AfterValidator(_meter_id)] = Field(default="", validate_default=True)
    model: Text
    port: Annotated[PortAddress, PlainValidator(_port), PlainSerializer(str, return_type=str)]
    serial: Annotated[Line, Field(max_length=64)] | None = None
    values: tuple[ListedValue, ...] | None = None
    custom: tuple[CustomValue, ...] = ()
    baudrate: Annotated[int, Field(ge=50, le=4_000_000)] | None = None
    bytesize: Literal[7, 8] | None = None
    parity: Annotated[Literal["N", "E", "O"], BeforeValidator(_parity)] | None = None
    stopbits: Literal[1, 2] | None = None
    dtr: bool | None = None
    rts: bool | None = None
    log_level: LogLevel | None = None
    max_power: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    max_flow: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @field_validator("id", mode="before")
    @classmethod
    def _from_name(cls, value: Any, info: ValidationInfo) -> Any:
        if value != "" or "name" not in info.data:
            return value or "meter"  # "meter": the name is at fault, and reported
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
                f" it speaks {', '.join(elsewhere.dialects)}"
            )
        raise ValueError(f"no such model: {value}; {choose(value, list(known))}")

    @field_validator("values", mode="before")
    @classmethod
    def _known_values(cls, raw: Any, info: ValidationInfo) -> tuple[ListedValue, ...] | None:
        if raw is None or "model" not in info.data:
            return None
        return read_listed(cls.protocol_name, cls._dialect(info.data["model"]), raw)

    @field_validator("custom", mode="before")
    @classmethod
    def _good_custom(cls, raw: Any, info: ValidationInfo) -> tuple[CustomValue, ...]:
        if raw is None or "model" not in info.data:
            return ()
        return read_custom(cls.protocol_name, cls._dialect(info.data["model"]), raw)

    @model_validator(mode="after")
    def _reads_something(self) -> Meter:
        if not self.plan().values and not self.plan().open:
            place = "values" if self.values is not None else "model"
            raise refusal(
                [((place,), "nothing is read from this meter; list values, or registers in custom")]
            )
        return self

    @classmethod
    def _dialect(cls, model: str) -> Dialect:
        return registry.all_models()[model].dialects[cls.protocol_name]

    def with_model(self, model: str) -> Self:
        """The same meter as another model; its line and what is listed stay as they are, as far
        as the model has them."""
        params = self.serial_params()
        known = sources_by_key(self.protocol_name, self._dialect(model))
        values = self.values and tuple(value for value in self.values if value.key in known)
        line = {name: getattr(params, name) for name in ("baudrate", "parity", "stopbits")}
        return self.model_copy(update={"model": model, "values": values, **line})

    @property
    def meter_model(self) -> MeterModel:
        """The model's table."""
        return registry.all_models()[self.model]

    @property
    def dialect(self) -> Dialect:
        """What the model says in this protocol."""
        return self._dialect(self.model)

    @property
    def interval_seconds(self) -> float | None:
        """Seconds from one poll to the next; None: the meter sends by itself."""
        return None

    def serial_params(self) -> SerialParams:
        """How the line is opened: the protocol's default, the model's, the user's."""
        spec = registry.protocol(self.protocol_name)
        return self._with_users(self.dialect.serial or spec.serial)

    def _with_users(self, params: SerialParams) -> SerialParams:
        names = ("baudrate", "bytesize", "parity", "stopbits", "dtr", "rts")
        given: dict[str, Any] = {
            name: getattr(self, name) for name in names if getattr(self, name) is not None
        }
        return dataclasses.replace(params, **given)

    @property
    def hunts_parity(self) -> bool:
        """Whether the parity of the line is found out."""
        return False

    def secrets(self) -> tuple[str, ...]:
        """What must never be written to a log."""
        return ()

    def codec_options(self) -> dict[str, Any]:
        """The keyword arguments of the protocol's codec."""
        return {}

    def _chosen(self) -> tuple[PlannedValue, ...]:
        """What is read: the model's own list, or what is listed; and the custom values."""
        if self.values is None:
            chosen = list(default_values(self.protocol_name, self.dialect))
        else:
            chosen = planned_values(self.protocol_name, self.dialect, self.values)
        by_source = {value.source: value for value in chosen}
        custom = planned_custom(self.protocol_name, self.dialect, self.custom)
        by_source.update({value.source: value for value in custom})  # in its place, listed once
        return tuple(by_source.values())

    def plan(self) -> Plan:
        """What is read, and under which names."""
        values = self._planned()
        return Plan(
            protocol=self.protocol_name,
            dialect=self.dialect,
            values=values,
            periods=self._periods(values),
            open=self.values is None and self._comes_whole,
        )

    def _planned(self) -> tuple[PlannedValue, ...]:
        return self._chosen()

    def _periods(self, values: tuple[PlannedValue, ...]) -> Mapping[str, float]:
        return dict(self.dialect.periods)

    @property
    def _comes_whole(self) -> bool:
        return False


class Slow(Section):
    """Values that are read at an interval of their own."""

    interval: Interval
    values: tuple[ListedValue, ...]

    @field_validator("values", mode="before")
    @classmethod
    def _three_ways(cls, raw: Any) -> Any:
        return tuple(normalise(raw))


class Polled(Meter):
    """A meter that is asked.

    interval     None: by the model, 60 s, on a battery 1 h
    align        polled when local time is a multiple of the interval, plus `offset` seconds
    slow         values that are read more rarely
    energy_unit  the unit of the energies that are published as the meter sends them
    """

    interval: Interval | None = None
    align: bool = False
    offset: Offset = 0.0
    slow: Slow | None = None
    energy_unit: Literal["kWh", "MWh", "GJ"] | None = None

    @model_validator(mode="after")
    def _slow_is_slow(self) -> Polled:
        faults = list(self._slow_faults())
        if self.offset and not self.align:
            faults.append((("offset",), "means nothing without align: true"))
        elif abs(self.offset) >= self.interval_seconds:
            words = f"must be less than the interval {self.interval_seconds:g}"
            faults.append((("offset",), words))
        if faults:
            raise refusal(faults)
        return self

    def _slow_faults(self) -> Iterator[Fault]:
        if self.slow is None:
            return
        if self.slow.interval <= self.interval_seconds:
            yield (
                ("slow", "interval"),
                f"must be longer than the interval {self.interval_seconds:g}",
            )
        known = sources_by_key(self.protocol_name, self.dialect)
        own = {value.quantity.key for value in self._chosen()}
        for index, value in enumerate(self.slow.values):
            place = ("slow", "values", index)
            if value.key in known:
                source = known[value.key][0][0]
                quantity = registry.quantity(self.protocol_name, self.dialect, source)
                for inner, text in option_faults(quantity, value):
                    yield (*place, *inner), text
            elif value.key not in own:
                words = choose(value.key, sorted({*known, *own}))
                yield (*place, "key"), f"no such value: {value.key}; {words}"
        if not {v.quantity.key for v in self._chosen()} - {v.key for v in self.slow.values}:
            yield ("slow", "values"), "takes all values: leave one for the interval of the meter"

    @model_validator(mode="before")
    @classmethod
    def _esphome_spelling(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "update_interval" not in raw:
            return raw
        if "interval" in raw:
            raise refusal([(("update_interval",), "says the same as interval; leave one out")])
        return {"interval" if k == "update_interval" else k: v for k, v in raw.items()}

    @property
    def interval_seconds(self) -> float:
        """Seconds from one poll to the next."""
        if self.interval is not None:
            return self.interval
        if self.meter_model.interval is not None:
            return self.meter_model.interval
        return BATTERY_INTERVAL if self.meter_model.battery else MAINS_INTERVAL

    def _planned(self) -> tuple[PlannedValue, ...]:
        """The chosen values, the slow ones in their group, energies in their unit."""
        slow = {value.key: value for value in self.slow.values} if self.slow else {}
        chosen = {value.source: value for value in self._chosen()}
        known = sources_by_key(self.protocol_name, self.dialect)
        listed = [value for key, value in slow.items() if key in known]
        more = planned_values(self.protocol_name, self.dialect, listed)
        chosen.update({value.source: value for value in more})
        return tuple(self._placed(value, value.quantity.key in slow) for value in chosen.values())

    def _placed(self, value: PlannedValue, slow: bool) -> PlannedValue:
        quantity = value.quantity
        if self.energy_unit and quantity.as_sent and quantity.device_class == "energy":
            quantity = dataclasses.replace(quantity, as_sent=False, unit=self.energy_unit)
        return PlannedValue(value.source, quantity, SLOW if slow else value.group)

    def _periods(self, values: tuple[PlannedValue, ...]) -> Mapping[str, float]:
        groups = dict.fromkeys((*self.dialect.groups, *(v.group for v in values)))
        periods = dict.fromkeys(groups, self.interval_seconds)
        return {**periods, SLOW: self.slow.interval} if self.slow else periods


def _kmp_address(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            raise ValueError("must be a number from 0x00 to 0xFF, such as 0x3F") from None
    return value


class KmpMeter(Polled):
    """A MULTICAL or flowIQ, and every other meter that speaks KMP.

    wake   how a sleeping eye is woken before each poll: nul (a light that flickers for 2 s) or
           ident (a request of the old protocol at 300 baud, which a bridge cannot send)
    """

    protocol_name = "kmp"
    protocol: Literal["kmp"]
    address: Annotated[int, BeforeValidator(_kmp_address), Field(ge=0, le=0xFF)] = 0x3F
    wake: Literal["nul", "ident"] | None = None
    timing: KmpTiming = KmpTiming()

    def codec_options(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "wake": self.wake,
            "baudrate": self.serial_params().baudrate,
            **self.timing.model_dump(),
        }


class KmpAsciiMeter(Polled):
    """A 685-382 by its own protocol."""

    protocol_name = "kmp-ascii"
    protocol: Literal["kmp-ascii"]
    model: Text = "e685_382"
    timing: KmpAsciiTiming = KmpAsciiTiming()

    def codec_options(self) -> dict[str, Any]:
        return self.timing.model_dump()


class IecMeter(Polled):
    """A meter that answers `/?!` with a readout.

    bcc           the block check: auto finds out and remembers
    parity_mode   software: seven bits and parity are done here, over a line of 8N1, which works
                  alike on a tty and behind a bridge; hardware: by the port
    """

    protocol_name = "iec62056-21"
    protocol: Literal["iec62056-21"]
    model: Text = "e685_382"
    address: Annotated[Text, Field(max_length=32, pattern=r"^[0-9A-Za-z ]*$")] = ""
    bcc: Literal["auto", "sum", "xor", "none"] = "auto"
    parity_mode: Literal["software", "hardware"] = "software"
    timing: IecTiming = IecTiming()

    def serial_params(self) -> SerialParams:
        params = super().serial_params()
        if not self._in_software:
            return dataclasses.replace(params, bytesize=self._line[0], parity=self._line[1])
        return dataclasses.replace(params, bytesize=8, parity="N")

    def codec_options(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "bcc": self.bcc,
            "parity": "software" if self._in_software else "hardware",
            "baudrate": self.serial_params().baudrate,
            **self.timing.model_dump(),
        }

    @property
    def _line(self) -> tuple[int, Literal["N", "E", "O"]]:
        """Bits and parity of the line itself: 7E unless the user says otherwise."""
        return self.bytesize or 7, self.parity or "E"

    @property
    def _in_software(self) -> bool:
        # only 7E is done in software; another line is opened as it is
        return self.parity_mode == "software" and self._line == (7, "E")

    @property
    def _comes_whole(self) -> bool:
        return True


class Multical66Timing(Timing):
    first_byte: Limit = 3.0
    between: Limit = 0.5
    total: Limit = 8.0
    pause: Limit = 5.0
    tries: Annotated[int, Field(ge=1, le=10)] = 2


class Multical66Meter(Polled):
    """A MULTICAL 66 or III by its own requests; on a port of this computer, whose speed changes."""

    protocol_name = "multical-66"
    protocol: Literal["multical-66"]
    model: Text = "multical_66"
    timing: Multical66Timing = Multical66Timing()

    @model_validator(mode="after")
    def _local(self) -> Multical66Meter:
        if isinstance(self.port, TcpBridge):
            words = "this protocol changes the speed of the line, which a TCP bridge cannot"
            raise refusal([(("port",), words)])
        return self

    def codec_options(self) -> dict[str, Any]:
        return {"baudrate": self.serial_params().baudrate, **self.timing.model_dump()}


def _energy_scale(value: Any) -> Any:
    return int(value) if value in ("10", "1") else value


def _key(value: Any) -> Any:
    """The 16 bytes of a key written in hex, with or without spaces."""
    if isinstance(value, SecretStr):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        octets = b""
    if len(octets) != KEY_SIZE:
        raise ValueError(
            f"must be {2 * KEY_SIZE} hex digits in quotes, as the grid company tells the key"
        )
    return SecretStr(octets.hex())


Key = Annotated[SecretStr, BeforeValidator(_key)]


class HanMeter(Meter):
    """An electricity meter with a HAN port.

    model               auto: the maker and the phases are recognised by the lists
    energy_scale        Wh per count of a Kamstrup meter's energies; auto: learned from the power
    encryption_key, authentication_key  GPK60 and GPK61 of a meter that encrypts; `..._file`: where
                        they are read from, one line of hex
    parity              auto: without and with even parity in turn, until lists come
    """

    pushed = True
    protocol_name = "han"
    protocol: Literal["han"]
    model: Text = "auto"
    energy_scale: Annotated[Literal[10, 1, "auto"], BeforeValidator(_energy_scale)] = "auto"
    encryption_key: Key | None = None
    encryption_key_file: Text | None = None
    authentication_key: Key | None = None
    authentication_key_file: Text | None = None
    parity: Annotated[Literal["N", "E", "O", "auto"] | None, BeforeValidator(_han_parity)] = None  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _meter_is_model(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "meter" not in raw:
            return raw
        if "model" in raw:
            raise refusal([(("meter",), "says the same as model; leave one out")])
        return {"model" if k == "meter" else k: v for k, v in raw.items()}

    @property
    def hunts_parity(self) -> bool:
        if self.parity is None:
            return self.model == AUTO
        return self.parity == "auto"

    def _with_users(self, params: SerialParams) -> SerialParams:
        plain = self if self.parity != "auto" else self.model_copy(update={"parity": None})
        return super(HanMeter, plain)._with_users(params)

    def secrets(self) -> tuple[str, ...]:
        held = (self.encryption_key, self.authentication_key)
        digits = [key.get_secret_value() for key in held if key is not None]
        return (*digits, *(text.upper() for text in digits))

    def codec_options(self) -> dict[str, Any]:
        encryption, authentication = self.encryption_key, self.authentication_key
        return {
            "energy_scale": None if self.energy_scale == "auto" else self.energy_scale,
            "encryption_key": encryption and bytes.fromhex(encryption.get_secret_value()),
            "authentication_key": authentication
            and bytes.fromhex(authentication.get_secret_value()),
        }

    @property
    def _comes_whole(self) -> bool:
        return True


MeterConfig: TypeAlias = Annotated[
    KmpMeter | KmpAsciiMeter | IecMeter | Multical66Meter | HanMeter,
    Field(discriminator="protocol"),
]
METER_CLASSES: tuple[type[Meter], ...] = (
    KmpMeter,
    KmpAsciiMeter,
    IecMeter,
    Multical66Meter,
    HanMeter,
)
