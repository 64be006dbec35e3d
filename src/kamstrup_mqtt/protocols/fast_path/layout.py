"""Messages of one layout: the same bytes but for their values, taken apart without being walked.

A meter sends the same message for ever, and only values change. Whoever has read one message the
plain way knows where its values stand; the next one of that layout needs no second walk.

    constant | value | constant | value | ... | constant       a constant may be empty

What a protocol builds of this (`han.known`, `kmp.known`, `iec62056_21.known`) tells the same as its
plain way, whatever comes: tests hold the two against each other on every recording and on random
changes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.protocols.base import Frame, Message

MAX_TEMPLATES: Final = 8
"""Layouts of one meter that are kept; real meters have up to four."""
MAX_SHARED: Final = 64
"""Of what the layouts of several meters have in common: so many are kept for the next meter."""


@lru_cache(maxsize=MAX_SHARED)
def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


_struct = lru_cache(maxsize=MAX_SHARED)(struct.Struct)
_from_bytes = int.from_bytes  # bound once, not for every message


class _BaseTemplate:
    """What is the same in all messages of a layout: `data`, where `mask` is FF."""

    __slots__ = ("_constants", "_mask", "_size")

    def __init__(self, data: bytes, mask: bytearray) -> None:
        self._size = len(data)
        self._mask = _number(bytes(mask))
        self._constants = int.from_bytes(data, "big") & self._mask

    def _matches(self, data: bytes) -> bool:
        """Compared as one number: all bytes at once."""
        return len(data) == self._size and _from_bytes(data, "big") & self._mask == self._constants


class MessageTemplate(_BaseTemplate):
    """Learned from `data`, whose values stand at `spots`: position and format of `struct` ("I", or
    "12s" for bytes) in ascending order. Everything between them is constant."""

    __slots__ = ("_struct",)

    def __init__(self, data: bytes, spots: Iterable[tuple[int, str]]) -> None:
        fields, mask, end = [">"], bytearray(b"\xff" * len(data)), 0
        for at, form in spots:
            size = struct.calcsize(f">{form}")
            fields.append(f"{at - end}x{form}")
            mask[at : at + size] = bytes(size)
            end = at + size
        fields.append(f"{len(data) - end}x")
        self._struct = _struct("".join(fields))
        super().__init__(data, mask)

    def values(self, data: bytes) -> tuple[Any, ...] | None:
        """The values of a message of this layout; None when it is of another."""
        return self._struct.unpack(data) if self._matches(data) else None


class TextTemplate(_BaseTemplate):
    """The same for ASCII text: of the `fields` (from, to; two or more, in any order) the digits may
    change, no other character; a digit stays a digit, and a decimal point where it is. The last
    byte, behind the fields, may be any: a check character.

    A digit is 3 in its upper half, before and after 6 is added: 30..39 become 36..3F. Nothing is
    carried into the next byte."""

    __slots__ = ("_sixes", "fields")

    def __init__(self, data: bytes, fields: Sequence[tuple[int, int]]) -> None:
        mask, sixes = bytearray(b"\xff" * len(data)), bytearray(len(data))
        for start, end in fields:
            for at in range(start, end):
                if data[at : at + 1].isdigit():
                    mask[at], sixes[at] = 0xF0, 6
        mask[-1] = 0
        self._sixes = _number(bytes(sixes))
        self.fields: Callable[[str], tuple[str, ...]]
        self.fields = itemgetter(*(slice(start, end) for start, end in fields))
        """Takes the fields out of a message that is of this layout, decoded."""
        super().__init__(data, mask)

    def number(self, data: bytes) -> int | None:
        """A message of this layout as one number; None when it is of another."""
        if len(data) != self._size:
            return None
        number = _from_bytes(data, "big")
        constants, mask = self._constants, self._mask
        if number & mask != constants or number + self._sixes & mask != constants:
            return None
        return number


class _Tuple(tuple[Any, ...]):
    __slots__ = ()


_Row = TypeVar("_Row", bound=tuple[Any, ...])


def _tuple_constructor(named: type[_Row]) -> Callable[[tuple[Any, ...]], _Row]:
    """Makes instances of a NamedTuple from its whole row as a tuple is made: without a call of
    Python's for each. They are as any other."""
    fields = {"__slots__": (), "__new__": tuple.__new__, "__module__": named.__module__}
    made: type[_Row] = type(named.__name__, (_Tuple, named), fields)
    return made


make_frame: Final = _tuple_constructor(Frame)
make_message: Final = _tuple_constructor(Message)
_make_value: Final = _tuple_constructor(DecodedValue)


class _Columns(NamedTuple):
    """Of the changing objects of a message: their ids, units, and whether those are unknown.
    `in_order` puts the changing and the constant ones where they belong."""

    ids: tuple[SourceId, ...]
    units: tuple[str | None, ...]
    unknown: tuple[bool, ...]
    in_order: Callable[[list[DecodedValue]], tuple[DecodedValue, ...]]


@lru_cache(maxsize=MAX_SHARED)
def _columns(
    ids: tuple[SourceId, ...],
    units: tuple[str | None, ...],
    unknown: tuple[bool, ...],
    order: tuple[int, ...],
) -> _Columns:
    """`order`: the places of the constant objects, then of the changing ones."""
    places = sorted(order)
    if list(order) == places:
        return _Columns(ids, units, unknown, tuple)
    return _Columns(ids, units, unknown, itemgetter(*map(order.index, places)))


class ObjectTemplate:
    """The objects of a message: as they were in the one that was learned, but that raw and value
    of those at the places `changing` are new each time."""

    __slots__ = ("_constant", "_ids", "_in_order", "_units", "_unknown")

    def __init__(self, learned: Sequence[DecodedValue], changing: Sequence[int]) -> None:
        constant = [place for place in range(len(learned)) if place not in changing]
        self._constant = tuple(learned[place] for place in constant)
        new = [learned[place] for place in changing]
        self._ids, self._units, self._unknown, self._in_order = _columns(
            tuple(obj.id for obj in new),
            tuple(obj.unit for obj in new),
            tuple(obj.unknown_unit for obj in new),
            (*constant, *changing),
        )

    def objects(
        self, raws: Iterable[int | str | None], values: Iterable[Scalar]
    ) -> tuple[DecodedValue, ...]:
        """All objects of the message; raws and values in the order of `changing`."""
        rows = zip(self._ids, raws, values, self._units, self._unknown)  # noqa: B905 (takes time)
        return self._in_order([*self._constant, *map(_make_value, rows)])


_Known = TypeVar("_Known")


class TemplateCache(Generic[_Known]):
    """What is known of one meter's messages, one layout for each size. A meter that sends a new
    one each time makes it forget, not grow."""

    def __init__(self) -> None:
        self._by_size: dict[int, _Known] = {}
        self.get = self._by_size.get
        """What is known of messages of a size, None when nothing is."""

    def store(self, size: int, known: _Known) -> None:
        """Know this from now on, in place of what was known of that size."""
        if size not in self._by_size and len(self._by_size) >= MAX_TEMPLATES:
            self._by_size.clear()
        self._by_size[size] = known
