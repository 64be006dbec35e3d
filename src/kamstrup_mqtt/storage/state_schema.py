"""What is stored of each meter, and the JSON text it is stored as.

    {"version": 2, "meters": {"<id>": {"reader": {"totals": ...}, "device": {"units": ...}}}}

Each meter has two parts with one owner each: `reading` writes the reader's part, `devices` the
device's. Nobody writes into the other's part. Numbers are stored with every digit, and sources
that are numbers stay numbers.

Version 1 had one part for both; `parse` migrates it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.clock import parse_rfc3339, rfc3339
from kamstrup_mqtt.core.model import Scalar, SourceId
from kamstrup_mqtt.meters.auto import AUTO

VERSION = 2
_MAX_EXPONENT = 1000
"""Power of ten, far beyond a mantissa of 255 bytes. A larger one would be written out in full."""
_MAX_SHARED = 64
"""How many mappings `intern_mapping` keeps."""
_V = TypeVar("_V")
CORRUPT_ERRORS = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What reading a damaged text can raise."""


@dataclass(slots=True)
class LastReading:
    """The last valid reading of one group. `values`: key -> value in the key's frozen unit."""

    time: datetime | None
    values: dict[str, Scalar]


@dataclass(slots=True)
class LastTotal:
    """The last accepted value of a total, in `unit`."""

    value: Scalar
    time: datetime | None
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Facts learned about one meter and its line; None where nothing was learned.

    The names are public: they appear on the diagnostics topic. Protocols take and return plain
    mappings of these names; `as_mapping` and `merge` convert them.
    """

    recognised: str | None = None
    manufacturer: str | None = None
    connection: str | None = None
    parity: str | None = None
    model: str | None = None
    clock_offset: str | None = None
    energy_scale: str | None = None
    energy_scale_held: str | None = None
    energy_scale_published: str | None = None
    energy_scale_insisted: str | None = None
    energy_scale_likely: str | None = None
    energy_scale_meter: str | None = None
    energy_offset_wh: str | None = None
    bcc: str | None = None
    sign_on: str | None = None

    def as_mapping(self) -> dict[str, str]:
        """Return what was learned by name."""
        found = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in found if value is not None}

    def merge(self, learned: Mapping[str, str]) -> Learned:
        """Return this with the given names replaced. Raises TypeError for an unknown name."""
        if all(getattr(self, name, None) == value for name, value in learned.items()):
            return self
        return dataclasses.replace(self, **learned)


@dataclass(slots=True)
class ReaderState:
    """What a reader has learned of its meter. Call StateFile.mark_changed after a change.

    model        the configured model that the rest was learned with
    seen_keys    keys that had a value once, of meters that are polled
    last_read    group -> when it was read last
    backfilled   when the meter's log was last read because of a gap
    unsupported  source -> since when the meter is known not to have it
    """

    serial: str | None = None
    serial_source: SourceId | None = None
    model: str | None = None
    seen_keys: tuple[str, ...] = ()
    last_read: dict[str, datetime] = field(default_factory=dict)
    totals: dict[str, LastTotal] = field(default_factory=dict)
    last_poll: datetime | None = None
    backfilled: datetime | None = None
    unsupported: dict[SourceId, datetime] = field(default_factory=dict)
    learned: Learned = Learned()

    def reset(self) -> None:
        """Forget the meter, but not the time of the last poll: the interval counts from it."""
        _clear(self, ReaderState(model=self.model, last_poll=self.last_poll))


@dataclass(slots=True)
class DeviceState:
    """What is published of a meter. Call StateFile.mark_changed after a change.

    Mappings are replaced, never changed in place: they are shared between meters.

    model         the configured model that the rest was published under
    units         key -> its frozen unit, for every key ever seen with a value, in order first seen
    announced     component id -> platform, as the last discovery message listed them
    announced_as  the serial number (with its suffix) that this discovery was sent under
    """

    serial: str | None = None
    serial_source: SourceId | None = None
    model: str | None = None
    details: dict[str, str] = field(default_factory=dict)
    units: Mapping[str, str | None] = field(default_factory=dict)
    readings: dict[str, LastReading] = field(default_factory=dict)
    announced: Mapping[str, str] = field(default_factory=dict)
    announced_as: str | None = None

    def reset(self) -> None:
        """Forget everything but what was announced: that device is still to be removed."""
        announced, announced_as = self.announced, self.announced_as
        fresh = DeviceState(model=self.model, announced=announced, announced_as=announced_as)
        _clear(self, fresh)


class MeterState(NamedTuple):
    """The state of one configured meter: both parts."""

    reader: ReaderState
    device: DeviceState

    @classmethod
    def empty(cls) -> MeterState:
        """Return the state of a meter that was never read."""
        return cls(ReaderState(), DeviceState())


def adopt_model(
    state: ReaderState | DeviceState, model: str, identity: Container[SourceId]
) -> None:
    """Store the configured model. State of another model is kept only if its serial number comes
    from a source that this one has too; else it belongs to another kind of meter."""
    if state.model not in (None, AUTO, model) and state.serial_source not in identity:
        state.reset()
        if isinstance(state, ReaderState):
            state.last_poll = None
    state.model = model


def _clear(state: ReaderState | DeviceState, fresh: ReaderState | DeviceState) -> None:
    for name in state.__slots__:
        setattr(state, name, getattr(fresh, name))


class NewerVersionError(Exception):
    """A text of a later version of this program."""


class StoredState(NamedTuple):
    """The meters of a file and the version that it was written in."""

    version: int
    meters: dict[str, MeterState]


def dumps(meters: Mapping[str, MeterState]) -> str:
    """Return the text of all meters."""
    return decimal_json.dumps(
        {
            "version": VERSION,
            "meters": {
                id_: {"reader": _dump_reader(meter.reader), "device": _dump_device(meter.device)}
                for id_, meter in meters.items()
            },
        }
    )


def _dump_reader(state: ReaderState) -> dict[str, Any]:
    return _without_empty(
        {
            "serial": state.serial,
            "serial_source": state.serial_source,
            "model": state.model,
            "seen_keys": list(state.seen_keys),
            "last_read": {group: rfc3339(time) for group, time in state.last_read.items()},
            "totals": {
                key: {"value": total.value, "unit": total.unit, "time": rfc3339(total.time)}
                for key, total in state.totals.items()
            },
            "last_poll": rfc3339(state.last_poll),
            "backfilled": rfc3339(state.backfilled),
            "unsupported": [[source, rfc3339(time)] for source, time in state.unsupported.items()],
            "learned": state.learned.as_mapping(),
        }
    )


def _dump_device(state: DeviceState) -> dict[str, Any]:
    return _without_empty(
        {
            "serial": state.serial,
            "serial_source": state.serial_source,
            "model": state.model,
            "details": state.details,
            "units": state.units,
            "readings": {
                group: {"time": rfc3339(reading.time), "values": reading.values}
                for group, reading in state.readings.items()
            },
            "announced": state.announced,
            "announced_as": state.announced_as,
        }
    )


def _without_empty(whole: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in whole.items() if value not in (None, {}, [])}


def parse(text: bytes) -> StoredState:
    """Read a file's text. Raises one of CORRUPT_ERRORS, or NewerVersionError."""
    whole = json.loads(text.decode("utf-8"), parse_float=Decimal)
    json.dumps(whole, ensure_ascii=False, default=str).encode()  # refuses half a character
    version = whole["version"]
    if version == 1:
        meters = {id_: _migrate(stored) for id_, stored in whole["meters"].items()}
    elif version == VERSION:
        meters = {
            id_: MeterState(
                _parse_reader(stored.get("reader", {})), _parse_device(stored.get("device", {}))
            )
            for id_, stored in whole["meters"].items()
        }
    else:
        raise NewerVersionError(f"version {version}")
    return StoredState(version, meters)


