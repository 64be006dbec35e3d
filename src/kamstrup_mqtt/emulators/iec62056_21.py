"""Meters with an optical eye that answer a sign-on: modes A and C, 7E1 in software.

Without settings, the 685-382 sends the readout of the seed (KMP382-driver, README).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators.base import PolledEmulator, Reply
from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.iec62056_21 import SPEC, parity
from kamstrup_mqtt.protocols.iec62056_21.addresses import key_of
from kamstrup_mqtt.protocols.iec62056_21.block_check import BccKind, BccVote, bcc
from kamstrup_mqtt.protocols.iec62056_21.framing import IecFramer
from kamstrup_mqtt.protocols.iec62056_21.readout import BAUD_C


@dataclass(frozen=True, slots=True)
class Line:
    """A data set.

    pattern  the digits of the value (`000000,0`), "" for text
    """

    address: str
    value: str
    pattern: str = ""
    unit: str = ""

    @property
    def key(self) -> str:
        """The public key of the value."""
        return key_of(self.address) or self.address

    def text(self, value: str) -> str:
        """Return the data set with `value`. Raises ValueError for an impossible value."""
        if self.pattern:
            value = self._digits(value)
        elif not re.fullmatch(r"[^()/!*\x00-\x1f\x7f-\U0010ffff]{0,32}", value):
            raise ValueError(f"{self.key}={value}: up to 32 ASCII characters without ( ) / ! *")
        return f"{self.address}({value}{'*' + self.unit if self.unit else ''})"

    def _digits(self, value: str) -> str:
        mark = "," if "," in self.pattern else "."
        whole, _, decimals = self.pattern.partition(mark)
        match = re.fullmatch(r"(\d+)(?:[.,](\d+))?", value)
        if not match or len(match[1]) > len(whole) or len(match[2] or "") > len(decimals):
            raise ValueError(
                f"{self.key}={value}: a number of {len(whole)} digits and {len(decimals)} decimals"
            )
        text = match[1].zfill(len(whole))
        return text + (mark + (match[2] or "").ljust(len(decimals), "0") if decimals else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The readout of a model.

    line_end  separates data sets
    last      follows the '!'
    """

    ident: str
    lines: tuple[Line, ...]
    check: BccKind
    line_end: str = "\r\n"
    last: str = "\r\n"
    serial: SerialParams = SPEC.serial


_TWO_STOP_BITS = SerialParams(300, 8, "N", 2, dtr=False, rts=True)

_382C = (
    Line("0.0.0", "12345678"),
    *(
        Line(f"1.8.{tariff}", value, "00000000", "kWh")
        for tariff, value in enumerate(("9032", "9031", "1", "0", "0"))
    ),
    Line("96.8.0", "57392", "0000000", "h"),
    Line("0.128.1", "0", "0000000"),
    Line("1.6.0", "1.078", "0.000", "kW"),
)
_NOT_ON_382L = frozenset(("1.8.3", "1.8.4", "0.128.1"))


def _heat(customer: str, energy: Line, volume: Line, hours: str) -> tuple[Line, ...]:
    return Line("0.0", customer), energy, volume, Line("6.31", hours, "0000000", "h")


_SCRIPTS: Mapping[str, Script] = {
    "e685_382": Script(
        ident="/KAM 685-382-OK-10",
        check="sum",
        lines=(
            Line("0.0", "10865272"),
            Line("1.20", "9032", "0000000", "kWh"),
            Line("1.20.1", "9031", "0000000", "kWh"),
            Line("1.20.2", "1", "0000000", "kWh"),
            Line("1.31", "57392", "0000000", "h"),
            Line("1.26", "0", "0000000"),
            Line("1.6", "1.5", "000000,0", "kW"),
            Line("1.6*1", "2.8", "000000,0"),
        ),
    ),
    "multical_401": Script(
        ident="/KAM0MC",
        check="sum",
        line_end="",
        serial=_TWO_STOP_BITS,
        lines=_heat(
            "00002742640",
            Line("6.8", "456.631", "0000.000", "GJ"),
            Line("6.26", "3447.381", "0000.000", "m3"),
            "40345",
        ),
    ),
    # the format of MeterLogger's captures (test/bcc-test), with values
    "multical_66": Script(
        ident="/KAM MC",
        check="sum",
        serial=_TWO_STOP_BITS,
        lines=_heat(
            "00000000040",
            Line("6.8", "50.71", "00000.00", "MWh"),
            Line("6.26", "129.6", "000000.0", "m3"),
            "53189",
        ),
    ),
    "kamstrup_382c": Script(
        ident="/KAM 68438BC450000",
        check="sum",
        lines=_382C,
    ),
    "kamstrup_382l": Script(
        ident="/KAM5382L",
        check="sum",
        serial=SerialParams(9600, 8, "N", 1, dtr=False, rts=True),
        lines=tuple(line for line in _382C if line.address not in _NOT_ON_382L),
    ),
    "iec_meter": Script(
        ident="/ISk5ME172-0000",
        check="xor",
        lines=(
            Line("0.0.0", "00012345"),
            Line("1.8.0", "14830.986", "0000000.000", "kWh"),
            Line("1.8.1", "5515.448", "0000000.000", "kWh"),
            Line("1.8.2", "9315.538", "0000000.000", "kWh"),
        ),
    ),
}


