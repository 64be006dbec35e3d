"""Templates for KMP GetRegister answers: the same registers, units and sizes, other values.

dst | CID | RID | unit | NoB | SiEx | value, NoB bytes | RID ...          5512-447, 6.2.4
constant .......................... |                  | constant
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple

from kamstrup_mqtt.core.units import EXACT
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.layout import MIN_VALUES, BinaryLayout, ObjectTemplate
from kamstrup_mqtt.protocols.kmp.messages import (
    CID_GET_REGISTER,
    REGISTER,
    is_identifier,
    read_register,
)
from kamstrup_mqtt.protocols.kmp.values import Coded, is_number, step

_FORMATS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""NoB -> `struct` format of a mantissa; mantissas of other sizes are decoded one by one."""
_CID: Final = bytes((CID_GET_REGISTER,))


def make_template(frame: Frame, message: Message) -> AnswerTemplate | None:
    """Return a template for a GetRegister answer. None for any other frame.

    message  the result of the reference parser
    """
    if frame.direction != "answer" or frame.payload[1:2] != _CID:
        return None
    fields = list(_fields(frame.payload))
    if sum(field.form is not None for field in fields) < MIN_VALUES:
        return None
    return AnswerTemplate(frame.payload, fields, message)


class _Field(NamedTuple):
    """The value of a register.

    position         of its first byte in the payload
    unit, nob, siex  as sent before it
    form             `struct` format of a mantissa, None for any other value
    """

    position: int
    register: int
    unit: int
    nob: int
    siex: int
    form: str | None


def _fields(payload: bytes) -> Iterator[_Field]:
    position = 2
    while position < len(payload):
        register, unit, nob, siex = REGISTER.unpack_from(payload, position)
        position += REGISTER.size
        is_mantissa = is_number(unit) and not is_identifier(register, unit, nob)
        form = _FORMATS.get(nob) if is_mantissa else None
        yield _Field(position, register, unit, nob, siex, form)
        position += nob


class AnswerTemplate:
    """Answers of one layout; see `MessageTemplate`."""

    def __init__(self, payload: bytes, fields: list[_Field], learned: Message) -> None:
        self._layout = BinaryLayout(
            payload, [(field.position, field.form or f"{field.nob}s") for field in fields]
        )
        self._header = learned.header
        numbers = [index for index, field in enumerate(fields) if field.form]
        others = [index for index, field in enumerate(fields) if not field.form]
        self._steps = [step(fields[index].unit, fields[index].siex) for index in numbers]
        self._select_numbers = itemgetter(*numbers)
        self._others = [(index, fields[index]) for index in others]
        self._objects = ObjectTemplate(learned.objects, numbers + others)

    def read(self, frame: Frame) -> Message | None:
        """Return the message in a frame. None if it has another layout."""
        raws = self._layout.values(frame.payload)
        if raws is None or frame.direction != "answer":  # a request may have the same bytes
            return None
        if not self._others:
            values = map(EXACT.multiply, raws, self._steps)
            return tuple.__new__(Message, (self._header, self._objects.build(raws, values)))
        numbers = self._select_numbers(raws)
        others = [
            read_register(field.register, Coded(field.unit, field.siex, raws[index]))
            for index, field in self._others
        ]
        objects = self._objects.build(
            (*numbers, *(other.raw for other in others)),
            (*map(EXACT.multiply, numbers, self._steps), *(other.value for other in others)),
        )
        return Message(self._header, objects)
