"""The vocabulary: what a meter is, what it tells, and how that is called.

Everything here is a value. A meter family is one `MeterModel` (in `meters/`), a thing that can be
measured is one `Quantity` (in `quantities`), what comes out of a frame is an `Object`, and what
goes to the publisher is a `Reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Scalar: TypeAlias = Decimal | str | None
"""A value: an exact number, a text (dates and times in ISO 8601), or None for "no value came"."""

SourceId: TypeAlias = int | str
"""Where a value stands in its protocol: a KMP register number (60), an OBIS code
("1-1:1.7.0.255"), an IEC 62056-21 address ("1.20.1"), a KMP-ASCII field ("FE90.energy")."""

NONE: Final[frozenset[Any]] = frozenset()
"""The empty set of all meters: Python makes one of 216 bytes each time that it is asked."""

Json: TypeAlias = "Decimal | str | int | bool | Mapping[str, Json] | list[Json] | None"


class LinkState(StrEnum):
    """Why readings come or do not come; the options of the `link_state` entity."""

    OK = "ok"
    NO_BYTES = "no_bytes"
    BYTES_NO_FRAMES = "bytes_no_frames"
    ECHO_ONLY = "echo_only"
    CHECKSUM = "checksum"
    REFUSED = "refused"
    BUSY = "busy"
    PORT_MISSING = "port_missing"
    WRONG_KEY = "wrong_key"


@dataclass(frozen=True, slots=True)
class SerialParams:
    """How a serial line is set. `dtr` and `rts` None: left as the driver has them."""

    baudrate: int
    bytesize: int = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: int = 1
    dtr: bool | None = None
    rts: bool | None = None

    def __str__(self) -> str:
        return f"{self.baudrate} {self.bytesize}{self.parity}{self.stopbits}"


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
    catches_up: float = 0.0
    """Seconds of counting that this total may make up for in one step: one that is counted here
    and put right by a register from time to time."""
    binary: bool = False
    """The value is ON or OFF: a binary sensor."""


class Object(NamedTuple):
    """One register, OBIS object or data set as the meter sent it.

    `raw` is the integer or text before scaling, a hex string for octets; `value` is scaled;
    `unit` is spelled as Home Assistant accepts it, None where the frame carries none; with
    `unknown_unit` it carries one that nobody knows, so the number may not be taken for the
    contract's unit.
    """

    id: SourceId
    raw: int | str | None
    value: Scalar
    unit: str | None = None
    unknown_unit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
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

    A group may also list what this program makes out of other sources (`derived.KEYS`).
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


MAX_POWER = 1_000_000
"""W: a heat meter, or an electricity meter behind current transformers."""
MAX_POWER_DIRECT = 3 * 80 * 230
"""W: a directly connected electricity meter, 3×80 A."""
DIRECT, TRANSFORMERS = "direct", "transformers"
"""How an electricity meter is connected."""
POWER_OF_CONNECTION: Mapping[str, int] = {DIRECT: MAX_POWER_DIRECT, TRANSFORMERS: MAX_POWER}
MAX_FLOW = 200
"""m³/h: a large heat or water meter."""


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
    dialects: Mapping[str, Dialect]
    battery: bool = False
    max_power: int | None = None
    max_flow: int = MAX_FLOW
    interval: float | None = None
    longest: float | None = None
    note: str = ""

    @property
    def power_bound(self) -> int:
        """W that the meter can measure at most."""
        if self.max_power is not None:
            return self.max_power
        return MAX_POWER_DIRECT if self.medium == "electricity" else MAX_POWER


class Measured(NamedTuple):
    """A value with the unit it is published in."""

    value: Scalar
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One group of one meter, read at one moment.

    `time` is the UTC receive time, None while the host's clock cannot be right. `values` holds
    every key that was asked for or listed; a Measured(None) means that no value came. `belongs`
    is the UTC moment that the values belong to where that is not `time` (registers of the full
    hour that come seconds later): the time for history. `anew`: totals that may be less than
    before, by the user's word.
    """

    meter: str
    group: str
    time: datetime | None
    values: Mapping[str, Measured]
    belongs: datetime | None = None
    anew: frozenset[str] = NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who answered: `serial` as the meter tells it, `source` where it was found.

    `details` are device facts for Home Assistant: sw_version, hw_version, model_id.
    """

    meter: str
    serial: str
    source: SourceId
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a reader says about itself; published on the diagnostics topic.

    `port_gone` is the monotonic time since when the port cannot be opened, None while it can.
    `problem`: what is wrong now, in words; `notes`: how the learning goes, in words.
    `held_back`: total -> why it is not believed.
    """

    meter: str
    link_state: LinkState
    last_error: str | None
    counters: Mapping[str, int]
    learned: Mapping[str, str] = field(default_factory=dict)
    port_gone: float | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    held_back: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One record of a meter's own log, for the history alone: `time` is when it was read, `at`
    when the meter wrote it, both UTC."""

    meter: str
    time: datetime | None
    at: datetime
    values: Mapping[str, Measured]


Report: TypeAlias = Reading | Identity | Diagnosis | Logged
"""What travels from the readers to the publisher."""