def _migrate(stored: dict[str, Any]) -> MeterState:
    """Split what version 1 stored of one meter into its parts."""
    device, reader = _parse_device(stored), _parse_reader(stored)
    reader.seen_keys = _intern_tuple(tuple(device.units))
    for key, total in reader.totals.items():
        total.unit = device.units.get(key)
    for group, reading in device.readings.items():
        if reading.time is not None:
            reader.last_read[group] = reading.time
    return MeterState(reader, device)


def _parse_reader(stored: dict[str, Any]) -> ReaderState:
    return ReaderState(
        serial=_text(stored.get("serial")),
        serial_source=_source(stored["serial_source"]) if "serial_source" in stored else None,
        model=_text(stored.get("model")),
        seen_keys=_intern_tuple(tuple(map(_key, stored.get("seen_keys", ())))),
        last_read={
            group: parse_rfc3339(time) for group, time in stored.get("last_read", {}).items()
        },
        totals={
            key: LastTotal(_total(total["value"]), _time(total["time"]), _text(total.get("unit")))
            for key, total in stored.get("totals", {}).items()
        },
        last_poll=_time(stored.get("last_poll")),
        backfilled=_time(stored.get("backfilled")),
        unsupported={
            _source(source): parse_rfc3339(time) for source, time in stored.get("unsupported", [])
        },
        learned=_learned(_texts(stored.get("learned", {}))),
    )


