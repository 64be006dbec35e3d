"""Units, numbers, dates and clocks of KMP, decoded and encoded.

Source: Kamstrup 5512-447 rev M1, 4.2 and 4.3; units beyond 0x34 from captures and published lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from kamstrup_mqtt.core.model import Scalar
from kamstrup_mqtt.core.units import power

# | unit | NoB | SiEx | value, NoB bytes |                                   5512-447, 4.2
#
# SiEx: bit 7 sign of the value, bit 6 sign of the exponent, bits 5..0 exponent. The mantissa is
# unsigned, its first byte the most significant.
_NEGATIVE = 0x80
_NEGATIVE_EXPONENT = 0x40
_EXPONENT = 0x3F

TIME = 0x2F
DATE = 0x30
LONG_DATE = 0x31
MONTH_DAY = 0x32
NUMBER = 0x33
RTC = 0x35
ASCII = 0x36
BITFIELD = 0x3B
RTC_Q = 0x3F
IPV4 = 0x49
DST_DATE_TIME = 0x4F

# 15 is W and 19 var (rows W, kW, MW, GW), whatever older lists say; 26 is a difference. Spelled as
# Home Assistant accepts them.
# fmt: off
UNITS: Mapping[int, str] = MappingProxyType({
    0x01: "Wh", 0x02: "kWh", 0x03: "MWh", 0x04: "GWh",
    0x05: "J", 0x06: "kJ", 0x07: "MJ", 0x08: "GJ",
    0x09: "cal", 0x0A: "kcal", 0x0B: "Mcal", 0x0C: "Gcal",
    0x0D: "varh", 0x0E: "kvarh", 0x0F: "Mvarh", 0x10: "Gvarh",
    0x11: "VAh", 0x12: "kVAh", 0x13: "MVAh", 0x14: "GVAh",
    0x15: "W", 0x16: "kW", 0x17: "MW", 0x18: "GW",
    0x19: "var", 0x1A: "kvar", 0x1B: "Mvar", 0x1C: "Gvar",
    0x1D: "VA", 0x1E: "kVA", 0x1F: "MVA", 0x20: "GVA",
    0x21: "V", 0x22: "A", 0x23: "kV", 0x24: "kA",
    0x25: "°C", 0x26: "K", 0x27: "L", 0x28: "m³", 0x29: "L/h", 0x2A: "m³/h",
    0x2B: "m³×°C", 0x2C: "t", 0x2D: "t/h", 0x2E: "h", 0x34: "bar",
    0x37: "m³", 0x38: "t", 0x39: "GJ",
    0x3A: "min", 0x3C: "s", 0x3D: "ms", 0x3E: "d",
    0x41: "imp/L", 0x42: "L/imp", 0x43: "Hz", 0x44: "°", 0x45: "%", 0x46: "gal", 0x47: "gal/min",
    0x55: "%", 0x56: "%", 0x57: "m/s", 0x58: "kJ/kg", 0x59: "pH", 0x5A: "g/kg",
})
# fmt: on
"""Unit code -> unit. Other codes have no unit, or are one of the codings below."""

_TENS = frozenset((0x37, 0x38, 0x39))
"""Unit codes m³×10, ton×10, GJ×10."""

_WITHOUT_UNIT = frozenset((0x00, 0x33))
"""Unit codes of numbers without unit."""

_OCTETS = frozenset((0x40, 0x48, 0x4A))
"""Codings that are known by name only (date-time, KamDateTime, IPv6)."""


class Coded(NamedTuple):
    """A value as sent: `siex` is sign and exponent, `data` the NoB bytes."""

    unit: int
    siex: int
    data: bytes


class Value(NamedTuple):
    """A decoded value; see `core.model.DecodedValue` for raw, value and unit."""

    raw: int | str | None
    value: Scalar
    unit: str | None = None
    unknown_unit: bool = False


def decode_value(coded: Coded) -> Value:
    """Decode a value. An impossible date or time (all zero: never) is None, but has its raw."""
    unit, siex, data = coded
    if not data:
        return Value(None, None)
    if unit in _AS_BYTES:
        return _AS_BYTES[unit](data)
    mantissa = int.from_bytes(data, "big")
    if unit in _AS_DIGITS:
        return Value(mantissa, _AS_DIGITS[unit](mantissa))
    negative, exponent, name, unknown = _measure(unit, siex)
    return Value(mantissa, number(mantissa, negative, exponent), name, unknown)


@cache
def _measure(unit: int, siex: int) -> tuple[bool, int, str | None, bool]:
    """Return sign, exponent and unit of a number, and whether the unit is unknown."""
    exponent = siex & _EXPONENT
    if siex & _NEGATIVE_EXPONENT:
        exponent = -exponent
    unknown = unit not in UNITS and unit not in _WITHOUT_UNIT
    return bool(siex & _NEGATIVE), exponent + (unit in _TENS), UNITS.get(unit), unknown


def is_number(unit: int) -> bool:
    """Whether a value of this unit is a mantissa with sign and exponent."""
    return unit not in _AS_BYTES and unit not in _AS_DIGITS


def step(unit: int, siex: int) -> Decimal:
    """Return the value of a mantissa of 1."""
    negative, exponent, _, _ = _measure(unit, siex)
    return number(1, negative, exponent)


def number(mantissa: int, negative: bool, exponent: int) -> Decimal:
    """Return ±mantissa × 10^exponent exactly. -0 keeps its sign."""
    value = power(mantissa, exponent)
    return value.copy_negate() if negative else value


def _pairs(packed: int) -> tuple[int, int, int]:
    return packed // 10_000, packed // 100 % 100, packed % 100


def _valid(make: Callable[[], date | time]) -> str | None:
    try:
        return make().isoformat()
    except (ValueError, OverflowError):  # a mantissa may have any length
        return None


def _time(packed: int) -> str | None:
    """Return a time from hhmmss in decimal digits."""
    hour, minute, second = _pairs(packed)
    return _valid(lambda: time(hour, minute, second))


def _date(packed: int) -> str | None:
    """Return a date of this century from yymmdd in decimal digits."""
    year, month, day = _pairs(packed)
    return _valid(lambda: date(2000 + year, month, day)) if year < 100 else None


def _long_date(packed: int) -> str | None:
    """Return a date from yyyymmdd in decimal digits."""
    year, month, day = _pairs(packed)
    return _valid(lambda: date(year, month, day))


def _month_day(packed: int) -> str | None:
    """Return a day of the year from mmdd in decimal digits. 29 February is valid."""
    year, month, day = _pairs(packed)
    text = _valid(lambda: date(2000, month, day)) if not year else None
    return text and "-" + text.removeprefix("2000")


# RTC     | status | weekday, 1 = Monday | ss | mm | hh | DD | MM | YY |     least significant first
# with DST| DST offset, minutes          | YY | MM | DD | hh | mm | ss |     one byte each
def _rtc(data: bytes) -> Value:
    text = None
    if len(data) == 8:
        second, minute, hour, day, month, year = data[2:]
        text = _date_time(year, month, day, hour, minute, second)
    return Value(data.hex(), text)


def _dst_date_time(data: bytes) -> Value:
    text = None
    if len(data) == 7:
        year, month, day, hour, minute, second = data[1:]
        text = _date_time(year, month, day, hour, minute, second)
    return Value(data.hex(), text)


def _date_time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str | None:
    if year >= 100:
        return None
    # the meter's own time: it names no zone
    return _valid(lambda: datetime(2000 + year, month, day, hour, minute, second))  # noqa: DTZ001


def _ascii(data: bytes) -> Value:
    stripped = data.replace(b"\0", b"")
    if not all(0x20 <= byte < 0x7F for byte in stripped):
        return _octets(data)
    text = stripped.decode("ascii")
    return Value(text, text.strip() or None)


def _bitfield(data: bytes) -> Value:
    bits = int.from_bytes(data, "big")
    return Value(bits if len(data) <= 8 else data.hex(), number(bits, False, 0))


def _ipv4(data: bytes) -> Value:
    return Value(data.hex(), ".".join(map(str, data)))


def _octets(data: bytes) -> Value:
    return Value(data.hex(), data.hex())


_AS_DIGITS: Mapping[int, Callable[[int], str | None]] = MappingProxyType(
    {TIME: _time, DATE: _date, LONG_DATE: _long_date, MONTH_DAY: _month_day}
)
_AS_BYTES: Mapping[int, Callable[[bytes], Value]] = MappingProxyType(
    {
        RTC: _rtc,
        RTC_Q: _rtc,
        DST_DATE_TIME: _dst_date_time,
        ASCII: _ascii,
        BITFIELD: _bitfield,
        IPV4: _ipv4,
    }
    | dict.fromkeys(_OCTETS, _octets)
)

Encoder: TypeAlias = Callable[[str, int], bytes]


def encode_value(unit: int, text: str, nob: int) -> Coded:
    """Encode the value that `decode_value` returns as `text`, in `nob` bytes (fixed for clocks).

    Every digit is kept: "12.50" is 1250 × 10^-2. Raises ValueError if the unit does not allow the
    text, or if it does not fit.
    """
    if unit in _ENCODERS:
        return Coded(unit, 0, _ENCODERS[unit](text, nob))
    sign, digits, exponent = _number(text)
    exponent -= unit in _TENS
    if abs(exponent) > _EXPONENT:
        raise ValueError(f"{text}: more than {_EXPONENT} powers of ten")
    siex = (sign and _NEGATIVE) | (_NEGATIVE_EXPONENT if exponent < 0 else 0) | abs(exponent)
    return Coded(unit, siex, _packed(int("".join(map(str, digits))), nob))


def _number(text: str) -> tuple[int, tuple[int, ...], int]:
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except ArithmeticError:
        exponent = "n"
    if not isinstance(exponent, int):
        raise ValueError(f"{text!r} is no number")
    return sign, digits, exponent


def _packed(mantissa: int, nob: int) -> bytes:
    try:
        return mantissa.to_bytes(nob, "big")
    except OverflowError:
        raise ValueError(f"{mantissa} does not fit into {nob} bytes") from None


def _encode_time(text: str, nob: int) -> bytes:
    return _packed(int(time.fromisoformat(text).strftime("%H%M%S")), nob)


def _encode_date(text: str, nob: int) -> bytes:
    return _packed(int(date.fromisoformat(text).strftime("%y%m%d")), nob)


def _encode_long_date(text: str, nob: int) -> bytes:
    return _packed(int(date.fromisoformat(text).strftime("%Y%m%d")), nob)


def _encode_month_day(text: str, nob: int) -> bytes:
    return _packed(int(date.fromisoformat("2000" + text.removeprefix("-")).strftime("%m%d")), nob)


def _encode_rtc(text: str, _nob: int) -> bytes:
    at = datetime.fromisoformat(text)
    fields = (at.second, at.minute, at.hour, at.day, at.month, at.year % 100)
    return bytes((0x02, at.isoweekday(), *fields))  # status 02: the clock is valid


def _encode_dst_date_time(text: str, _nob: int) -> bytes:
    at = datetime.fromisoformat(text)
    return bytes((0, at.year % 100, at.month, at.day, at.hour, at.minute, at.second))


def _encode_ascii(text: str, nob: int) -> bytes:
    data = text.encode("ascii")
    if len(data) > nob:
        raise ValueError(f"{text!r} does not fit into {nob} bytes")
    return data.ljust(nob, b"\0")


def _encode_bitfield(text: str, nob: int) -> bytes:
    return _packed(int(text), nob)


_ENCODERS: Mapping[int, Encoder] = MappingProxyType(
    {
        TIME: _encode_time,
        DATE: _encode_date,
        LONG_DATE: _encode_long_date,
        MONTH_DAY: _encode_month_day,
        RTC: _encode_rtc,
        RTC_Q: _encode_rtc,
        DST_DATE_TIME: _encode_dst_date_time,
        ASCII: _encode_ascii,
        BITFIELD: _encode_bitfield,
    }
)
