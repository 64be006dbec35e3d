"""KMP messages: decodes and encodes the payload of frames.

Source: Kamstrup 5512-447 rev M1, 6.2. Only requests that read are encoded, and SetClock, which
only `clock --set` sends; PutRegister and Login, which change a billing meter, are never sent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, Json, LinkState
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.kmp.log_messages import CID_LOGGER, CIDS_LOG, decode_log, decode_logger
from kamstrup_mqtt.protocols.kmp.registers import GET_SERIAL_NO, GET_TYPE, IDENTIFIERS, SOFTWARE
from kamstrup_mqtt.protocols.kmp.values import DATE, NUMBER, TIME, Coded, Value, decode_value

CID_GET_TYPE = 0x01
CID_GET_SERIAL_NO = 0x02
CID_SET_CLOCK = 0x09
CID_GET_REGISTER = 0x10

MAX_REGISTERS = 8
"""Registers in one GetRegister request (6.2.4)."""

NAMES: Mapping[int, str] = MappingProxyType(
    {
        CID_GET_TYPE: "GetType",
        CID_GET_SERIAL_NO: "GetSerialNo",
        CID_SET_CLOCK: "SetClock",
        CID_GET_REGISTER: "GetRegister",
        0x11: "PutRegister",
        0x92: "Login",
        0x9B: "GetEventStatus",
        0x9C: "ClearEventStatus",
        0xA0: "GetLogTimePresent",
        0xA1: "GetLogLastPresent",
        0xA2: "GetLogIDPresent",
        0xA3: "GetLogTimePast",
        0xB8: "Logger",
    }
)

_LONG = 8
"""Minimum size of an identification number that is sent as pairs of digits."""

REGISTER = struct.Struct(">HBBB")
"""Register, unit, NoB, SiEx."""

_Fields = tuple[dict[str, Json], tuple[DecodedValue, ...]]


def decode_message(frame: Frame) -> Message:
    """Decode a frame. Raises MeterError if its contents are invalid for its command."""
    if frame.kind == "ack":
        return Message({"direction": frame.direction, "name": "Ack"})
    destination, cid, data = frame.payload[0], frame.payload[1], frame.payload[2:]
    header: dict[str, Json] = {
        "direction": frame.direction,
        "destination": f"0x{destination:02X}",
        "cid": f"0x{cid:02X}",
        "name": NAMES.get(cid, "unknown"),
    }
    decoder = _DECODERS.get((frame.direction, cid), _undecoded)
    try:
        fields, objects = decoder(data)
    except ValueError as error:
        raise MeterError(
            LinkState.BYTES_NO_FRAMES,
            f"{header['name']} {frame.direction} {frame.raw.hex(' ')}: {error}",
        ) from error
    return Message(header | fields, objects)


def _undecoded(data: bytes) -> _Fields:
    return {"data": data.hex()}, ()


def _no_data(data: bytes) -> _Fields:
    _expect_length(data, 0)
    return {}, ()


def _expect_length(data: bytes, length: int) -> None:
    if len(data) != length:
        raise ValueError(f"{len(data)} bytes of data instead of {length}")


# | SN, 4 bytes |                                                            6.2.2
def _serial_no(data: bytes) -> _Fields:
    _expect_length(data, 4)
    serial = int.from_bytes(data, "big")
    return {}, (DecodedValue(GET_SERIAL_NO, serial, str(serial)),)


# | MT, 2 bytes | SW letter, 1 = A | SW number |                             6.2.1
def _type(data: bytes) -> _Fields:
    _expect_length(data, 4)
    kind, (letter, revision) = data[:2].hex().upper(), data[2:]
    known = 1 <= letter <= 26
    software = f"{chr(ord('A') - 1 + letter)}{revision}" if known else data[2:].hex().upper()
    objects = (DecodedValue(GET_TYPE, kind, kind), DecodedValue(SOFTWARE, software, software))
    return {"type": kind, "software": software}, objects


# | yymmdd, 4 bytes | hhmmss, 4 bytes |   both as decimal digits             6.2.3
def _set_clock(data: bytes) -> _Fields:
    _expect_length(data, 8)
    day, clock = decode_value(Coded(DATE, 0, data[:4])), decode_value(Coded(TIME, 0, data[4:]))
    if day.value is None or clock.value is None:
        return _undecoded(data)
    return {"date": day.value, "time": clock.value}, ()


# | n | RID, 2 bytes | ... |                                                 6.2.4, request
def _requested_registers(data: bytes) -> _Fields:
    count = data[0] if data else 0
    if not 1 <= count <= MAX_REGISTERS:
        raise ValueError(f"asks for {count} registers")
    _expect_length(data, 1 + 2 * count)
    registers: list[Json] = [
        int.from_bytes(data[at : at + 2], "big") for at in range(1, len(data), 2)
    ]
    return {"registers": registers}, ()


# | RID, 2 bytes | unit | NoB | SiEx | value, NoB bytes | RID ... |          6.2.4, answer
#
# A register that the meter lacks is left out: only the RID says which register a value belongs to.
def _answered_registers(data: bytes) -> _Fields:
    objects: list[DecodedValue] = []
    at, end = 0, len(data)
    while at < end:
        if end - at < REGISTER.size:
            raise ValueError(f"ends with {data[at:].hex(' ')}, which is no register")
        register, unit, nob, siex = REGISTER.unpack_from(data, at)
        at += REGISTER.size + nob
        if at > end:
            raise ValueError(f"register {register} ends after {nob - at + end} of {nob} bytes")
        objects.append(
            DecodedValue(register, *read_register(register, Coded(unit, siex, data[at - nob : at])))
        )
    return {}, tuple(objects)


def read_register(register: int, coded: Coded) -> Value:
    """Decode the value of a register.

    Electricity meters send long identification numbers as pairs of digits, not as a mantissa.
    """
    if is_identifier(register, coded.unit, len(coded.data)):
        digits = coded.data.hex().upper()
        return Value(digits, digits)
    return decode_value(coded)


def is_identifier(register: int, unit: int, nob: int) -> bool:
    """Whether a register of this unit and size is an identification number in pairs of digits."""
    return unit == NUMBER and nob >= _LONG and register in IDENTIFIERS


def _log(data: bytes) -> _Fields:
    return {"data": data.hex(), **decode_log(data).as_json()}, ()


def _logger(data: bytes) -> _Fields:
    found = decode_logger(data)
    return {"data": data.hex(), **(found.as_json() if found else {})}, ()


_DECODERS: Mapping[tuple[str, int], Callable[[bytes], _Fields]] = MappingProxyType(
    {
        ("request", CID_GET_TYPE): _no_data,
        ("request", CID_GET_SERIAL_NO): _no_data,
        ("request", CID_GET_REGISTER): _requested_registers,
        ("request", CID_SET_CLOCK): _set_clock,
        ("answer", CID_GET_TYPE): _type,
        ("answer", CID_GET_SERIAL_NO): _serial_no,
        ("answer", CID_GET_REGISTER): _answered_registers,
        **{("answer", cid): _log for cid in CIDS_LOG},
        ("answer", CID_LOGGER): _logger,
    }
)


def get_type(destination: int) -> bytes:
    """Encode a GetType request."""
    return bytes((destination, CID_GET_TYPE))


def get_serial_no(destination: int) -> bytes:
    """Encode a GetSerialNo request."""
    return bytes((destination, CID_GET_SERIAL_NO))


def get_register(destination: int, registers: Sequence[int]) -> bytes:
    """Encode a GetRegister request for one to eight registers. Raises ValueError for more."""
    if not 1 <= len(registers) <= MAX_REGISTERS:
        raise ValueError(
            f"{len(registers)} registers in a request: 1 to {MAX_REGISTERS} can be read"
        )
    ids = b"".join(register.to_bytes(2, "big") for register in registers)
    return bytes((destination, CID_GET_REGISTER, len(registers))) + ids


def set_clock(destination: int, at: datetime) -> bytes:
    """Encode a SetClock request (6.2.3)."""
    day, clock = (int(at.strftime(form)).to_bytes(4, "big") for form in ("%y%m%d", "%H%M%S"))
    return bytes((destination, CID_SET_CLOCK)) + day + clock


def type_answer(destination: int, kind: int, letter: str, revision: int) -> bytes:
    """Encode a GetType answer: 0x0004, "F", 1."""
    software = bytes((ord(letter) - ord("A") + 1, revision))
    return bytes((destination, CID_GET_TYPE)) + kind.to_bytes(2, "big") + software


def serial_no_answer(destination: int, serial: int) -> bytes:
    """Encode a GetSerialNo answer."""
    return bytes((destination, CID_GET_SERIAL_NO)) + serial.to_bytes(4, "big")


def register_answer(destination: int, registers: Iterable[tuple[int, Coded]]) -> bytes:
    """Encode a GetRegister answer."""
    body = b"".join(
        register.to_bytes(2, "big") + bytes((v.unit, len(v.data), v.siex)) + v.data
        for register, v in registers
    )
    return bytes((destination, CID_GET_REGISTER)) + body
