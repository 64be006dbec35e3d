"""The types of meter models.

A `MeterModel` is one meter family (in `meters/models/`), its `ProtocolProfile` has its sources in
one protocol, and a `Quantity` is what such a source measures (in `quantities`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kamstrup_mqtt.core.model import SerialParams, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A measured quantity with its public key (docs/quantities.md is the contract).

    unit               None: no unit, or with `as_sent` the unit that the meter sends
    device_class, state_class, icon, category   as in Home Assistant
    precision          decimals that Home Assistant shows
    enabled            False: announced, but disabled by default
    is_text            the value is text or an ISO date, never a number
    is_binary          the value is ON or OFF: a binary sensor
    catch_up_seconds   consumption of this time may be added to the total in one step, when a
                       register corrects a live counter
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
    is_text: bool = False
    catch_up_seconds: float = 0.0
    is_binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The rule that detects the model of a polled meter.

    A meter that sends its name is detected by `names` alone. Otherwise all other conditions of a
    rule must hold, and the most specific rule wins (`detection.detect_model`). A rule with nothing
    but names requires the name; a rule without any condition is the fallback of its protocol.

    names       words or numbers in KMP register 404, the meter type: "603", "flowIQ"
    types       first digits of the type number that GetType of KMP returns, in hex
    sources     the meter has all of these sources
    any_of      the meter has at least one of these sources
    none_of     the meter has none of these sources
    baudrate    the meter answered at this speed
    also_read   registers that `auto` reads as well until the model is known
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
        """Whether the rule requires the name."""
        return bool(self.names) and not (self.types or self.sources or self.any_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDetection:
    """The rule that detects the model of a HAN meter by its lists.

    maker      maker of the list format in `protocols.han`: kamstrup, aidon, kaifa
    phases     number of voltages in a list
    list_ids   prefixes of the list identifier; () = the list has none
    """

    maker: str
    phases: Literal[1, 3]
    list_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolProfile:
    """The sources of a meter model in one protocol.

    groups            reading group -> sources that are read by default, in the order of the
                      requests; they include derived sources (`dependencies.DERIVED_SOURCES`)
    more              sources that are read only if the configuration lists them
    identity          sources of the serial number, the best first; () = the meter has none
    serial            settings of the line; None: the default of the protocol
    periods           pushed groups: seconds from one list to the next
    overrides         source -> fields of its Quantity that differ on this meter
    high_resolution   the register with the digits below those of register 60: 266 or 155
    info_tables       source of an info code -> name of its table in `info_codes`
    has_log           the meter has, or may have, a log of hours, days, months and years
    detection         the rule that detects the model; None: it cannot be detected
    """

    groups: Mapping[str, tuple[SourceId, ...]]
    more: tuple[SourceId, ...] = ()
    identity: tuple[SourceId, ...] = ()
    serial: SerialParams | None = None
    periods: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[SourceId, Mapping[str, object]] = field(default_factory=dict)
    high_resolution: SourceId | None = None
    info_tables: Mapping[SourceId, str] = field(default_factory=dict)
    has_log: bool = False
    detection: Detection | ListDetection | None = None

    @property
    def default_sources(self) -> tuple[SourceId, ...]:
        """The sources that are read by default, in all groups."""
        return tuple(source for group in self.groups.values() for source in group)

    @property
    def sources(self) -> tuple[SourceId, ...]:
        """All sources of the model."""
        return (*self.default_sources, *self.more)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """A meter family. Its id is the name of its file in `meters/models/`.

    has_battery    the default interval is 1 h instead of 60 s, and less than 60 s gives a warning
    max_power      highest power in W; None: by medium (`limits`)
    max_flow       highest flow in m³/h; None: by medium
    interval       default interval in seconds; None: by `has_battery`
    sleeps_after   seconds after a reading after which the optical eye falls asleep
    note           what the user should know
    """

    name: str
    manufacturer: str = "Kamstrup"
    medium: Literal["heat", "water", "electricity", "any"]
    profiles: Mapping[str, ProtocolProfile]
    has_battery: bool = False
    max_power: int | None = None
    max_flow: int | None = None
    interval: float | None = None
    sleeps_after: float | None = None
    note: str = ""
