"""Message layouts: which bytes of a message are values, and which never change.

A meter sends messages of a few layouts for years; only the values in them change. After the
reference parser of a protocol has read one message, the positions of its values are known, and
the next message of the same layout needs no parsing:

    constant | value | constant | value | ... | constant       a constant may be empty

A message whose constants differ is left to the reference parser, whose result becomes the next
template. Both give the same result for any input; tests/protocols/fast_path compares them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from kamstrup_mqtt.core.model import DecodedValue, Scalar
from kamstrup_mqtt.protocols.base import Frame, Message

MAX_LAYOUTS: Final = 8
"""Layouts kept for one meter; real meters have up to four."""
MIN_VALUES: Final = 2
"""Values that a message must have for its layout to be worth learning."""


class _Constants:
    """The constant bytes of a layout: those of `data` where `mask` is FF.

    All bytes are compared at once, as one number.
    """

    def __init__(self, data: bytes, mask: bytearray) -> None:
        self._size = len(data)
        self._mask = int.from_bytes(mask, "big")
        self._constants = int.from_bytes(data, "big") & self._mask


class BinaryLayout(_Constants):
    """The layout of a binary message, learned from `data`.

    fields  position and `struct` format of each value ("I", or "12s" for bytes), in ascending
            order; everything between them is constant
    """

    def __init__(self, data: bytes, fields: Iterable[tuple[int, str]]) -> None:
        formats, mask, end = [">"], bytearray(b"\xff" * len(data)), 0
        for position, form in fields:
            size = struct.calcsize(f">{form}")
            formats.append(f"{position - end}x{form}")
            mask[position : position + size] = bytes(size)
            end = position + size
        formats.append(f"{len(data) - end}x")
        self._unpack = struct.Struct("".join(formats)).unpack
        super().__init__(data, mask)

    def values(self, data: bytes) -> tuple[Any, ...] | None:
        """Return the values of a message. None if it has another layout."""
        if len(data) != self._size:
            return None
        if int.from_bytes(data, "big") & self._mask != self._constants:
            return None
        return self._unpack(data)


class TextLayout(_Constants):
    """The layout of an ASCII message, learned from `data`.

    fields  start and end of each value, two or more, in any order. Only their digits may change:
            a digit stays a digit, a decimal point stays where it is.

    The last byte, which follows all fields, may be anything: it is a check character.

    A byte is a digit if its upper half is 3, and still is after 6 was added: 30..39 become
    36..3F. Nothing carries over into the next byte.
    """

    def __init__(self, data: bytes, fields: Sequence[tuple[int, int]]) -> None:
        mask, sixes = bytearray(b"\xff" * len(data)), bytearray(len(data))
        for start, end in fields:
            for position in range(start, end):
                if data[position : position + 1].isdigit():
                    mask[position], sixes[position] = 0xF0, 6
        mask[-1] = 0
        self._sixes = int.from_bytes(sixes, "big")
        self.select: Callable[[str], tuple[str, ...]]
        self.select = itemgetter(*(slice(start, end) for start, end in fields))
        """Returns the fields of a decoded message that has this layout."""
        super().__init__(data, mask)

    def number(self, data: bytes) -> int | None:
        """Return a message as one big-endian number. None if it has another layout."""
        if len(data) != self._size:
            return None
        number = int.from_bytes(data, "big")
        constants, mask = self._constants, self._mask
        if number & mask != constants or number + self._sixes & mask != constants:
            return None
        return number


class ObjectTemplate:
    """Rebuilds the objects of a message.

    Those at the indices `changing` get a new raw and value, the others are those of the learned
    message.
    """

    def __init__(self, learned: Sequence[DecodedValue], changing: Sequence[int]) -> None:
        constant = [index for index in range(len(learned)) if index not in changing]
        self._constant = [learned[index] for index in constant]
        self._ids = [learned[index].id for index in changing]
        self._units = [learned[index].unit for index in changing]
        self._unknown = [learned[index].unknown_unit for index in changing]
        order = [*constant, *changing]
        self._in_order: Callable[[list[DecodedValue]], tuple[DecodedValue, ...]] = tuple
        if order != sorted(order):
            self._in_order = itemgetter(*map(order.index, sorted(order)))

    def build(
        self, raws: Iterable[int | str | None], values: Iterable[Scalar]
    ) -> tuple[DecodedValue, ...]:
        """Return all objects of a message. `raws` and `values` are in the order of `changing`."""
        rows = zip(self._ids, raws, values, self._units, self._unknown)  # noqa: B905 (takes time)
        # what DecodedValue() does, without its Python function: a third of the time
        objects = map(tuple.__new__, repeat(DecodedValue), rows)
        return self._in_order([*self._constant, *objects])


class MessageTemplate(Protocol):
    """Decodes the messages of one layout."""

    def read(self, frame: Frame) -> Message | None:
        """Return the message in a frame. None if it has another layout."""


_Template = TypeVar("_Template", bound=MessageTemplate)


class LayoutCache(dict[int, _Template]):
    """The templates of one meter, one for each message size in bytes.

    The cache is emptied when it is full, so that a meter that never repeats itself does not make
    it grow.
    """

    def add(self, size: int, template: _Template) -> None:
        """Use `template` for messages of `size` bytes from now on."""
        if size not in self and len(self) >= MAX_LAYOUTS:
            self.clear()
        self[size] = template


class TemplateDecoder(Generic[_Template]):
    """Decodes the frames of one meter by templates, or else by the reference parser.

    parse          the reference parser; raises MeterError
    make_template  returns a template for a frame and the message that was parsed from it, None
                   where a template is of no use
    """

    def __init__(
        self,
        parse: Callable[[Frame], Message],
        make_template: Callable[[Frame, Message], _Template | None],
    ) -> None:
        self.templates: LayoutCache[_Template] = LayoutCache()
        self._parse = parse
        self._make_template = make_template

    def decode(self, frame: Frame) -> Message:
        """Return the message in a frame. Raises MeterError."""
        size = len(frame.payload)
        template = self.templates.get(size)
        message = template.read(frame) if template is not None else None
        if message is not None:
            return message
        message = self._parse(frame)
        learned = self._make_template(frame, message)
        if learned is not None:
            self.templates.add(size, learned)
        return message
