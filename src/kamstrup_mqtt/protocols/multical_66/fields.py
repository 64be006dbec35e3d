"""Fields of the answers, and their public keys.

Unit and decimal point of energy, volume, power and flow depend on a code table that the maker does
not publish, so they are published as sent, without unit. Temperatures are in hundredths of a
degree: in a published answer, 0006811 minus 0003366 is 0003445.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from kamstrup_mqtt.core.model import DecodedValue, SourceId

FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "1": ("energy", "volume", "hours", "t1", "t2", "diff", "power", "flow", "peak", "info"),
        "2": ("customer", "ta2", "tl2", "ta3", "tl3", "in_a", "in_b", "abccc", "ddeffgg", "date"),
    }
)
"""Request -> fields of its answer, in order (5511-634 rev C1, 4.1)."""

WHOLE = ("3", "4", "8", "9")
"""Requests whose answers have numbers of seven digits, too. Their meaning is not published, so the
line is published as text. /#5, /#6 and /#7, the logs of 31 months, 60 days and 960 hours, are not
read: their columns are not published, and they take up to a minute of light."""
REQUESTS = (*FIELDS, *WHOLE)

_FIRST_WIDTH: Mapping[str, int] = MappingProxyType({"1": 7, "2": 11})
"""Request -> digits of the first number; the others have seven."""

_HUNDREDTHS: Mapping[str, str] = MappingProxyType({"t1": "°C", "t2": "°C", "diff": "K"})
_TEXT = frozenset(("customer", "abccc", "ddeffgg"))

_KEYS: Mapping[SourceId, str] = MappingProxyType(
    {
        "#1.hours": "operating_hours",
        "#1.t1": "temp1",
        "#1.t2": "temp2",
        "#1.diff": "temp_diff",
        "#1.info": "info_code",
        "#2.customer": "customer_number",
    }
)
SOURCES = (
    *(f"#{n}.{field}" for n, fields in FIELDS.items() for field in fields),
    *(f"#{n}" for n in WHOLE),
)


def request_of(source: SourceId) -> str:
    """Return the request whose answer contains a field: `#1.t1` -> 1."""
    return str(source).removeprefix("#").partition(".")[0]


def objects(request: str, numbers: list[str]) -> tuple[DecodedValue, ...]:
    """Decode an answer to `/#request`. Raises ValueError if the number of fields is wrong."""
    if request in WHOLE:
        line = " ".join(numbers)
        return (DecodedValue(f"#{request}", line, line),)
    fields = FIELDS[request]
    if len(numbers) != len(fields) or len(numbers[0]) != _FIRST_WIDTH[request]:
        raise ValueError(f"not the {len(fields)} numbers of this answer")
    pairs = zip(fields, numbers, strict=True)
    return tuple(_object(f"#{request}.{field}", field, text) for field, text in pairs)


def _object(source: str, field: str, text: str) -> DecodedValue:
    if field in _TEXT:
        return DecodedValue(source, text, text)
    number = int(text)
    if field in _HUNDREDTHS:
        value = Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -2))
        return DecodedValue(source, number, value, _HUNDREDTHS[field])
    return DecodedValue(source, number, Decimal(number), "h" if field == "hours" else None)


def key_of(source: SourceId) -> str | None:
    """Return the public key of a field. None if its meaning depends on the code table."""
    return _KEYS.get(source)


def fallback_key(source: SourceId) -> str:
    """Return the key of a field without a public one: `#1.energy` -> `register_1_energy`."""
    return "register_" + re.sub(r"[^a-z0-9]+", "_", str(source).lower()).strip("_")


def parse_source(text: str) -> SourceId:
    """Return the field that a text names. Raises ValueError with a list of all fields."""
    word = text.strip().lower()
    if word not in SOURCES:
        raise ValueError(f"{text!r} is no field; choose from {', '.join(SOURCES)}")
    return word
