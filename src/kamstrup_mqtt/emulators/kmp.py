"""A MULTICAL that answers GetType, GetSerialNo and GetRegister over KMP.

It answers as the standard says (Kamstrup 5512-447 rev M1, 6.2): a register that it does not have
is left out, a frame that is damaged or meant for another address is met with silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from kamstrup_mqtt import energy, registry
from kamstrup_mqtt.emulators.base import Reply
from kamstrup_mqtt.emulators.kmp_log import KmpLog, log_of
from kamstrup_mqtt.errors import MeterError
from kamstrup_mqtt.model import SerialParams
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.kmp import SPEC
from kamstrup_mqtt.protocols.kmp.framing import ACK, KmpFramer, encode_frame
from kamstrup_mqtt.protocols.kmp.messages import (
    CID_GET_REGISTER,
    CID_GET_SERIAL_NO,
    CID_GET_TYPE,
    CID_SET_CLOCK,
    decode_message,
    register_answer,
    serial_no_answer,
    type_answer,
)
from kamstrup_mqtt.protocols.kmp.registers import KEYS
from kamstrup_mqtt.protocols.kmp.values import (
    ASCII,
    BITFIELD,
    DATE,
    DST_DATE_TIME,
    MONTH_DAY,
    NUMBER,
    RTC,
    TIME,
    UNITS,
    Coded,
    encode_value,
)

_SERIAL = 1001
_NONE = 0x00
_GJ, _W, _KW, _CELSIUS, _KELVIN, _L, _M3, _LH = 0x08, 0x15, 0x16, 0x25, 0x26, 0x27, 0x28, 0x29
_M3H, _M3C, _TON, _HOUR, _BAR, _WH, _SECOND = 0x2A, 0x2B, 0x2C, 0x2E, 0x34, 0x01, 0x3C


@dataclass(frozen=True, slots=True)
class Register:
    """What one register answers: the value as text with every digit, unit code, bytes."""

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
_REGISTERS: Mapping[int, Register] = {
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
    371: Register("0.0", _NONE, 2),
    367: Register("0.0", _NONE, 2),
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
_ELECTRICITY: Mapping[int, Register] = {
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
    **{1170 + n: Register("0.98", _NONE, 2) for n in range(4)},
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

_TYPES: Mapping[str, int] = {
    "multical_601": 0x0004,
    "multical_602": 0x0006,  # not that of a 601; which one it has no source tells
    "kamstrup_382": 0x3500,
    "kamstrup_162": 0x3800,
    "kamstrup_282": 0x3A00,
    "kamstrup_351": 0x3C00,
    "kamstrup_omnia": 0x5A00,
}
"""What GetType answers; of other models no source tells it."""

_UNIT_CODES = {name: code for code, name in reversed(tuple(UNITS.items()))}
_FIXED = ("serial", "type", "software", "address")
_TYPE = re.compile(r"[0-9A-Fa-f]{4}")
_SOFTWARE = re.compile(r"([A-Z])([0-9]{1,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What GetType and GetSerialNo answer, and at which address."""

    serial: int
    type: int = 0x0001
    software: tuple[str, int] = ("G", 1)
    address: int = 0x3F


class KmpEmulator:
    """A meter with these registers; sans-IO."""

    def __init__(
        self,
        identity: Identity,
        registers: Mapping[int, Coded],
        serial: SerialParams = SPEC.serial,
        log: KmpLog | None = None,
    ) -> None:
        self.serial = serial
        self._identity = identity
        self._registers = dict(registers)
        self._log = log
        self._framer = KmpFramer()

    def receive_data(self, data: bytes) -> list[Reply]:
        """Take bytes from the reader; return what the meter answers."""
        self._framer.receive_data(data)
        replies: list[Reply] = []
        while (event := self._framer.next_event()) is not None:
            if isinstance(event, Frame):
                replies += self._replies(event)
        return replies

    def _replies(self, frame: Frame) -> list[Reply]:
        if self._is_set_clock(frame):
            return [Reply(self._set_clock(decode_message(frame)))]
        payload = self._answer(frame)
        return [] if payload is None else [Reply(encode_frame("answer", payload))]

    def _is_set_clock(self, frame: Frame) -> bool:
        mine = frame.payload[:2] == bytes((self._identity.address, CID_SET_CLOCK))
        if frame.direction != "request" or not mine:
            return False
        try:
            return "date" in decode_message(frame).header
        except MeterError:
            return False

    def _answer(self, frame: Frame) -> bytes | None:
        me = self._identity
        if frame.direction != "request" or frame.payload[0] != me.address:
            return None
        try:
            message = decode_message(frame)
        except MeterError:
            return None
        cid = frame.payload[1]
        if cid == CID_GET_TYPE:
            return type_answer(me.address, me.type, *me.software)
        if cid == CID_GET_SERIAL_NO:
            return serial_no_answer(me.address, me.serial)
        if cid == CID_GET_REGISTER:
            asked = message.header["registers"]
            assert isinstance(asked, list)
            return register_answer(me.address, self._known(asked))
        log = self._log
        return log.answer(me.address, frame.payload) if log is not None else None

    def _set_clock(self, message: Message) -> bytes:
        """SetClock is acknowledged; the clock stands still, as everything here does."""
        day, clock = str(message.header["date"]), str(message.header["time"])
        for number, text in ((1003, day), (1002, clock), (348, f"{day}T{clock}")):
            old = self._registers.get(number)
            if old is not None:
                self._registers[number] = encode_value(old.unit, text, len(old.data))
        return bytes((ACK,))

    def _known(self, asked: Iterable[object]) -> list[tuple[int, Coded]]:
        return [
            (register, self._registers[register])
            for register in asked
            if isinstance(register, int) and register in self._registers
        ]


