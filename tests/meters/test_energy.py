"""Energies: expected values calculated by hand from the named documents."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.meters import energy

D = Decimal


def same(found: Decimal, text: str) -> bool:
    return str(found) == text


@pytest.mark.parametrize(
    ("total", "unit", "fine", "expected"),
    [
        # Kamstrup 403 technical description, 11.3: 1 234 567.8 kWh and 4 567 890.1 Wh
        ("1234567.8", "kWh", "4567890.1", "1234567890.1"),
        # a user's 403: about 60 GJ, 6 655 807 Wh
        ("60.0", "GJ", "6655807", "16655807"),
        # PyKMP's capture: 0.303 GJ = 84 166.7 Wh
        ("0.303", "GJ", "84208", "84208"),
        # before and after the wrap at 10 MWh
        ("9.999", "MWh", "9999999", "9999999"),
        ("9.999", "MWh", "0", "10000000"),
        ("10.000", "MWh", "0", "10000000"),
        ("10", "MWh", "9999999", "9999999"),
        ("0", "GJ", "9999990", "9999990"),
        # 100 Gcal are 116.3 MWh
        ("100.0", "Gcal", "6300000", "116300000"),
    ],
)
def test_total_from_the_modulo_register(total: str, unit: str, fine: str, expected: str) -> None:
    assert same(energy.from_modulo(D(total), unit, D(fine), "Wh"), expected)


@given(st.integers(0, 10**12), st.sampled_from([("GJ", -3), ("MWh", -3), ("kWh", 0), ("MWh", 0)]))
def test_every_total_is_found_from_the_modulo_register(wh: int, counter: tuple[str, int]) -> None:
    unit, exponent = counter
    # the counter shows whole steps of itself, cut: 0.001 GJ = 1 000 000 / 3600 Wh
    per_step = {"GJ": (10**6, 3600), "MWh": (10 ** (6 + exponent), 1), "kWh": (1000, 1)}[unit]
    shown = wh * per_step[1] // per_step[0]
    total = D(shown).scaleb(exponent)
    assert energy.from_modulo(total, unit, D(wh % 10_000_000), "Wh") == wh


def test_offset_of_a_602() -> None:
    # kmp.md 2.3: a 602 answers 271 211.3 Wh in register 155
    offset = energy.learn_offset(D("35.812"), "MWh", D("271211.3"), "Wh")
    assert same(offset, "35540788.7")
    assert same(energy.from_offset(D("271211.3"), "Wh", offset), "35812000.0")
    assert same(energy.from_offset(D("271299.9"), "Wh", offset), "35812088.6")


def test_offset_has_the_decimals_of_the_counter() -> None:
    # 10.001 GJ = 2 778 055.555... Wh
    assert same(energy.learn_offset(D("10.001"), "GJ", D("100.0"), "Wh"), "2777955.6")


def test_counter_above_the_total_has_a_negative_offset() -> None:
    assert same(energy.learn_offset(D("1"), "kWh", D("1500"), "Wh"), "-500")


@pytest.mark.parametrize(
    ("value", "sent", "wanted", "expected"),
    [
        ("60.123", "MWh", "kWh", "60123"),
        ("60.123", "kWh", "MWh", "0.060123"),
        # 0.303 GJ = 84.1667 kWh; a step of 0.001 GJ is 0.27 kWh: tenths
        ("0.303", "GJ", "kWh", "84.2"),
        ("0.303", "GJ", "MWh", "0.0842"),
        # 1 kWh = 0.0036 GJ
        ("84", "kWh", "GJ", "0.302"),
        ("1", "Wh", "GJ", "0.00000"),
        ("84208", "Wh", "GJ", "0.30315"),
        ("0.9", "GJ", "kWh", "250"),
        # half to even: 0.009 GJ = 2.5 kWh, 0.027 GJ = 7.5 kWh, of a counter that shows 0.1 kWh
        ("9", "MJ", "MWh", "0.0025"),
        # never finer than 1 Wh: 0.000001 GJ are 0.28 Wh
        ("0.000001", "GJ", "kWh", "0.000"),
        ("1.000", "Gcal", "kWh", "1163"),
    ],
)
def test_conversion(value: str, sent: str, wanted: str, expected: str) -> None:
    assert format(energy.convert(D(value), sent, wanted), "f") == expected


@given(st.integers(0, 10**9))
def test_converted_totals_never_fall(count: int) -> None:
    before = energy.convert(D((0, tuple(map(int, str(count))), -3)), "GJ", "kWh")
    after = energy.convert(D((0, tuple(map(int, str(count + 1))), -3)), "GJ", "kWh")
    assert before < after


@pytest.mark.parametrize("unit", ["m³", None])
def test_other_units_are_rejected(unit: str | None) -> None:
    with pytest.raises(ValueError, match="no unit of energy"):
        energy.convert(D(1), unit, "kWh")


def test_consistency_of_register_60_and_the_precise_total() -> None:
    assert energy.is_consistent(D(84208), D("0.303"), "GJ")
    assert not energy.is_consistent(D(10_084_208), D("0.303"), "GJ")
    # the published pair of a 403, "about 60 GJ" and 6 655 807 Wh, is 11 kWh apart
    assert energy.is_consistent(D(16_655_807), D("60.000"), "GJ")
