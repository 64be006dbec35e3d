"""Exact conversion between units of one family, which differ by a power of ten."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact

from kamstrup_mqtt.core.model import Scalar

EXACT = Context(prec=60, traps=[Inexact])
"""For exact arithmetic: 60 digits, and an exception instead of rounding."""

_FITS = 10**EXACT.prec
"""Larger numbers are built from their digits, without a context."""

# family -> unit -> exponent. Joule, calorie and watt-hour do not differ by a power of ten, so each
# has its own family.
_FAMILIES: tuple[dict[str, int], ...] = (
    {"Wh": 0, "kWh": 3, "MWh": 6, "GWh": 9, "TWh": 12},
    {"J": 0, "kJ": 3, "MJ": 6, "GJ": 9},
    {"cal": 0, "kcal": 3, "Mcal": 6, "Gcal": 9},
    {"varh": 0, "kvarh": 3, "Mvarh": 6, "Gvarh": 9},
    {"VAh": 0, "kVAh": 3, "MVAh": 6, "GVAh": 9},
    {"mW": -3, "W": 0, "kW": 3, "MW": 6, "GW": 9},
    {"var": 0, "kvar": 3, "Mvar": 6, "Gvar": 9},
    {"VA": 0, "kVA": 3, "MVA": 6, "GVA": 9},
    {"mV": -3, "V": 0, "kV": 3},
    {"mA": -3, "A": 0, "kA": 3},
    {"L": 0, "m³": 3},
    {"L/h": 0, "m³/h": 3},
    {"kg": 0, "t": 3},
    {"mbar": -3, "bar": 0},
)
_FAMILY = {unit: family for family in _FAMILIES for unit in family}


def factor(sent: str | None, target: str | None) -> int | None:
    """Return the power of ten that converts `sent` to `target`, None for different families."""
    if sent == target:
        return 0
    family = _FAMILY.get(sent or "")
    if family is None or target not in family:
        return None
    return family[sent or ""] - family[target]


def convert(value: Scalar, sent: str | None, target: str | None) -> Scalar:
    """Convert `value` to `target` exactly. Raises ValueError for units of different families."""
    if sent == target:
        return value
    exponent = factor(sent, target)
    if exponent is None:
        raise ValueError(f"{sent or 'no unit'} cannot be converted to {target or 'no unit'}")
    return shift(value, exponent) if isinstance(value, Decimal) else value


def power(count: int, exponent: int) -> Decimal:
    """Return count × 10^exponent with all digits: 4422800 × 10^-2 is 44228.00."""
    if -_FITS < count < _FITS:
        return Decimal(count).scaleb(exponent, EXACT)
    digits = tuple(map(int, str(abs(count))))
    return Decimal((int(count < 0), digits, exponent))


def shift(value: Decimal, exponent: int) -> Decimal:
    """Return value × 10^exponent with all digits (`Decimal.scaleb` rounds to its context).

    Raises ValueError for NaN and infinity.
    """
    sign, digits, value_exponent = value.as_tuple()
    if not isinstance(value_exponent, int):
        raise ValueError(f"not a number that a meter can send: {value}")
    return Decimal((sign, digits, value_exponent + exponent))
