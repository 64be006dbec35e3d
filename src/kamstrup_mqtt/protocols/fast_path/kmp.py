"""Answers of a layout that was met before: the same registers, units and sizes, other values.

Learned from an answer that `messages` has read. Whatever differs is read the plain way, and learned
anew. What comes out is the same (tests/protocols/kmp/test_known.py).

    dst | CID | RID | unit | NoB | SiEx | value, NoB bytes | RID ...          5512-447, 6.2.4
    constant .......................... |                  | constant
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple

from kamstrup_mqtt.core.units import EXACT
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.layout import (
    MessageTemplate,
    ObjectTemplate,
    TemplateCache,
    make_message,
)
from kamstrup_mqtt.protocols.kmp.messages import (
    CID_GET_REGISTER,
    REGISTER,
    is_identifier,
    read_register,
)
from kamstrup_mqtt.protocols.kmp.values import Coded, is_number, step

_FORMATS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""NoB -> mantissa of a number; those of other sizes are read one by one."""
_CID: Final = bytes((CID_GET_REGISTER,))


class KmpAnswerCache:
    """The layouts of one meter's GetRegister answers."""

    def __init__(self) -> None:
        self._by_size: TemplateCache[_AnswerTemplate] = TemplateCache()

    def decode(self, frame: Frame) -> Message | None:
        """The message in a frame; None when its layout is not known."""
        known = self._by_size.get(len(frame.payload))
        if known is None or frame.direction != "answer":  # a request may have the same bytes
            return None
        return known.decode(frame.payload)

    def learn(self, frame: Frame, decoded: Message) -> None:
        """Learn from a frame that was read the plain way; `read` is what came out of it."""
        if frame.direction != "answer" or frame.payload[1:2] != _CID:
            return
        spots = list(_fields(frame.payload))
        if sum(spot.form is not None for spot in spots) >= 2:  # else not worth while
            self._by_size.store(len(frame.payload), _AnswerTemplate(frame.payload, spots, decoded))


class _Field(NamedTuple):
    """A value: where it stands, and what its register says of it; `form`: of a number."""

    at: int
    register: int
    unit: int
    nob: int
    siex: int
    form: str | None


def _fields(payload: bytes) -> Iterator[_Field]:
    at = 2
    while at < len(payload):
        register, unit, nob, siex = REGISTER.unpack_from(payload, at)
        at += REGISTER.size
        counts = is_number(unit) and not is_identifier(register, unit, nob)
        yield _Field(at, register, unit, nob, siex, _FORMATS.get(nob) if counts else None)
        at += nob


class _AnswerTemplate:
    """One layout."""

    def __init__(self, payload: bytes, spots: list[_Field], decoded: Message) -> None:
        self._layout = MessageTemplate(payload, [(s.at, s.form or f"{s.nob}s") for s in spots])
        self._header = decoded.header
        numbers = [place for place, spot in enumerate(spots) if spot.form]
        others = [place for place, spot in enumerate(spots) if not spot.form]
        self._steps = [step(spots[place].unit, spots[place].siex) for place in numbers]
        self._numbers_of = itemgetter(*numbers)
        self._others = [(place, spots[place]) for place in others]
        self._rows = ObjectTemplate(decoded.objects, numbers + others)

    def decode(self, payload: bytes) -> Message | None:
        raws = self._layout.values(payload)
        if raws is None:
            return None
        if not self._others:
            values = map(EXACT.multiply, raws, self._steps)
            return make_message((self._header, self._rows.objects(raws, values)))
        numbers = self._numbers_of(raws)
        others = [
            read_register(s.register, Coded(s.unit, s.siex, raws[place]))
            for place, s in self._others
        ]
        objects = self._rows.objects(
            (*numbers, *(other.raw for other in others)),
            (*map(EXACT.multiply, numbers, self._steps), *(other.value for other in others)),
        )
        return Message(self._header, objects)
