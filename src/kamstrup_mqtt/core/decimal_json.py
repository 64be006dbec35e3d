"""JSON with exact decimals. `json.dumps` rejects Decimal, and str(Decimal) may return 2.55E+5."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

MAX_DIGITS = 18
"""Significant digits above which a number becomes a JSON string, because JSON readers round it."""


def format_decimal(value: Decimal) -> str:
    """Return the number in plain notation with all its digits. Negative zero loses its sign.

    Raises ValueError for NaN and infinity.
    """
    if not value.is_finite():
        raise ValueError(f"not a number that a meter can send: {value}")
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    return text[1:] if text[0] == "-" and not value else text


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON text, Decimals as numbers with all their digits."""
    return _write(value, indent, 0)


class ObjectWriter:
    """Writes objects that always have the same keys, as `dumps` does but faster.

    A key without a value is null.
    """

    __slots__ = ("_names",)

    def __init__(self, keys: Iterable[str]) -> None:
        self._names = tuple((key, f"{encode_basestring(key)}: ") for key in keys)

    def dumps(self, values: Mapping[str, Any]) -> str:
        """Return the object as JSON text."""
        members = []
        for key, name in self._names:
            value = values.get(key)
            text = _number(value) if isinstance(value, Decimal) else _write(value, None, 0)
            members.append(name + text)
        return f"{{{', '.join(members)}}}"


def _write(value: Any, indent: int | None, depth: int) -> str:
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, dict | Mapping):
        items = [
            f"{encode_basestring(str(key))}: {_write(item, indent, depth + 1)}"
            for key, item in value.items()
        ]
        return _wrap("{", items, "}", indent, depth)
    if isinstance(value, list | tuple | Sequence) and not isinstance(value, bytes):
        return _wrap("[", [_write(item, indent, depth + 1) for item in value], "]", indent, depth)
    return _ENCODER.encode(value)


def _number(value: Decimal) -> str:
    text = format_decimal(value)
    # the length of the text bounds the number of digits
    if len(text) > MAX_DIGITS and len(text.strip("-0.").replace(".", "")) > MAX_DIGITS:
        return f'"{text}"'
    return text


def _wrap(start: str, items: list[str], end: str, indent: int | None, depth: int) -> str:
    if not items or indent is None:
        return f"{start}{', '.join(items)}{end}"
    pad = " " * indent
    inner = ",\n".join(pad * (depth + 1) + item for item in items)
    return f"{start}\n{inner}\n{pad * depth}{end}"
