"""Units, numbers, dates and clocks of KMP."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.decimal_json import format_decimal
from kamstrup_mqtt.protocols.kmp.values import (
    ASCII,
    BITFIELD,
    DATE,
    DST_DATE_TIME,
    LONG_DATE,
    MONTH_DAY,
    NUMBER,
    RTC,
    RTC_Q,
    TIME,
    UNITS,
    Coded,
    Value,
    decode_value,
    encode_value,
)


def decoded(unit: int, siex: str, data: str) -> Value:
    return decode_value(Coded(unit, int(siex, 16), bytes.fromhex(data)))


@pytest.mark.parametrize(
    ("siex", "data", "text"),
    [
        # Kamstrup 5512-447 rev M1, 4.2
        ("C2", "00003039", "-123.45"),
        ("03", "05397FB1", "87654321000"),
        ("03", "FF", "255000"),
        ("11", "012AF024", "1959120400000000000000000"),
        # seed 002: 0.303 GJ, 11.388 m³, 0.0 kW, 3 l/h, 61.62 °C
        ("43", "0000012F", "0.303"),
        ("43", "00002C7C", "11.388"),
        ("41", "0000", "0.0"),
        ("00", "0003", "3"),
        ("42", "1812", "61.62"),
        # built: a negative zero; 2^128 - 1 has 39 digits and none may be lost
        ("80", "00", "0"),
        ("00", "FF" * 16, "340282366920938463463374607431768211455"),
        ("C3", "FF" * 16, "-340282366920938463463374607431768211.455"),
    ],
)
def test_numbers_keep_every_digit(siex: str, data: str, text: str) -> None:
    value = decoded(NUMBER, siex, data)
    assert isinstance(value.value, Decimal)
    assert format_decimal(value.value) == text
    assert value.raw == int(data, 16)
    assert value.unit is None


# kmp.md 1.7 in the order of the codes, spelled for Home Assistant
ROW = [
    *("Wh", "kWh", "MWh", "GWh", "J", "kJ", "MJ", "GJ", "cal", "kcal", "Mcal", "Gcal"),
    *("varh", "kvarh", "Mvarh", "Gvarh", "VAh", "kVAh", "MVAh", "GVAh", "W", "kW", "MW", "GW"),
    *("var", "kvar", "Mvar", "Gvar", "VA", "kVA", "MVA", "GVA", "V", "A", "kV", "kA", "°C", "K"),
    *("L", "m³", "L/h", "m³/h", "m³×°C", "t", "t/h", "h"),
]
# fmt: off
LATER = {
    0x34: "bar", 0x37: "m³", 0x38: "t", 0x39: "GJ", 0x3A: "min", 0x3C: "s", 0x3D: "ms", 0x3E: "d",
    0x41: "imp/L", 0x42: "L/imp", 0x43: "Hz", 0x44: "°", 0x45: "%", 0x46: "gal", 0x47: "gal/min",
    0x55: "%", 0x56: "%", 0x57: "m/s", 0x58: "kJ/kg", 0x59: "pH", 0x5A: "g/kg",
}
# fmt: on


def test_the_unit_table() -> None:
    assert dict(UNITS) == dict(enumerate(ROW, start=1)) | LATER
    assert (UNITS[0x15], UNITS[0x19], UNITS[0x26]) == ("W", "var", "K")


@pytest.mark.parametrize(
    ("unit", "unknown"),
    # kmp.md 1.7: 00 has no unit, 33 is a number, 4B-4E and 50-54 are unknown
    [(0x00, False), (0x33, False), (0x4B, True), (0x54, True), (0xFF, True)],
)
def test_a_number_without_known_unit_has_none(unit: int, unknown: bool) -> None:
    assert decoded(unit, "41", "007B") == Value(123, Decimal("12.3"), None, unknown)


@pytest.mark.parametrize(("unit", "name"), [(0x37, "m³"), (0x38, "t"), (0x39, "GJ")])
def test_units_of_tens_count_tens(unit: int, name: str) -> None:
    assert decoded(unit, "42", "007B") == Value(123, Decimal("12.3"), name)
    assert decoded(unit, "00", "007B").value == Decimal(1230)


@pytest.mark.parametrize(
    ("unit", "data", "raw", "text"),
    [
        (TIME, "00019258", 103000, "10:30:00"),
        (TIME, "00030E33", 200243, "20:02:43"),  # seed 002
        (TIME, "00000000", 0, "00:00:00"),
        (TIME, "0003A980", 240000, None),
        (DATE, "0000ED98", 60824, "2006-08-24"),
        (DATE, "00035BD0", 220112, "2022-01-12"),
        (DATE, "000224DC", 140508, "2014-05-08"),
        (DATE, "00000000", 0, None),  # never
        (DATE, "0000EEC4", 61124, "2006-11-24"),
        (DATE, "0000EF28", 61224, "2006-12-24"),
        (DATE, "0000EF8C", 61324, None),  # month 13
        (DATE, "000F4240", 1000000, None),  # no year of two digits
        (LONG_DATE, "0132166A", 20059754, None),
        (LONG_DATE, "013353F9", 20141049, None),
        (LONG_DATE, "01335284", 20140676, None),
        (LONG_DATE, "0133523C", 20140604, "2014-06-04"),
        (LONG_DATE, "00000000", 0, None),
        (MONTH_DAY, "00000338", 824, "--08-24"),
        (MONTH_DAY, "000000E5", 229, "--02-29"),
        (MONTH_DAY, "00000000", 0, None),
        (MONTH_DAY, "00002A47", 10823, None),
    ],
)
def test_packed_dates_and_times(unit: int, data: str, raw: int, text: str | None) -> None:
    assert int(data, 16) == raw  # the row itself
    assert decoded(unit, "00", data) == Value(raw, text)


@pytest.mark.parametrize(
    ("unit", "data", "text"),
    [
        (RTC, "0201310f0d0c050e", "2014-05-12T13:15:49"),  # an Omnipower, 2014
        (RTC_Q, "82012102100a090c", "2012-09-10T16:02:33"),  # a 382, 2012
        (RTC, "0000000000000000", None),  # never
        (RTC, "02003b3b171f0cff", None),  # year 255
        (RTC, "0201310f0d0c05", None),  # seven bytes
        (DST_DATE_TIME, "00180c1f000004", "2024-12-31T00:00:04"),
        (DST_DATE_TIME, "3c18061f000004", None),  # 31 June
        (DST_DATE_TIME, "00180c", None),
    ],
)
def test_clocks(unit: int, data: str, text: str | None) -> None:
    assert decoded(unit, "00", data) == Value(data, text)


@pytest.mark.parametrize(
    ("unit", "data", "value"),
    [
        (ASCII, "363834313132", Value("684112", "684112")),
        (ASCII, "303031 20 00", Value("001 ", "001")),
        (ASCII, "000000", Value("", None)),
        (ASCII, "4142C3", Value("4142c3", "4142c3")),
        (BITFIELD, "00000102", Value(258, Decimal(258))),
        (BITFIELD, "000000000000000102", Value("000000000000000102", Decimal(258))),
        (0x49, "C0A80001", Value("c0a80001", "192.168.0.1")),
        (0x48, "180C1F0004", Value("180c1f0004", "180c1f0004")),
        (0x40, "00FF", Value("00ff", "00ff")),
        (0x4A, "00" * 16, Value("00" * 16, "00" * 16)),
        (NUMBER, "", Value(None, None)),
        (DATE, "", Value(None, None)),
    ],
)
def test_texts_and_octets(unit: int, data: str, value: Value) -> None:
    assert decoded(unit, "00", data) == value


@pytest.mark.parametrize(
    ("unit", "text", "nob", "siex", "data"),
    [
        (0x08, "0.303", 4, 0x43, "0000012F"),
        (0x16, "0.0", 2, 0x41, "0000"),
        (0x25, "-123.45", 4, 0xC2, "00003039"),
        (0x01, "2.55E+5", 2, 0x03, "00FF"),
        (0x37, "12.3", 2, 0x42, "007B"),
        (TIME, "10:30:00", 4, 0, "00019258"),
        (DATE, "2022-01-12", 4, 0, "00035BD0"),
        (LONG_DATE, "2014-06-04", 4, 0, "0133523C"),
        (MONTH_DAY, "--08-24", 4, 0, "00000338"),
        (RTC, "2014-05-12T13:15:49", 8, 0, "0201310f0d0c050e"),
        (DST_DATE_TIME, "2024-12-31T00:00:04", 7, 0, "00180c1f000004"),
        (ASCII, "684", 4, 0, "36383400"),
        (BITFIELD, "258", 4, 0, "00000102"),
    ],
)
def test_encoding(unit: int, text: str, nob: int, siex: int, data: str) -> None:
    assert encode_value(unit, text, nob) == Coded(unit, siex, bytes.fromhex(data))


@pytest.mark.parametrize(
    ("unit", "text", "nob"),
    [
        (0x08, "warm", 4),
        (0x08, "NaN", 4),
        (0x08, "Infinity", 4),
        (0x08, "70000", 2),
        (0x08, "1E64", 4),
        (DATE, "2022-13-01", 4),
        (TIME, "25:00:00", 4),
        (ASCII, "toolong", 4),
        (ASCII, "ø", 4),
        (BITFIELD, "x", 4),
    ],
)
def test_encoding_errors(unit: int, text: str, nob: int) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        encode_value(unit, text, nob)


@given(
    st.sampled_from([unit for unit in UNITS if unit not in (0x37, 0x38, 0x39)]),
    st.integers(0, 255),
    st.binary(min_size=1, max_size=16),
)
def test_a_number_encoded_again_is_the_same(unit: int, siex: int, data: bytes) -> None:
    value = decode_value(Coded(unit, siex, data)).value
    assert isinstance(value, Decimal)
    again = decode_value(encode_value(unit, str(value), len(data)))
    assert isinstance(again.value, Decimal)
    assert again.value.as_tuple() == value.as_tuple()


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=255))
def test_decoding_never_raises(unit: int, siex: int, data: bytes) -> None:
    decode_value(Coded(unit, siex, data))
