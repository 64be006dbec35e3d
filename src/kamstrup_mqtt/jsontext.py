"""JSON with exact decimals: `json.dumps` refuses Decimal, and str(Decimal) may write 2.55E+5."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

MAX_DIGITS = 18
"""A number with more significant digits becomes a JSON string: no reader of JSON numbers would
keep them."""


def plain(value: Decimal) -> str:
    """The number in plain notation with every digit it has; a negative zero loses its sign."""
    if not value.is_finite():
        raise ValueError(f"not a number that a meter can send: {value}")
    if value.is_zero():
        value = value.copy_abs()
    return format(value, "f")


def dumps(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON text; Decimals as numbers with all their digits."""
    return _write(value, indent, 0)


def _write(value: Any, indent: int | None, depth: int) -> str:
    if isinstance(value, Decimal):
        text = plain(value)
        return f'"{text}"' if len(text.strip("-0.").replace(".", "")) > MAX_DIGITS else text
    if isinstance(value, str):
        return _ENCODER.encode(value)
    if isinstance(value, Mapping):
        items = [
            f"{_ENCODER.encode(str(key))}: {_write(item, indent, depth + 1)}"
            for key, item in value.items()
        ]
        return _wrap("{", items, "}", indent, depth)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _wrap("[", [_write(item, indent, depth + 1) for item in value], "]", indent, depth)
    return _ENCODER.encode(value)


def _wrap(start: str, items: list[str], end: str, indent: int | None, depth: int) -> str:
    if not items or indent is None:
        return f"{start}{', '.join(items)}{end}"
    pad = " " * indent
    inner = ",\n".join(pad * (depth + 1) + item for item in items)
    return f"{start}\n{inner}\n{pad * depth}{end}"