def make(model_id: str, settings: Mapping[str, str]) -> KmpEmulator:
    """The meter `model_id` with its usual values.

    A setting names a register (60, 0x3C, heat_energy, register_266) and its value; an empty value
    leaves the register out of the answers. `60.unit` changes the unit; `serial`, `type` (4 hex
    digits), `software` ("G1") and `address` say who answers. Raises ValueError for any other.
    """
    registers = _registers_of(model_id)
    identity = Identity(serial=_serial_of(model_id), type=_TYPES.get(model_id, 0x0001))
    left_out: set[int] = set()
    # units first: a value is checked against the unit that it is sent in
    for name, text in sorted(settings.items(), key=lambda item: not item[0].endswith(".unit")):
        if name in _FIXED:
            identity = _identify(identity, name, text)
            continue
        number = _register(registers, name.removesuffix(".unit"))
        register = registers.get(number, Register("0", _NONE))
        if name.endswith(".unit"):
            registers[number] = replace(register, unit=_unit(text))
        elif text:
            registers[number] = replace(register, text=text, nob=max(register.nob, 4))
        else:
            left_out.add(number)
    _keep_in_step(registers, settings)
    if "serial" in settings:
        registers[_SERIAL] = replace(registers[_SERIAL], text=str(identity.serial))
    return KmpEmulator(
        identity,
        {number: _coded(number, r) for number, r in registers.items() if number not in left_out},
        registry.all_models()[model_id].dialects[SPEC.name].serial or SPEC.serial,
        log_of(model_id),
    )


def _keep_in_step(registers: dict[int, Register], settings: Mapping[str, str]) -> None:
    """A meter whose energy was set counts the same energy in register 266, unless that was set."""
    names = (name for name in settings if name not in _FIXED and not name.endswith(".unit"))
    set_ = {_register(registers, name) for name in names}
    if 60 not in set_ or 266 in set_ or 266 not in registers:
        return
    unit = UNITS.get(registers[60].unit)
    try:
        wh = energy.in_wh(Decimal(registers[60].text), unit)
    except (ValueError, ArithmeticError):
        return  # no energy: said where it is encoded, or meant so
    registers[266] = replace(registers[266], text=str(int(wh) % energy.PERIOD))


def _registers_of(model_id: str) -> dict[int, Register]:
    """Everything that the model lists; everything there is for a model that lists nothing."""
    dialect = registry.all_models()[model_id].dialects[SPEC.name]
    listed = [*(source for group in dialect.groups.values() for source in group), *dialect.more]
    electric = registry.all_models()[model_id].medium == "electricity"
    table = _ELECTRICITY if electric else _REGISTERS
    registers = {n: r for n, r in table.items() if not listed or n in listed}
    registers[_SERIAL] = Register(str(_serial_of(model_id)), NUMBER)
    return registers


def _serial_of(model_id: str) -> int:
    """Different on every model, so that two emulated meters are two meters."""
    if model_id == "multical_403":
        return 123456
    number = "".join(filter(str.isdigit, model_id))
    return 6_000_000 + int(number or sum(model_id.encode()))


def _register(registers: Mapping[int, Register], name: str) -> int:
    for number in registers:
        if KEYS.get(number) == name:
            return number
    try:
        source = SPEC.source(name)
    except ValueError:
        source = name
    if isinstance(source, int):
        return source
    keys = [KEYS.get(number, f"register_{number}") for number in registers]
    raise ValueError(
        f"{name!r} is no setting of this meter; it has {', '.join((*_FIXED, *keys))}, and any"
        " register by its number (60 or 0x3C); `60.unit` sets a unit"
    )


def _unit(text: str) -> int:
    if text not in _UNIT_CODES:
        raise ValueError(f"{text!r} is no unit of KMP; choose from {', '.join(_UNIT_CODES)}")
    return _UNIT_CODES[text]


def _coded(number: int, register: Register) -> Coded:
    try:
        return encode_value(register.unit, register.text, register.nob)
    except ValueError as error:
        raise ValueError(f"register {number}: {error}") from error


def _identify(identity: Identity, name: str, text: str) -> Identity:
    if name == "serial" and text.isdecimal() and int(text) < 1 << 32:
        return replace(identity, serial=int(text))
    if name == "type" and _TYPE.fullmatch(text):
        return replace(identity, type=int(text, 16))
    if name == "software" and (found := _SOFTWARE.fullmatch(text)) and int(found[2]) < 256:
        return replace(identity, software=(found[1], int(found[2])))
    if name == "address" and (address := _byte(text)) is not None:
        return replace(identity, address=address)
    raise ValueError(
        f"{name}={text!r}: serial is a number up to {2**32 - 1}, type four hex digits (0001),"
        " software a letter and a number (G1), address a byte (0x3F)"
    )


def _byte(text: str) -> int | None:
    try:
        number = int(text, 0)
    except ValueError:
        return None
    return number if 0 <= number < 256 else None