def _parse_device(stored: dict[str, Any]) -> DeviceState:
    return DeviceState(
        serial=_text(stored.get("serial")),
        serial_source=_source(stored["serial_source"]) if "serial_source" in stored else None,
        model=_text(stored.get("model")),
        details=_texts(stored.get("details", {})),
        units=intern_mapping({key: _text(unit) for key, unit in stored.get("units", {}).items()}),
        readings={
            group: LastReading(
                _time(reading["time"]),
                {key: _scalar(value) for key, value in reading["values"].items()},
            )
            for group, reading in stored.get("readings", {}).items()
        },
        announced=intern_mapping(_texts(stored.get("announced", {}))),
        announced_as=_text(stored.get("announced_as")),
    )


def _learned(stored: Mapping[str, str]) -> Learned:
    """Return what was learned; names that this version does not know are left out."""
    known = {name: value for name, value in stored.items() if name in Learned.__slots__}
    return Learned(**known)


@lru_cache(maxsize=_MAX_SHARED)
def _intern_items(items: tuple[tuple[str, _V], ...]) -> Mapping[str, _V]:
    return dict(items)


def intern_mapping(mapping: Mapping[str, _V]) -> Mapping[str, _V]:
    """Return the mapping, or an equal one that was seen before: meters of one model know the same
    keys and are announced with the same components."""
    return _intern_items(tuple(mapping.items()))


@lru_cache(maxsize=_MAX_SHARED)
def _intern_tuple(keys: tuple[str, ...]) -> tuple[str, ...]:
    return keys


def add_seen_keys(known: tuple[str, ...], keys: Iterable[str]) -> tuple[str, ...]:
    """Return the known keys and the new ones among `keys`; equal tuples are one object."""
    new = [key for key in keys if key not in known]
    return _intern_tuple((*known, *new)) if new else known


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} where a text belongs")
    return value


def _key(value: Any) -> str:
    text = _text(value)
    if text is None:
        raise TypeError("null where a key belongs")
    return text


def _texts(values: Any) -> dict[str, str]:
    return {key: _text(value) or "" for key, value in values.items()}


def _source(value: Any) -> SourceId:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{value!r} where a register or an address belongs")
    return value


def _time(value: Any) -> datetime | None:
    return None if value is None else parse_rfc3339(value)


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(f"{value!r} where a value belongs")
    return check_magnitude(Decimal(value))


def check_magnitude(value: Decimal) -> Decimal:
    """Return the number. Raises ValueError for one that no meter can send, and that would be
    written out as a million digits."""
    if not value.is_finite() or abs(value.adjusted()) > _MAX_EXPONENT:
        raise ValueError("a number that no meter can send")
    return value


def _total(value: Any) -> Scalar:
    """A number with more than 18 digits is stored as a text."""
    scalar = _scalar(value)
    return check_magnitude(Decimal(scalar)) if isinstance(scalar, str) else scalar
