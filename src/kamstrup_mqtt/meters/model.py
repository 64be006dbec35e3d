"""What a meter is: a family is one `MeterModel` (in `meters/models/`), a thing that can be measured
is one `Quantity` (in `quantities`), and what a model says in one protocol is a
`ProtocolProfile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kamstrup_mqtt.core.model import SerialParams, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One thing that can be measured, under its public key (the contract is docs/quantities.md).

    `unit` None: no unit, or, with `as_sent`, the unit that the meter sends. `device_class` and
    `state_class` are Home Assistant's. `enabled` False: announced, but switched off by default.
    """

    key: str
    name: str
    unit: str | None = None
    as_sent: bool = False
    device_class: str | None = None
    state_class: str | None = None
    precision: int | None = None
    icon: str | None = None
    category: Literal["diagnostic"] | None = None
    enabled: bool = True
    text: bool = False
    """The value is text (or an ISO date), never a number."""
    catch_up_seconds: float = 0.0
    """Seconds of counting that this total may make up for in one step: one that is counted here
    and put right by a register from time to time."""
    binary: bool = False
    """The value is ON or OFF: a binary sensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How the answers of a polled meter show its model.

    A model is detected by its name; else where everything else that is given holds, the most
    specific first (`detection.detect_model`). A detection that gives a name alone needs the name;
    an empty one is the fallback of its protocol.

    names       words or numbers in KMP register 404, the meter type: "603", "flowIQ"
    types       first digits of the type number that KMP's GetType returns, in hex
    sources     sources that are all answered
    any_of      sources of which at least one is answered
    none_of     sources that are not answered
    baudrate    the speed at which the meter answered
    also_read   registers that `auto` reads besides until the model is known
    """

    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    sources: tuple[SourceId, ...] = ()
    any_of: tuple[SourceId, ...] = ()
    none_of: tuple[SourceId, ...] = ()
    baudrate: int | None = None
    also_read: tuple[SourceId, ...] = ()

    @property
    def is_name_only(self) -> bool:
        """Whether nothing but its name shows the model."""
        return bool(self.names) and not (self.types or self.sources or self.any_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDetection:
    """How the lists that a HAN meter pushes show its model.

    maker      whose lists they are, as `protocols.han` calls it: kamstrup, aidon, kaifa
    phases     voltages in a list, 1 or 3
    list_ids   beginnings of the list identifier; () = the list has none
    """

    maker: str
    phases: Literal[1, 3]
    list_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolProfile:
    """What one meter model says in one protocol.

    groups      reading group -> what is read by default, in the order asked
    more        what it can tell besides, read only when the configuration lists it
    identity    where the serial number comes from, the best first; () = the meter has none
    serial      the line, where it differs from the protocol's default
    periods     pushed groups: seconds from one list to the next
    overrides   source -> fields of its Quantity that differ on this meter
    precise     the register of high resolution that belongs to register 60: 266 or 155
    info        source of an info code -> the name of its table in `info_codes`
    logger      it has a log of hours, days, months and years, or may have one
    detection   how the model shows itself; None: it cannot be detected in this protocol

    A group may also list derived sources (`dependencies.DERIVED_SOURCES`).
    """

    groups: Mapping[str, tuple[SourceId, ...]]
    more: tuple[SourceId, ...] = ()
    identity: tuple[SourceId, ...] = ()
    serial: SerialParams | None = None
    periods: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[SourceId, Mapping[str, object]] = field(default_factory=dict)
    precise: SourceId | None = None
    info: Mapping[SourceId, str] = field(default_factory=dict)
    logger: bool = False
    detection: Detection | ListDetection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """One meter family: data only. Its id is the name of its file in `meters/`.

    `battery` decides the default interval (1 h instead of 60 s) and the warning below 60 s;
    `interval` is another default, in seconds; `longest`: from how many seconds on it sleeps.
    `max_power` (W; None: by medium) and `max_flow` (m³/h) are what it can measure at most.
    """

    name: str
    manufacturer: str = "Kamstrup"
    medium: Literal["heat", "water", "electricity", "any"]
    profiles: Mapping[str, ProtocolProfile]
    battery: bool = False
    max_power: int | None = None
    max_flow: int | None = None
    interval: float | None = None
    longest: float | None = None
    note: str = ""
