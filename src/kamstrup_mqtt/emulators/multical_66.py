"""A MULTICAL 66 that answers /#1 to /#4. Without settings, /#1 has a published answer."""

from __future__ import annotations

from collections.abc import Mapping

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators.base import PolledEmulator, Reply
from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.multical_66 import SPEC
from kamstrup_mqtt.protocols.multical_66.codec import ANSWER_BAUDRATE
from kamstrup_mqtt.protocols.multical_66.fields import FIELDS, SOURCES
from kamstrup_mqtt.protocols.multical_66.framing import Multical66Framer, with_parity

_ANSWERS: Mapping[str, str] = {
    "1": "0507109 1296626 0032673 0006811 0003366 0003445 0000031 0000079 0000093 0000000",
    "2": "00002742640 0000000 0000000 0000000 0000000 0000000 0000000 0010423 0000000 0260120",
}

_OTHERS: Mapping[str, str] = {
    "3": "0000001 0000002 0000003 0000004 0000005 0000006",
    "4": "0000041 0000042",
}
"""Answers whose meaning is not published."""
_FIELDS = tuple(source for source in SOURCES if "." in source)


class Multical66Emulator:
    """An emulated meter; see `emulators.base.PolledEmulator`."""

    serial: SerialParams = SPEC.serial

    def __init__(self, numbers: Mapping[str, str]) -> None:
        self._numbers = numbers
        self._framer = Multical66Framer()

    def receive_data(self, data: bytes) -> list[Reply]:
        """Receive bytes from the reader. Returns what the meter answers."""
        self._framer.receive_data(data)
        replies: list[Reply] = []
        while (event := self._framer.next_event()) is not None:
            if isinstance(event, Frame) and event.direction == "request":
                replies += self._answer(chr(event.payload[2]))
        return replies

    def _answer(self, request: str) -> list[Reply]:
        if request in FIELDS:
            text = " ".join(self._numbers[f"#{request}.{field}"] for field in FIELDS[request])
        elif request in _OTHERS:
            text = _OTHERS[request]
        else:
            return []
        text += "\r"
        wire = with_parity(text.encode("ascii"))
        return [Reply(b"", ANSWER_BAUDRATE), Reply(wire, self.serial.baudrate)]


def make(model_id: str, settings: Mapping[str, str]) -> PolledEmulator:
    """Make an emulated meter. Raises ValueError for an unknown setting.

    A setting names a field (`#1.t1`) and its digits.
    """
    numbers = dict(zip(_FIELDS, " ".join(_ANSWERS.values()).split(), strict=True))
    for name, text in settings.items():
        if name not in numbers or not text.removeprefix("-").isdecimal() or len(text) > 11:
            raise ValueError(f"{name}={text}: digits for one of {', '.join(_FIELDS)}")
        numbers[name] = text.zfill(len(numbers[name]))
    return Multical66Emulator(numbers)
