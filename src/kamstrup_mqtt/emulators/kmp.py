"""A MULTICAL that answers GetType, GetSerialNo and GetRegister over KMP.

It answers as specified (Kamstrup 5512-447 rev M1, 6.2): it leaves out registers that it lacks, and
does not answer a damaged frame or one with another destination.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators.base import Reply
from kamstrup_mqtt.emulators.kmp_log import KmpLog, log_of
from kamstrup_mqtt.emulators.kmp_registers import ELECTRICITY, NO_UNIT, REGISTERS, TYPES, Register
from kamstrup_mqtt.meters import energy, registry
from kamstrup_mqtt.meters.auto import NAME_REGISTER
from kamstrup_mqtt.meters.clock_zone import parse_offset
from kamstrup_mqtt.meters.model import Detection
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
    NUMBER,
    UNITS,
    Coded,
    encode_value,
)

_SERIAL = 1001
_UNIT_CODES = {name: code for code, name in reversed(tuple(UNITS.items()))}
_FIXED = ("serial", "type", "software", "address", "clock")
_TYPE = re.compile(r"[0-9A-Fa-f]{4}")
_SOFTWARE = re.compile(r"([A-Z])([0-9]{1,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The answers to GetType and GetSerialNo, and the destination that the meter answers to."""

    serial: int
    type: int = 0x0001
    software: tuple[str, int] = ("G", 1)
    address: int = 0x3F


CLOCKS = frozenset((1003, 1002, 348))
"""Registers with the meter's clock, unless they are set to another value."""


class MeterClock:
    """The clock of the meter.

    ahead  how far it is ahead of UTC; None for a clock that stands still
    """

    def __init__(self, ahead: timedelta | None = None) -> None:
        self._ahead = ahead
        self._stands = datetime(2026, 1, 20, 20, 2, 43)  # noqa: DTZ001 - the meter's own

    def now(self) -> datetime:
        """Return date and time, without zone."""
        if self._ahead is None:
            return self._stands
        return (datetime.now(UTC) + self._ahead).replace(tzinfo=None, microsecond=0)

    def set(self, at: datetime) -> None:
        """Set the clock."""
        self._stands = at
        if self._ahead is not None:
            self._ahead = at.replace(tzinfo=UTC) - datetime.now(UTC)


class KmpEmulator:
    """An emulated meter; see `emulators.base.PolledEmulator`."""

    def __init__(
        self,
        identity: Identity,
        registers: Mapping[int, Coded],
        serial: SerialParams = SPEC.serial,
        log: KmpLog | None = None,
        clock: MeterClock | None = None,
        telling_time: frozenset[int] = CLOCKS,
    ) -> None:
        self.serial = serial
        self._identity = identity
        self._registers = dict(registers)
        self._log = log
        self._clock = clock or MeterClock()
        self._answers_clock = telling_time
        self._framer = KmpFramer()

    def receive_data(self, data: bytes) -> list[Reply]:
        """Receive bytes from the reader. Returns what the meter answers."""
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
        is_addressed = frame.payload[:2] == bytes((self._identity.address, CID_SET_CLOCK))
        if frame.direction != "request" or not is_addressed:
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
            registers = message.header["registers"]
            assert isinstance(registers, list)
            return register_answer(me.address, self._known(registers))
        log = self._log
        return log.answer(me.address, frame.payload) if log is not None else None

    def _set_clock(self, message: Message) -> bytes:
        day, clock = str(message.header["date"]), str(message.header["time"])
        self._answers_clock = CLOCKS
        self._clock.set(datetime.fromisoformat(f"{day}T{clock}"))
        return bytes((ACK,))

    def _register_value(self, number: int) -> Coded:
        """Return the current value of a register."""
        held = self._registers[number]
        if number not in self._answers_clock:
            return held
        at = self._clock.now()
        texts = {1003: at.date().isoformat(), 1002: at.time().isoformat(), 348: at.isoformat()}
        return encode_value(held.unit, texts[number], len(held.data))

    def _known(self, registers: Iterable[object]) -> list[tuple[int, Coded]]:
        return [
            (register, self._register_value(register))
            for register in registers
            if isinstance(register, int) and register in self._registers
        ]


def make(model_id: str, settings: Mapping[str, str]) -> KmpEmulator:
    """Make an emulated meter with its usual values. Raises ValueError for an unknown setting.

    A setting names a register (60, 0x3C, heat_energy, register_266) and its value; an empty value
    leaves the register out of the answers. `60.unit` changes the unit; `serial`, `type` (4 hex
    digits), `software` ("G1") and `address` identify the meter; `clock=+01:00` lets its clock run,
    that far ahead of UTC.
    """
    registers = _registers_of(model_id)
    identity = Identity(serial=_serial_of(model_id), type=TYPES.get(model_id, 0x0001))
    clock = MeterClock()
    left_out: set[int] = set()
    # units first: a value is checked against the unit that it is sent in
    for name, text in sorted(settings.items(), key=lambda item: not item[0].endswith(".unit")):
        if name == "clock":
            clock = MeterClock(_ahead(text))
            continue
        if name in _FIXED:
            identity = _identify(identity, name, text)
            continue
        number = _register(registers, name.removesuffix(".unit"))
        register = registers.get(number, Register("0", NO_UNIT))
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
        registry.all_models()[model_id].profiles[SPEC.name].serial or SPEC.serial,
        log_of(model_id, clock.now),
        clock,
        CLOCKS - _set_by(registers, settings),
    )


def _set_by(registers: Mapping[int, Register], settings: Mapping[str, str]) -> set[int]:
    """Return the registers with a setting."""
    names = (name for name in settings if name not in _FIXED and not name.endswith(".unit"))
    return {_register(registers, name) for name in names}


def _ahead(text: str) -> timedelta:
    try:
        return parse_offset(text)
    except ValueError:
        raise ValueError(f"clock={text!r}: how far ahead of UTC it runs, such as +01:00") from None


def _keep_in_step(registers: dict[int, Register], settings: Mapping[str, str]) -> None:
    """Copy the energy to register 266 if only the energy is set, so that they agree."""
    set_ = _set_by(registers, settings)
    if 60 not in set_ or 266 in set_ or 266 not in registers:
        return
    unit = UNITS.get(registers[60].unit)
    try:
        wh = energy.in_wh(Decimal(registers[60].text), unit)
    except (ValueError, ArithmeticError):
        return  # not an energy: the encoder reports it, unless it is intended
    registers[266] = replace(registers[266], text=str(int(wh) % energy.PERIOD))


def _registers_of(model_id: str) -> dict[int, Register]:
    """Return the registers that the model lists, or all registers if it lists none."""
    model = registry.all_models()[model_id]
    profile = model.profiles[SPEC.name]
    table = ELECTRICITY if model.medium == "electricity" else REGISTERS
    registers = {n: r for n, r in table.items() if not profile.sources or n in profile.sources}
    registers[_SERIAL] = Register(str(_serial_of(model_id)), NUMBER)
    if NAME_REGISTER in registers and isinstance(profile.detection, Detection):
        for name in profile.detection.names[:1]:
            registers[NAME_REGISTER] = Register(name, NUMBER)
    return registers


def _serial_of(model_id: str) -> int:
    """Return a serial number that is different for every model."""
    if model_id == "multical_403":
        return 123456
    number = "".join(filter(str.isdigit, model_id))
    return 6_000_000 + int(number or sum(model_id.encode()))


def _register(registers: Mapping[int, Register], name: str) -> int:
    for number in registers:
        if KEYS.get(number) == name:
            return number
    try:
        source = SPEC.parse_source(name)
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
