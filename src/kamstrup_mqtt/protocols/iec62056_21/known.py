"""Readouts of a layout that was met before: the same addresses and units, other digits.

Learned from a readout that `readout` has parsed. Whatever differs is read the plain way, and
learned anew. What comes out is the same (tests/protocols/iec62056_21/test_known.py). The framer
asks first, whether all of a readout has come (tests/protocols/test_whole_frames.py); what it was
told then need not be found out again when the readout is read.

    ident CR LF STX address '(' | digits | '*' unit ')' ... '!' CR LF ETX | BCC
    constant .................. |        | constant ..................... | may be any
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from operator import call
from typing import NamedTuple

from kamstrup_mqtt.model import Json, Scalar
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.iec62056_21.checks import (
    BccKind,
    KnownText,
    expected_rule,
    verdict,
)
from kamstrup_mqtt.protocols.iec62056_21.readout import is_whole, parse_ident, places
from kamstrup_mqtt.protocols.layout import BySize, Rows, TextLayout, new_message
from kamstrup_mqtt.units import EXACT

_STX = b"\x02"


class KnownReadouts:
    """The layouts of one meter's readouts."""

    def __init__(self) -> None:
        self._by_size: BySize[KnownReadout] = BySize()
        self.get = self._by_size.get
        """The layout that readouts of a size may have, None when none is known."""

    def read(self, frame: Frame) -> Message | None:
        """The message in a frame; None when its layout is not known."""
        payload = frame.payload
        known = self.get(len(payload))
        return known.read(payload) if known is not None and frame.direction == "answer" else None

    def learn(self, frame: Frame, read: Message) -> None:
        """Learn from a frame that was read the plain way; `read` is what came out of it."""
        payload = frame.payload
        start = payload.find(_STX) + 1
        if frame.kind != "data" or not start:  # mode D has other checks
            return
        found = list(places(payload[start:-2].decode("ascii")))
        first = len(read.objects) - len(found)  # what the identification tells comes before
        fields = [
            _Field(start + begin, start + end, place)
            for place, (begin, end) in enumerate(found, first)
            if any(48 <= byte < 58 for byte in payload[start + begin : start + end])
        ]
        if len(fields) >= 2:  # else not worth while
            self._by_size.keep(len(payload), KnownReadout(payload, start, fields, read))


class _Field(NamedTuple):
    """A raw value with digits: from where to where, and the place of its object."""

    begin: int
    end: int
    place: int


def _meaning(raw: str, value: Scalar) -> Callable[[str], Scalar]:
    """What `readout` makes a value with, of raw ones that differ from `raw` in their digits."""
    if not isinstance(value, Decimal):
        return str.strip
    if "," in raw:
        return _with_comma
    # a context takes no spaces and rounds, but asks for no other context
    takes_all = len(raw) <= EXACT.prec and raw == raw.strip()
    return EXACT.create_decimal if takes_all else Decimal


def _with_comma(raw: str) -> Decimal:
    return Decimal(raw.replace(",", "."))


class KnownReadout:
    """One layout.

    start      where the block begins
    is_whole   a text of this layout is a readout and cannot be anything else
    waits      the meter goes on only when its identification was answered, or at another speed
    expected   the rule of the check character that its maker is known for
    """

    __slots__ = (
        *("_fields", "_header", "_headers", "_matches", "_matching", "_meanings", "_number"),
        *("_rows", "_text", "expected", "is_whole", "start", "waits"),
    )

    def __init__(self, payload: bytes, start: int, fields: list[_Field], read: Message) -> None:
        layout = TextLayout(payload, [(field.begin, field.end) for field in fields])
        self._number, self._fields = layout.number, layout.fields
        self._rows = Rows(read.objects, [field.place for field in fields])
        self._meanings = tuple(
            _meaning(raw, read.objects[field.place].value)
            for raw, field in zip(self._fields(payload.decode("ascii")), fields, strict=True)
        )
        self._matching = KnownText(payload, start).matching
        self._text = b""  # of this layout, that was looked at last ...
        self._matches: tuple[BccKind, ...] = ()  # ... and by which rules it was right
        self._header = read.header
        self._headers: dict[tuple[BccKind, ...], Mapping[str, Json]] = {}
        ident = parse_ident(payload.splitlines()[0].decode("ascii"))
        self.start = start
        self.is_whole = is_whole(payload)
        self.waits = ident is not None and ident.mode != "A"
        self.expected = expected_rule(ident)

    def matching(self, text: bytes) -> tuple[BccKind, ...] | None:
        """The rules by which the check character of a readout is right; None when it is of another
        layout."""
        number = self._number(text)
        if number is None:
            return None
        self._text = text
        self._matches = matches = self._matching(text, number)
        return matches

    def read(self, payload: bytes) -> Message | None:
        """The message in a readout; None when it is of another layout."""
        if payload is not self._text and self.matching(payload) is None:
            return None
        raws = self._fields(payload.decode("ascii"))
        values = map(call, self._meanings, raws)
        header = self._headers.get(self._matches) or self._learn_header(self._matches)
        return new_message((header, self._rows.objects(raws, values)))

    def _learn_header(self, matches: tuple[BccKind, ...]) -> Mapping[str, Json]:
        header = self._headers[matches] = {**self._header, **verdict(matches)}
        return header
