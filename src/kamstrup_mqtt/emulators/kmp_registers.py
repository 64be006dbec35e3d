"""Usual registers and type numbers of emulated KMP meters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kamstrup_mqtt.protocols.kmp.values import (
    ASCII,
    BITFIELD,
    DATE,
    DST_DATE_TIME,
    MONTH_DAY,
    NUMBER,
    RTC,
    TIME,
)

NO_UNIT = 0x00
_GJ, _W, _KW, _CELSIUS, _KELVIN, _L, _M3, _LH = 0x08, 0x15, 0x16, 0x25, 0x26, 0x27, 0x28, 0x29
_M3H, _M3C, _TON, _HOUR, _BAR, _WH, _SECOND = 0x2A, 0x2B, 0x2C, 0x2E, 0x34, 0x01, 0x3C


@dataclass(frozen=True, slots=True)
class Register:
    """A register: its value as text with every digit, its unit code and its size."""

    text: str
    unit: int
    nob: int = 4


def _extremes(first: int, flow: tuple[str, str], power: tuple[str, str]) -> dict[int, Register]:
    values = ((flow, _LH), (power, _KW))
    pairs = [(text, unit) for texts, unit in values for text in texts]
    table: dict[int, Register] = {}
    for n, (text, unit) in enumerate(pairs):
        table[first + 2 * n] = Register(f"2026-01-{12 + n}", DATE)
        table[first + 2 * n + 1] = Register(text, unit, 2)
    return table


# What a MULTICAL 403 in a flat shows in winter; the first eight as a user published them.
REGISTERS: Mapping[int, Register] = {
    60: Register("0.303", _GJ),
    68: Register("11.388", _M3),
    80: Register("0.0", _KW, 2),
    74: Register("3", _LH, 2),
    86: Register("61.62", _CELSIUS, 2),
    87: Register("54.02", _CELSIUS, 2),
    89: Register("7.60", _KELVIN, 2),
    266: Register("84208", _WH),
    61: Register("2.931", _GJ),
    62: Register("2.628", _GJ),
    63: Register("0.000", _GJ),
    94: Register("0.000", _GJ),
    95: Register("0.000", _GJ),
    96: Register("0.000", _GJ),
    97: Register("702", _M3C),
    110: Register("615", _M3C),
    473: Register("0.000", _GJ),
    474: Register("0.000", _GJ),
    364: Register("0.000", _GJ),
    365: Register("0.000", _GJ),
    64: Register("0.000", _GJ),
    65: Register("0.000", _GJ),
    362: Register("0.000", _GJ),
    66: Register("0", NUMBER),
    67: Register("0", NUMBER),
    69: Register("0.000", _M3),
    243: Register("0.012", _M3),
    72: Register("11.201", _TON),
    73: Register("0.000", _TON),
    84: Register("3.17", _M3),
    85: Register("0.00", _M3),
    224: Register("0.00", _M3),
    225: Register("0.00", _M3),
    372: Register("0.0", _KW, 2),
    75: Register("0", _LH, 2),
    88: Register("21.35", _CELSIUS, 2),
    122: Register("0.00", _CELSIUS, 2),
    398: Register("61.6", _CELSIUS, 2),
    399: Register("54.0", _CELSIUS, 2),
    400: Register("7.6", _KELVIN, 2),
    91: Register("4.20", _BAR, 2),
    92: Register("3.80", _BAR, 2),
    371: Register("0.0", NO_UNIT, 2),
    367: Register("0.0", NO_UNIT, 2),
    178: Register("0.000", _GJ),
    179: Register("0.000", _GJ),
    180: Register("0.000", _M3),
    181: Register("0.000", _M3),
    239: Register("11388.4", _L),
    267: Register("0", _WH),
    155: Register("84208.1", _WH),
    1004: Register("7127", _HOUR),
    175: Register("1", _HOUR),
    99: Register("0", NUMBER),
    369: Register("0", BITFIELD),
    113: Register("2", NUMBER),
    222: Register("1", NUMBER),
    **_extremes(123, ("412", "0"), ("24.7", "0.0")),
    **_extremes(138, ("388", "0"), ("22.1", "0.0")),
    383: Register("2026-01-12", DATE),
    384: Register("412", _LH, 2),
    385: Register("2026-01-14", DATE),
    386: Register("24.7", _KW, 2),
    387: Register("2026-01-12", DATE),
    388: Register("388", _LH, 2),
    389: Register("2026-01-14", DATE),
    390: Register("22.1", _KW, 2),
    146: Register("58.40", _CELSIUS, 2),
    147: Register("41.13", _CELSIUS, 2),
    149: Register("60.02", _CELSIUS, 2),
    150: Register("43.77", _CELSIUS, 2),
    379: Register("60.91", _CELSIUS, 2),
    380: Register("44.08", _CELSIUS, 2),
    381: Register("61.20", _CELSIUS, 2),
    382: Register("52.66", _CELSIUS, 2),
    477: Register("21.30", _CELSIUS, 2),
    478: Register("21.40", _CELSIUS, 2),
    505: Register("4.18", _BAR, 2),
    506: Register("3.79", _BAR, 2),
    507: Register("4.21", _BAR, 2),
    508: Register("3.81", _BAR, 2),
    229: Register("61.58", _CELSIUS, 2),
    230: Register("53.97", _CELSIUS, 2),
    366: Register("50.00", _CELSIUS, 2),
    98: Register("--06-01", MONTH_DAY),
    1003: Register("2026-01-20", DATE),
    1002: Register("20:02:43", TIME),
    348: Register("2026-01-20T20:02:43", DST_DATE_TIME, 7),
    152: Register("30010000", NUMBER),
    153: Register("42000", NUMBER),
    168: Register("100100", NUMBER),
    228: Register("0", NUMBER),
    368: Register("0", NUMBER),
    154: Register("41386", NUMBER),
    112: Register("12345678", NUMBER),
    1010: Register("87654321", NUMBER),
    347: Register("1234567887654321", NUMBER, 8),
    114: Register("0", NUMBER),
    104: Register("0", NUMBER),
    234: Register("10", 0x42),
    235: Register("10", 0x42),
    1005: Register("1793", NUMBER),
    346: Register("0", NUMBER),
    404: Register("403", NUMBER),
    1032: Register("0", NUMBER),
    157: Register("0", NUMBER),
    158: Register("32", NUMBER),
    171: Register("0", NUMBER),
    172: Register("0", NUMBER),
    184: Register("1", NUMBER),
    185: Register("123456", NUMBER),
    218: Register("1", NUMBER),
    219: Register("123456", NUMBER),
    220: Register("0", NUMBER),
    221: Register("0", NUMBER),
    259: Register("1.5", _M3H),
    260: Register("0.0", _M3H),
    675: Register("16", _SECOND),
    299: Register("19.5", _CELSIUS, 2),
    292: Register("11.2", _CELSIUS, 2),
}

# What a 382 in a house shows; 13, 1, 1054 and 39 as a captured one had them.
_KWH, _KVARH, _KVAR, _V, _A = 0x02, 0x0E, 0x1A, 0x21, 0x22
ELECTRICITY: Mapping[int, Register] = {
    1: Register("191", _KWH),
    2: Register("0", _KWH),
    13: Register("191.8015", _KWH),
    14: Register("0.0000", _KWH),
    **{n: Register("12.3", _KVARH) for n in (3, 4, 5, 6, 15, 16)},
    19: Register("120", _KWH),
    **{n: Register("0", _KWH) for n in (*range(20, 35), *range(1059, 1075)) if n != 23},
    23: Register("71", _KWH),
    1023: Register("0.412", _KW),
    1024: Register("0.000", _KW),
    1025: Register("0.051", _KVAR),
    1026: Register("0.000", _KVAR),
    **{1054 + n: Register(str(229 + n), _V, 2) for n in range(3)},
    **{1076 + n: Register(f"0.{61 + n}", _A) for n in range(3)},
    **{1080 + n: Register(f"0.{137 + n}", _KW, 2) for n in range(3)},
    **{1344 + n: Register("0.000", _KW, 2) for n in range(3)},
    **{1170 + n: Register("0.98", NO_UNIT, 2) for n in range(4)},
    **{1215 + n: Register("230", _V, 2) for n in range(3)},
    **{1218 + n: Register("0.61", _A, 2) for n in range(3)},
    39: Register("2.286", _KW),
    **{n: Register("0.000", _KW) for n in (40, 41, 42)},
    43: Register("2.720", _KW),
    **{n: Register("0.000", _KW) for n in (44, 45, 46)},
    47: Register("4", NUMBER),
    **{n: Register("1.402", _KW) for n in (1033, 1036, 1190, 1191)},
    **{n: Register("2026-01-12T19:45:00", RTC, 8) for n in (1049, *range(1196, 1202))},
    1050: Register("2026-01-12", DATE),
    1051: Register("19:45:00", TIME),
    **{n: Register("0", NUMBER) for n in (51, 52, 53)},
    1010: Register("14990045", NUMBER, 10),
    1058: Register("684-12-3D", ASCII, 10),
    1126: Register("684-12-3D-123", ASCII, 13),
    50: Register("0", NUMBER),
    1005: Register("1793", NUMBER),
    1003: Register("2026-01-20", DATE),
    1002: Register("20:02:43", TIME),
    1047: Register("2026-01-20T20:02:43", RTC, 8),
    1045: Register("2", NUMBER, 1),
    1004: Register("7127", _HOUR),
    58: Register("0", NUMBER),
    1039: Register("0.000", _KW),
    1040: Register("0", NUMBER),
    1087: Register("1", NUMBER, 1),
    1088: Register("1", NUMBER, 1),
    2010: Register("1", NUMBER, 1),
    1079: Register("24", _KELVIN, 2),
    1271: Register("63", NUMBER, 1),
}

TYPES: Mapping[str, int] = {
    "multical_601": 0x0004,
    "multical_602": 0x0006,  # made up: no source has it
    "kamstrup_382": 0x3500,
    "kamstrup_162": 0x3800,
    "kamstrup_282": 0x3A00,
    "kamstrup_351": 0x3C00,
    "kamstrup_omnia": 0x5A00,
}
"""Model -> type number in the answer to GetType. Those of other models are not published."""
