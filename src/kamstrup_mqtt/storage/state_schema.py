"""What is remembered of a meter, and the text it is kept as.

    {"version": 1, "meters": {"<id>": {"serial": "...", "units": {"volume": "m³"}, ...}}}

Numbers stand in it with every digit; sources that are numbers stay numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.clock import parse_rfc3339, rfc3339
from kamstrup_mqtt.core.model import Scalar, SourceId

VERSION = 1
_MAX_EXPONENT = 1000
"""Of ten; far beyond a mantissa of 255 bytes. More would be written out as that many digits."""
_MAX_SHARED = 64
"""Mappings that `intern_mapping` knows."""
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


@dataclass(slots=True)
class MeterState:
    """What is remembered of one configured meter. Whoever changes it calls Memory.changed().
    Mappings are replaced, never changed in place: others hold them too.

    units      key -> its frozen unit, for every key ever seen with a value, in order first seen
    backfilled when the meter's own log was last read because of a gap
    announced  component id -> platform, as the last discovery sent for this meter listed them
    announced_as  the serial number (with its suffix) that this discovery was sent under
    """

    serial: str | None = None
    serial_source: SourceId | None = None
    model: str | None = None
    details: dict[str, str] = field(default_factory=dict)
    units: Mapping[str, str | None] = field(default_factory=dict)
    readings: dict[str, LastReading] = field(default_factory=dict)
    totals: dict[str, LastTotal] = field(default_factory=dict)
    last_poll: datetime | None = None
    backfilled: datetime | None = None
    unsupported: dict[SourceId, datetime] = field(default_factory=dict)
    learned: Mapping[str, str] = field(default_factory=dict)
    announced: Mapping[str, str] = field(default_factory=dict)
    announced_as: str | None = None


class NewerVersionError(Exception):
    """A text of a later version of this program."""


def dumps(meters: Mapping[str, MeterState]) -> str:
    """The text of all meters."""
    return decimal_json.dumps(
        {"version": VERSION, "meters": {id_: _stored(meter) for id_, meter in meters.items()}}
    )


def _stored(meter: MeterState) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "serial": meter.serial,
        "serial_source": meter.serial_source,
        "model": meter.model,
        "details": meter.details,
        "units": meter.units,
        "readings": {
            group: {"time": rfc3339(reading.time), "values": reading.values}
            for group, reading in meter.readings.items()
        },
        "totals": {
            key: {"value": total.value, "time": rfc3339(total.time)}
            for key, total in meter.totals.items()
        },
        "last_poll": rfc3339(meter.last_poll),
        "backfilled": rfc3339(meter.backfilled),
        "unsupported": [[source, rfc3339(time)] for source, time in meter.unsupported.items()],
        "learned": meter.learned,
        "announced": meter.announced,
        "announced_as": meter.announced_as,
    }
    return {name: value for name, value in whole.items() if value not in (None, {}, [])}


def parse(text: bytes) -> dict[str, MeterState]:
    """The meters in the file; raises one of CORRUPT, or NewerVersionError."""
    whole = json.loads(text.decode("utf-8"), parse_float=Decimal)
    json.dumps(whole, ensure_ascii=False, default=str).encode()  # half a character has no place
    if whole["version"] != VERSION:
        raise NewerVersionError(f"version {whole['version']}")
    return {id_: _meter(stored) for id_, stored in whole["meters"].items()}


def _meter(stored: dict[str, Any]) -> MeterState:
    return MeterState(
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
        totals={
            key: LastTotal(_total(total["value"]), _time(total["time"]))
            for key, total in stored.get("totals", {}).items()
        },
        last_poll=_time(stored.get("last_poll")),
        backfilled=_time(stored.get("backfilled")),
        unsupported={
            _source(source): parse_rfc3339(time) for source, time in stored.get("unsupported", [])
        },
        learned=_texts(stored.get("learned", {})),
        announced=intern_mapping(_texts(stored.get("announced", {}))),
        announced_as=_text(stored.get("announced_as")),
    )


@lru_cache(maxsize=_MAX_SHARED)
def _of_items(items: tuple[tuple[str, _V], ...]) -> Mapping[str, _V]:
    return dict(items)


def intern_mapping(mapping: Mapping[str, _V]) -> Mapping[str, _V]:
    """The mapping, or one like it that was seen before: meters of one model know the same keys,
    and are announced with the same components."""
    return _of_items(tuple(mapping.items()))


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} where a text belongs")
    return value


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
    """The number; raises ValueError for one that no meter can send, and that would be written out
    as a million digits."""
    if not value.is_finite() or abs(value.adjusted()) > _MAX_EXPONENT:
        raise ValueError("a number that no meter can send")
    return value


def _total(value: Any) -> Scalar:
    """A number with more than 18 digits stands in the file as a text."""
    scalar = _scalar(value)
    return check_magnitude(Decimal(scalar)) if isinstance(scalar, str) else scalar
