"""What a Kamstrup list counts in, for decoders that know no lists: OBIS code -> exponent, unit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

SCALES: dict[str, tuple[int, str]] = {
    "1.7.0": (0, "W"),
    "2.7.0": (0, "W"),
    "3.7.0": (0, "var"),
    "4.7.0": (0, "var"),
    "1.8.0": (-2, "kWh"),
    "2.8.0": (-2, "kWh"),
    "3.8.0": (-2, "kvarh"),
    "4.8.0": (-2, "kvarh"),
    **{f"{group}.7.0": (-2, "A") for group in (31, 51, 71)},
    **{f"{group}.7.0": (0, "V") for group in (32, 52, 72)},
}
_BY_OCTETS = {
    bytes((1, 1, *map(int, code.split(".")), 255)): (f"1-1:{code}.255", Decimal((0, (1,), e)), u)
    for code, (e, u) in SCALES.items()
}


def values(elements: list[Any]) -> dict[str, tuple[Decimal, str]]:
    """Codes (six bytes) and numbers in turn, behind the list's identifier."""
    found = {}
    for code, value in zip(elements[1::2], elements[2::2], strict=True):
        known = _BY_OCTETS.get(bytes(code)) if code is not None else None
        if known is not None:
            name, step, unit = known
            found[name] = (value * step, unit)
    return found
