"""A 685-382 that answers KMP-ASCII from a memory image and two sets of fields.

Without settings, it answers the bytes recorded in the seed (KMP382-driver, MeterProtocolKMP382.cs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators.base import PolledEmulator, Reply
from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.kmp_ascii import SPEC
from kamstrup_mqtt.protocols.kmp_ascii.fields import (
    ENERGY,
    FIELDS,
    HELLO,
    IDENTITY_RANGE,
    MEMORY,
    TARIFFS,
    Field,
)
from kamstrup_mqtt.protocols.kmp_ascii.framing import MAX_PAYLOAD, KmpAsciiFramer, encode

_HELLO_DATA = bytes.fromhex("02010701")
_IMAGE: Mapping[bytes, bytes] = {
    MEMORY: b"685382OK10"
    + bytes.fromhex("0000004000931000 E803 0000000000000000 FE 40E20100 78CAA500 0000FFFFFFFF00"),
    ENERGY: bytes.fromhex(
        "00002348 00000000 0000DECD 000DC841 00000617 00A5CA78 0000000000000000 10001093"
    ),
    TARIFFS: bytes.fromhex("01 00002348 00002347 00000001"),
}
_MEMORY_SIZE = 0x10000
_FIELD = {field.key: field for field in FIELDS}


class KmpAsciiMeter:
    """An emulated meter.

    settings  public key -> value that replaces the usual one
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.serial: SerialParams = SPEC.serial
        self._framer = KmpAsciiFramer()
        self._data = {command: bytearray(data) for command, data in _IMAGE.items()}
        for key, text in _completed(settings).items():
            self._set(key, text)
        # the rest of the memory is unwritten, as address 0x0384 of the seed's meter
        first = IDENTITY_RANGE[0]
        self._memory = bytearray(b"\xff" * _MEMORY_SIZE)
        self._memory[first : first + len(self._data[MEMORY])] = self._data[MEMORY]

    def receive_data(self, data: bytes) -> list[Reply]:
        """Receive bytes from the reader. Returns what the meter answers."""
        self._framer.receive_data(data)
        replies: list[Reply] = []
        while (event := self._framer.next_event()) is not None:
            if isinstance(event, Frame) and event.direction == "request":
                answer = self._answer(event.payload[:2], event.payload[2:])
                if answer is not None:
                    replies.append(Reply(encode("H", event.payload[:2] + answer)))
        return replies

    def _answer(self, command: bytes, operands: bytes) -> bytes | None:
        # bytes after the operands are ignored: the seed's driver sends one LRC too many
        if command == HELLO:
            return _HELLO_DATA
        if command == MEMORY and len(operands) >= 4:
            first, last = (int.from_bytes(operands[n : n + 2], "big") for n in (0, 2))
            size = last + 1 - first
            return bytes(self._memory[first : last + 1]) if 0 < size <= MAX_PAYLOAD - 2 else None
        if command in (ENERGY, TARIFFS):
            return bytes(self._data[command])
        return None

    def _set(self, key: str, text: str) -> None:
        field = _FIELD.get(key)
        if field is None:
            raise ValueError(f"{key}: unknown; choose from {', '.join(_FIELD)}")
        data = self._data[field.command]
        data[field.offset : field.offset + field.size] = _encode(field, text)


def _encode(field: Field, text: str) -> bytes:
    if field.form == "text":
        if not text.isascii() or not 0 < len(text) <= field.size:
            raise ValueError(f"{field.key}={text}: up to {field.size} ASCII characters")
        return text.encode("ascii").ljust(field.size)
    decimals = 2 if field.form == "total" else 0
    match = re.fullmatch(rf"(\d+)(?:\.(\d{{1,{decimals}}}))?" if decimals else r"(\d+)()", text)
    number = int(match[1] + (match[2] or "").ljust(decimals, "0")) if match else -1
    if not 0 <= number < 1 << 8 * field.size:
        digits = f" with up to {decimals} decimals" if decimals else ""
        raise ValueError(f"{field.key}={text}: a number from 0{digits}, in {field.unit or 'units'}")
    return number.to_bytes(field.size, field.order)


def _completed(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Copy `energy_import` to the other fields with the same total, unless they are set.

    Otherwise the meter would contradict itself, and the reader would reject the total.
    """
    energy = settings.get("energy_import")
    if energy is None or not energy.isdecimal():
        return settings
    followers = {"energy_import_high_res": f"{energy}.33", "energy_import_2": energy}
    tariff_2 = settings.get("energy_import_tariff_2", "1")
    if tariff_2.isdecimal() and int(energy) >= int(tariff_2):
        followers["energy_import_tariff_1"] = str(int(energy) - int(tariff_2))
    return {**followers, **settings}


def make(model_id: str, settings: Mapping[str, str]) -> PolledEmulator:
    """Make an emulated meter. Raises ValueError for an unknown model or setting."""
    if model_id != "e685_382":
        raise ValueError(f"{model_id} cannot be emulated; choose e685_382")
    return KmpAsciiMeter(settings)
