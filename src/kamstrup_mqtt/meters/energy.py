"""Energies of heat meters: high-resolution totals, and conversion between MWh, GJ and Gcal.

Register 266 of a 302, 303, 403 or 603 is the energy in Wh modulo 10 MWh; register 155 of a 601 or
602 counts Wh from an unknown start. Together with register 60, read in the same request, either
gives the total of the meter to the Wh (Kamstrup 403 technical description, 11.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

from kamstrup_mqtt.core import units

PERIOD = 10_000_000
"""Wh after which register 266 wraps to 0."""

SLACK = 20_000
"""Wh by which register 60 and the precise total may differ, in addition to the resolution of
register 60. In a published pair of a 403 they are 11 kWh apart. Half a period is 5 MWh."""

_WH: Mapping[str, Fraction] = MappingProxyType(
    {unit: Fraction(10) ** n for unit, n in (("Wh", 0), ("kWh", 3), ("MWh", 6), ("GWh", 9))}
    | {unit: Fraction(10**n, 3600) for unit, n in (("J", 0), ("kJ", 3), ("MJ", 6), ("GJ", 9))}
    | {
        # the International Table calorie, 4.1868 J: a Gcal is 1163 kWh
        unit: Fraction(1163, 1_000_000) * Fraction(10) ** n
        for unit, n in (("cal", 0), ("kcal", 3), ("Mcal", 6), ("Gcal", 9))
    }
)
"""Unit -> Wh."""

UNITS = frozenset(_WH)


def in_wh(value: Decimal, unit: str | None) -> Fraction:
    """Return an energy in Wh, exactly. Raises ValueError for a unit that is not one of energy."""
    if unit is None or unit not in _WH:
        raise ValueError(f"{unit or 'no unit'} is no unit of energy")
    return Fraction(value) * _WH[unit]


def step_in_wh(value: Decimal, unit: str | None) -> Fraction:
    """Return the resolution of a counter, which is its last digit, in Wh."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return in_wh(Decimal(1), unit) * Fraction(10) ** exponent


def convert(value: Decimal, unit: str | None, target: str) -> Decimal:
    """Convert an energy to another unit.

    The result is exact within one family (MWh, kWh, Wh). Between families it is rounded half-even
    to the largest power of ten that is not coarser than the resolution of the counter, and never
    finer than 1 Wh. Raises ValueError for a unit that is not one of energy.
    """
    if units.factor(unit, target) is not None:
        found = units.convert(value, unit, target)
        assert isinstance(found, Decimal)
        return found
    exact = in_wh(value, unit) / in_wh(Decimal(1), target)
    step = max(step_in_wh(value, unit), Fraction(1)) / in_wh(Decimal(1), target)
    exponent = _floor_log10(step)
    if Fraction(10) ** exponent * in_wh(Decimal(1), target) < 1:
        exponent += 1
    return quantize(exact, exponent)


def quantize(value: Fraction, exponent: int) -> Decimal:
    """Round `value` half-even to a multiple of 10^exponent."""
    count = round(value / Fraction(10) ** exponent)
    return Decimal((int(count < 0), tuple(map(int, str(abs(count)))), exponent))


def _floor_log10(value: Fraction) -> int:
    exponent = len(str(value.numerator)) - len(str(value.denominator))
    return exponent if Fraction(10) ** exponent <= value else exponent - 1


def from_modulo(total: Decimal, unit: str | None, fine: Decimal, fine_unit: str | None) -> Decimal:
    """Return the total energy in Wh: the value nearest to `total` that ends in `fine`.

    `total` is register 60, `fine` register 266. Raises ValueError for units that are not ones of
    energy.
    """
    rest = convert(fine, fine_unit, "Wh")
    periods = round((in_wh(total, unit) - Fraction(rest)) / PERIOD)
    # just after a wrap, a total of a few Wh would give a negative period
    return units.EXACT.add(rest, Decimal(max(periods, 0) * PERIOD))


def learn_offset(total: Decimal, unit: str | None, fine: Decimal, fine_unit: str | None) -> Decimal:
    """Return the offset that makes register 155 (`fine`) the energy of register 60 (`total`).

    It is in Wh, with the decimals of `fine`. Raises ValueError for units that are not ones of
    energy.
    """
    counted = convert(fine, fine_unit, "Wh")
    exponent = counted.as_tuple().exponent
    assert isinstance(exponent, int)
    return quantize(in_wh(total, unit) - Fraction(counted), exponent)


def from_offset(fine: Decimal, fine_unit: str | None, offset: Decimal) -> Decimal:
    """Return the total energy in Wh: register 155 plus its offset."""
    counted = convert(fine, fine_unit, "Wh")
    assert isinstance(counted, Decimal)
    return units.EXACT.add(counted, offset)


def is_consistent(precise: Decimal, total: Decimal, unit: str | None) -> bool:
    """Return True if register 60 can show the energy `precise` (Wh) as `total`."""
    difference = abs(Fraction(precise) - in_wh(total, unit))
    return difference <= 2 * step_in_wh(total, unit) + SLACK
