"""Templates for IEC 62056-21 readouts: the same addresses and units, other digits.

    ident CR LF STX address '(' | digits | '*' unit ')' ... '!' CR LF ETX | BCC
    constant .................. |        | constant ..................... | any

The framer uses the templates, too: a piece of the stream that is a readout of a known layout is a
frame if its check character and parity are valid (`IecFramer`).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from operator import call
from typing import Final, NamedTuple

from kamstrup_mqtt.core.model import Json, Scalar
from kamstrup_mqtt.core.units import EXACT
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.layout import MIN_VALUES, ObjectTemplate, TextLayout
from kamstrup_mqtt.protocols.iec62056_21.block_check import (
    KINDS,
    BccKind,
    bcc,
    bcc_sum,
    expected_rule,
    header_fields,
)
from kamstrup_mqtt.protocols.iec62056_21.readout import MAX_BLOCK, parse_ident, value_spans

_STX: Final = b"\x02"
_SHORT: Final = 256
_SINGLE_READOUT: Final = re.compile(
    rb"/[A-Za-z]{3}[ -.0-~]{1,33}\r\n\x02[^\x01-\x04/]*\x03[\x00-\x7f]", re.DOTALL
)
"""One identification and one block, without anything that could start or end another frame."""


def make_template(frame: Frame, message: Message) -> ReadoutTemplate | None:
    """Return a template for a readout. None for any other frame.

    message  the result of the reference parser
    """
    payload = frame.payload
    start = payload.find(_STX) + 1
    if frame.kind != "data" or not start:  # a readout in mode D has another check
        return None
    positions = list(value_spans(payload[start:-2].decode("ascii")))
    first = len(message.objects) - len(positions)  # the identification has objects, too
    fields = [
        _Field(start + begin, start + end, place)
        for place, (begin, end) in enumerate(positions, first)
        if any(48 <= byte < 58 for byte in payload[start + begin : start + end])
    ]
    if len(fields) < MIN_VALUES:
        return None
    return ReadoutTemplate(payload, start, fields, message)


class _Field(NamedTuple):
    """A raw value that has digits: its position in the payload, and the index of its object."""

    begin: int
    end: int
    place: int


def _converter(raw: str, value: Scalar) -> Callable[[str], Scalar]:
    """Return the function that converts raw texts which differ from `raw` in digits only."""
    if not isinstance(value, Decimal):
        return str.strip
    # the context takes no spaces and rounds, but is faster than Decimal
    is_short = len(raw) <= EXACT.prec and raw == raw.strip()
    number = EXACT.create_decimal if is_short else Decimal
    return partial(_with_comma, number) if "," in raw else number


def _with_comma(number: Callable[[str], Decimal], raw: str) -> Decimal:
    return number(raw.replace(",", "."))


class BlockCheck:
    """Verifies the check character of readouts that differ in the digits behind `start`, and in
    the check character at their end, alone.

    A block with its check character XORs to 0, so each bit is set an even number of times. The sum
    has the right bit 0. Bits 1 to 3 are counted. Bits 4 to 6 are the same in all digits, so they
    are always the same in the right check character.
    """

    def __init__(self, text: bytes, start: int) -> None:
        size = len(text) - start
        # the lower half of Adler-32 is a sum modulo 65521, which short texts do not reach
        self._sum_of: Callable[[bytes], int] = zlib.adler32 if len(text) <= _SHORT else bcc_sum
        self._sum_before = self._sum_of(text[:start])
        self._upper = bcc("xor", text[start:-1]) & 0x70
        self._bits = [int.from_bytes(bytes((bit,)) * size, "big") for bit in (2, 4, 8)]

    def matching_rules(self, text: bytes, number: int) -> tuple[BccKind, ...]:
        """Return the rules that the last character of `text` fits.

        number  `text` as a big-endian number
        """
        check, total = text[-1], self._sum_of(text) - self._sum_before
        bit1, bit2, bit3 = self._bits
        odd = (
            total
            | (number & bit1).bit_count()
            | (number & bit2).bit_count()
            | (number & bit3).bit_count()
        )
        by_sum = not total - 2 * check & 0x7F
        if odd & 1 or check & 0x70 != self._upper:
            return ("sum",) if by_sum else ()
        return KINDS if by_sum else ("xor",)


class ReadoutTemplate:
    """Readouts of one layout; see `MessageTemplate`.

    start           position of the block, behind STX
    is_single       a readout of this layout is one frame and cannot be anything else
    is_interactive  the meter waits after its identification for an acknowledgement or a new speed
    expected        the rule of the check character that its maker uses, None if unknown
    """

    def __init__(
        self, payload: bytes, start: int, fields: Sequence[_Field], learned: Message
    ) -> None:
        self._layout = TextLayout(payload, [(field.begin, field.end) for field in fields])
        self._objects = ObjectTemplate(learned.objects, [field.place for field in fields])
        self._converters = [
            _converter(raw, learned.objects[field.place].value)
            for raw, field in zip(self._layout.select(payload.decode("ascii")), fields, strict=True)
        ]
        self._check = BlockCheck(payload, start)
        self._header: Mapping[str, Json] = learned.header
        self._rules: tuple[BccKind, ...] | None = None  # of `self._header`
        self._checked: tuple[bytes, tuple[BccKind, ...] | None] = (b"", None)
        ident = parse_ident(payload.splitlines()[0].decode("ascii"))
        self.start = start
        self.is_single = (
            len(payload) <= MAX_BLOCK and _SINGLE_READOUT.fullmatch(payload) is not None
        )
        self.is_interactive = ident is not None and ident.mode != "A"
        self.expected = expected_rule(ident)

    def matching_rules(self, text: bytes) -> tuple[BccKind, ...] | None:
        """Return the rules that the check character of a readout fits. None for another layout."""
        number = self._layout.number(text)
        if number is None:
            return None
        rules = self._check.matching_rules(text, number)
        self._checked = (text, rules)
        return rules

    def read(self, frame: Frame) -> Message | None:
        """Return the message in a frame. None if it has another layout."""
        _, payload, direction, _ = frame
        checked, rules = self._checked
        if payload is not checked:  # else the framer has checked it
            rules = self.matching_rules(payload)
        if rules is None or direction != "answer":
            return None
        if rules != self._rules:
            self._rules, self._header = rules, {**self._header, **header_fields(rules)}
        raws = self._layout.select(payload.decode("ascii"))
        values = map(call, self._converters, raws)
        return tuple.__new__(Message, (self._header, self._objects.build(raws, values)))
