"""Readouts of a layout that was met before: the same addresses and units, other digits.

Learned from a readout that `readout` has parsed. Whatever differs is read the plain way, and
learned anew. What comes out is the same (tests/protocols/iec62056_21/test_known.py).

    ident CR LF STX address '(' | digits | '*' unit ')' ... '!' CR LF ETX | BCC
    constant .................. |        | constant ..................... | may be any
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from kamstrup_mqtt.model import Json, Scalar
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.iec62056_21.checks import BccKind, BccVote, verdict
from kamstrup_mqtt.protocols.iec62056_21.readout import places
from kamstrup_mqtt.protocols.layout import BySize, Rows, TextLayout

_STX = b"\x02"


class KnownReadouts:
    """The layouts of one meter's readouts. `vote` is the codec's own."""

    def __init__(self, vote: BccVote) -> None:
        self._vote = vote
        self._by_size: BySize[_KnownReadout] = BySize()

    def read(self, frame: Frame) -> Message | None:
        """The message in a frame; None when its layout is not known."""
        known = self._by_size.get(len(frame.payload))
        if known is None or frame.direction != "answer":
            return None
        return known.read(frame.payload)

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
            self._by_size.keep(
                len(payload), _KnownReadout(payload, start, fields, read, self._vote)
            )


class _Field(NamedTuple):
    """A raw value with digits: from where to where, and the place of its object."""

    begin: int
    end: int
    place: int


class _KnownReadout:
    """One layout; the block begins at `start`."""

    def __init__(
        self, payload: bytes, start: int, fields: list[_Field], read: Message, vote: BccVote
    ) -> None:
        numbers = [f for f in fields if isinstance(read.objects[f.place].value, Decimal)]
        texts = [f for f in fields if not isinstance(read.objects[f.place].value, Decimal)]
        fields = numbers + texts
        self._layout = TextLayout(payload[:-1], [(field.begin, field.end) for field in fields])
        self._rows = Rows(read.objects, [field.place for field in fields])
        self._count = len(numbers)
        self._commas = [
            n for n, field in enumerate(numbers) if b"," in payload[field.begin : field.end]
        ]
        self._start = start
        self._vote = vote
        self._header = read.header
        self._headers: dict[tuple[BccKind, ...], Mapping[str, Json]] = {}

    def read(self, payload: bytes) -> Message | None:
        raws = self._layout.values(payload[:-1])
        if raws is None:
            return None
        texts = list(raws)
        for n in self._commas:
            texts[n] = raws[n].replace(",", ".")
        values: list[Scalar] = [*map(Decimal, texts[: self._count])]
        values += [text.strip() for text in texts[self._count :]]
        matches = self._vote.matches(payload[self._start :])
        header = self._headers.get(matches) or self._learn_header(matches)
        return Message(header, self._rows.objects(raws, values))

    def _learn_header(self, matches: tuple[BccKind, ...]) -> Mapping[str, Json]:
        header = self._headers[matches] = {**self._header, **verdict(matches)}
        return header
