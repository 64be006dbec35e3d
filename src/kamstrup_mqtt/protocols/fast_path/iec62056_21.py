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

from kamstrup_mqtt.core.model import Json, Scalar
from kamstrup_mqtt.core.units import EXACT
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.layout import (
    ObjectTemplate,
    TemplateCache,
    TextTemplate,
    make_message,
)
from kamstrup_mqtt.protocols.iec62056_21.block_check import (
    BccKind,
    TemplateCheck,
    expected_rule,
    header_fields,
)
from kamstrup_mqtt.protocols.iec62056_21.readout import is_whole, parse_ident, value_spans

_STX = b"\x02"


class ReadoutCache:
    """The layouts of one meter's readouts."""

    def __init__(self) -> None:
        self._by_size: TemplateCache[ReadoutTemplate] = TemplateCache()
        self.get = self._by_size.get
        """The layout that readouts of a size may have, None when none is known."""

    def decode(self, frame: Frame) -> Message | None:
        """The message in a frame; None when its layout is not known."""
        _, payload, direction, _ = frame
        known = self.get(len(payload))
        if known is None or direction != "answer":
            return None
        if payload is not known.text and known.matching_rules(payload) is None:
            return None
        raws = known.fields(payload.decode("ascii"))
        return make_message((known.header, known.objects(raws, map(call, known.converters, raws))))

    def learn(self, frame: Frame, decoded: Message) -> None:
        """Learn from a frame that was read the plain way; `read` is what came out of it."""
        payload = frame.payload
        start = payload.find(_STX) + 1
        if frame.kind != "data" or not start:  # mode D has other checks
            return
        found = list(value_spans(payload[start:-2].decode("ascii")))
        first = len(decoded.objects) - len(found)  # what the identification tells comes before
        fields = [
            _Field(start + begin, start + end, place)
            for place, (begin, end) in enumerate(found, first)
            if any(48 <= byte < 58 for byte in payload[start + begin : start + end])
        ]
        if len(fields) >= 2:  # else not worth while
            self._by_size.store(len(payload), ReadoutTemplate(payload, start, fields, decoded))


class _Field(NamedTuple):
    """A raw value with digits: from where to where, and the place of its object."""

    begin: int
    end: int
    place: int


def _converter(raw: str, value: Scalar) -> Callable[[str], Scalar]:
    """What `readout` makes a value with, of raw ones that differ from `raw` in their digits."""
    if not isinstance(value, Decimal):
        return str.strip
    # a context takes no spaces and rounds, but asks for no other context
    takes_all = len(raw) <= EXACT.prec and raw == raw.strip()
    if "," in raw:
        return _with_comma if takes_all else _any_with_comma
    return _decimal if takes_all else Decimal


_decimal = EXACT.create_decimal


def _with_comma(raw: str) -> Decimal:
    return _decimal(raw.replace(",", "."))


def _any_with_comma(raw: str) -> Decimal:
    return Decimal(raw.replace(",", "."))


class ReadoutTemplate:
    """One layout.

    start      where the block begins
    is_whole   a text of this layout is a readout and cannot be anything else
    awaits_ack  the meter goes on only when its identification was answered, or at another speed
    expected_rule  the rule of the check character that its maker is known for

    text       of this layout, that was looked at last; `header` is its message's
    fields     takes the raw values out of a text, decoded
    converters make values of them
    objects    makes all objects of raws and values
    """

    __slots__ = (
        *("_header", "_headers", "_matches", "_matching_rules", "_number"),
        *(
            "expected_rule",
            "fields",
            "header",
            "is_whole",
            "converters",
            "objects",
            "start",
            "text",
        ),
        "awaits_ack",
    )

    def __init__(self, payload: bytes, start: int, fields: list[_Field], decoded: Message) -> None:
        layout = TextTemplate(payload, [(field.begin, field.end) for field in fields])
        self._number, self.fields = layout.number, layout.fields
        self.objects = ObjectTemplate(decoded.objects, [field.place for field in fields]).objects
        self.converters = tuple(
            _converter(raw, decoded.objects[field.place].value)
            for raw, field in zip(self.fields(payload.decode("ascii")), fields, strict=True)
        )
        self._matching_rules = TemplateCheck(payload, start).matching_rules
        self.text = b""
        self._matches: tuple[BccKind, ...] | None = None  # the rules by which it was right
        self.header = self._header = decoded.header
        self._headers: dict[tuple[BccKind, ...], Mapping[str, Json]] = {}
        ident = parse_ident(payload.splitlines()[0].decode("ascii"))
        self.start = start
        self.is_whole = is_whole(payload)
        self.awaits_ack = ident is not None and ident.mode != "A"
        self.expected_rule = expected_rule(ident)

    def matching_rules(self, text: bytes) -> tuple[BccKind, ...] | None:
        """The rules by which the check character of a readout is right; None when it is of another
        layout."""
        number = self._number(text)
        if number is None:
            return None
        self.text = text
        matches = self._matching_rules(text, number)
        if matches != self._matches:
            self._matches = matches
            self.header = self._headers.get(matches) or self._learn_header(matches)
        return matches

    def _learn_header(self, matches: tuple[BccKind, ...]) -> Mapping[str, Json]:
        header = self._headers[matches] = {**self._header, **header_fields(matches)}
        return header
