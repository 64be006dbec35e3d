"""Exact conversion between units that differ by a power of ten."""

from __future__ import annotations

from decimal import Decimal, Inexact

import pytest

from kamstrup_mqtt.core.units import EXACT, convert, factor, shift


@pytest.mark.parametrize(
    ("value", "sent", "target", "result"),
    [
        ("12340", "Wh", "kWh", "12.340"),
        ("0.303", "MWh", "kWh", "303"),
        ("1", "GJ", "kJ", "1E+6"),
        ("5", "Gcal", "Mcal", "5E+3"),
        ("1.50", "kW", "W", "1.50E+3"),
        ("61.6", "L/h", "m³/h", "0.0616"),
        ("2500", "L", "m³", "2.500"),
        ("1013", "mbar", "bar", "1.013"),
        ("7", "°C", "°C", "7"),
        ("7", None, None, "7"),
    ],
)
def test_convert(value: str, sent: str | None, target: str | None, result: str) -> None:
    converted = convert(Decimal(value), sent, target)
    assert isinstance(converted, Decimal)
    assert converted.as_tuple() == Decimal(result).as_tuple()


@pytest.mark.parametrize(
    ("sent", "target", "message"),
    [
        ("GJ", "MWh", "GJ cannot be converted to MWh"),
        ("Gcal", "GJ", "Gcal cannot be converted to GJ"),
        ("K", "°C", "K cannot be converted to °C"),
        (None, "kWh", "no unit cannot be converted to kWh"),
        ("kWh", None, "kWh cannot be converted to no unit"),
        ("m³", "t", "m³ cannot be converted to t"),
    ],
)
def test_units_of_other_families_are_rejected(
    sent: str | None, target: str | None, message: str
) -> None:
    assert factor(sent, target) is None
    with pytest.raises(ValueError, match=f"^{message}$"):
        convert(Decimal(1), sent, target)


def test_text_and_none_are_not_converted() -> None:
    assert convert("0012", None, None) == "0012"
    assert convert(None, "Wh", "kWh") is None


@pytest.mark.parametrize("digits", [39, 200])
def test_no_digit_is_lost(digits: int) -> None:
    mantissa = ("1234567890" * 20)[:digits]
    assert format(shift(Decimal(mantissa), -3), "f") == f"{mantissa[:-3]}.{mantissa[-3:]}"


def test_nan_and_infinity_are_rejected() -> None:
    with pytest.raises(ValueError, match="not a number that a meter can send: NaN"):
        shift(Decimal("NaN"), 1)


def test_the_exact_context_does_not_round() -> None:
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))
