"""Value types shared by the rooms: decoded values, measurements, and the readers' reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Scalar: TypeAlias = Decimal | str | None
"""An exact number, a text (dates and times in ISO 8601), or None if there is no value."""

SourceId: TypeAlias = int | str
"""Identifies a value in its protocol: a KMP register number (60), an OBIS code
("1-1:1.7.0.255"), an IEC 62056-21 address ("1.20.1") or a KMP-ASCII field ("FE90.energy")."""

EMPTY: Final[frozenset[Any]] = frozenset()
"""A shared empty set. `frozenset(())` allocates 216 bytes on each call."""

Json: TypeAlias = "Decimal | str | int | bool | Mapping[str, Json] | list[Json] | None"


DIRECT, TRANSFORMERS = "direct", "transformers"
"""How an electricity meter is connected."""


class LinkState(StrEnum):
    """State of the link to a meter; the options of the `link_state` entity."""

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
    """Settings of a serial line. If `dtr` or `rts` is None, the driver decides."""

    baudrate: int
    bytesize: int = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: int = 1
    dtr: bool | None = None
    rts: bool | None = None

    def __str__(self) -> str:
        return f"{self.baudrate} {self.bytesize}{self.parity}{self.stopbits}"


class DecodedValue(NamedTuple):
    """One register, OBIS object or data set as the meter sent it.

    raw           integer or text before scaling, or octets as a hex string
    value         scaled value
    unit          unit in Home Assistant's spelling, None if the frame carries none
    unknown_unit  the frame carries a unit that is not known, so the expected one does not apply
    """

    id: SourceId
    raw: int | str | None
    value: Scalar
    unit: str | None = None
    unknown_unit: bool = False


class Measurement(NamedTuple):
    """A value and the unit in which it is published."""

    value: Scalar
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One group of one meter, read at one moment.

    `time` is the UTC receive time, None while the host's clock cannot be right. `values` holds
    every key that was requested or listed; Measurement(None) means that there is no value.
    `measured_at` is the UTC moment that the values belong to where that is not `time` (registers
    of the full hour that are sent seconds later): the time for history.
    """

    meter: str
    group: str
    time: datetime | None
    values: Mapping[str, Measurement]
    measured_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which meter answers: its serial number and the source that it was read from.

    `details` are device facts for Home Assistant: sw_version, hw_version, model_id.
    """

    meter: str
    serial: str
    source: SourceId
    details: Mapping[str, str] = field(default_factory=dict)

    def is_other_meter(self, serial: str | None, source: SourceId | None) -> bool:
        """Return whether this is another meter than the one with this number.

        Numbers from different sources cannot be compared.
        """
        return serial is not None and source == self.source and serial != self.serial


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The state of a reader, published on the diagnostics topic.

    learned          what the reader has learned of the meter, by public name
    port_gone_since  monotonic time since when the port cannot be opened, None while it can
    problem          the present problem as text
    notes            the progress of learning as text
    held_back        reason by rejected total
    unsupported      sources that the meter does not have
    """

    meter: str
    link_state: LinkState
    last_error: str | None
    counters: Mapping[str, int]
    learned: Mapping[str, str] = field(default_factory=dict)
    port_gone_since: float | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    held_back: Mapping[str, str] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedState:
    """The live counters of a meter that the broker has retained, for the meter's reader.

    `time` is the latest time at which they can have been published, None if unknown.
    """

    meter: str
    time: datetime | None
    values: Mapping[str, Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedReading:
    """A record of the log in the meter, for the history only.

    time         UTC time of the request
    measured_at  UTC time at which the meter stored the record
    """

    meter: str
    time: datetime | None
    measured_at: datetime
    values: Mapping[str, Measurement]


Report: TypeAlias = Reading | Identity | Diagnosis | LoggedReading
"""A message from a reader to the publisher."""