class IecMeter:
    """An emulated meter.

    settings  public key -> value that replaces the usual one

    It answers with parity bits, unless the reader sends none.
    """

    def __init__(self, script: Script, settings: Mapping[str, str]) -> None:
        self.serial = script.serial
        known = {line.key: line for line in script.lines}
        for key in settings:
            if key not in known:
                raise ValueError(f"{key}: unknown; choose from {', '.join(known)}")
        self._ident = script.ident.encode("ascii") + b"\r\n"
        self._address = settings.get(script.lines[0].key, script.lines[0].value).lstrip("0")
        self._readout = _readout(script, settings)
        self._framer = IecFramer(BccVote("none"))
        self._waiting = False  # for the acknowledgement

    def receive_data(self, data: bytes) -> list[Reply]:
        """Receive bytes from the reader. Returns what the meter answers."""
        self._framer.receive_data(data)
        replies: list[Reply] = []
        while (event := self._framer.next_event()) is not None:
            if isinstance(event, Frame):
                replies += self._react(event)
        return replies

    def _react(self, frame: Frame) -> list[Reply]:
        bare = frame.raw == frame.payload != parity.with_parity(frame.payload)
        if frame.kind == "request":
            return self._sign_on(frame.payload, bare=bare)
        if frame.kind == "ack" and self._waiting:
            return self._acknowledged(chr(frame.payload[2]), bare=bare)
        return []

    def _sign_on(self, request: bytes, *, bare: bool) -> list[Reply]:
        address = request.decode("ascii").strip("\r\n")[2:-1].lstrip("0")
        if address not in ("", self._address):
            return []
        self._waiting = chr(self._ident[4]) in BAUD_C
        if self._waiting:
            return [Reply(_on_the_wire(self._ident, bare=bare))]
        return [Reply(_on_the_wire(self._ident + self._readout, bare=bare))]

    def _acknowledged(self, baud_char: str, *, bare: bool) -> list[Reply]:
        self._waiting = False
        readout = _on_the_wire(self._readout, bare=bare)
        baudrate = BAUD_C[chr(self._ident[4])]
        if baud_char != chr(self._ident[4]) or baudrate == self.serial.baudrate:
            return [Reply(readout)]
        return [Reply(b"", baudrate), Reply(readout, self.serial.baudrate)]


def _on_the_wire(text: bytes, *, bare: bool) -> bytes:
    return text if bare else parity.with_parity(text)


def _readout(script: Script, settings: Mapping[str, str]) -> bytes:
    """Return the block: STX, data sets, '!' CR LF ETX and the check character."""
    sets = [line.text(settings.get(line.key, line.value)) for line in script.lines]
    block = f"{script.line_end.join(sets)}!{script.last}\x03".encode("ascii")
    return b"\x02" + block + bytes((bcc(script.check, block),))


def make(model_id: str, settings: Mapping[str, str]) -> PolledEmulator:
    """Make an emulated meter. Raises ValueError for an unknown model or setting."""
    script = _SCRIPTS.get(model_id)
    if script is None:
        raise ValueError(f"{model_id} cannot be emulated; choose from {', '.join(_SCRIPTS)}")
    return IecMeter(script, settings)
