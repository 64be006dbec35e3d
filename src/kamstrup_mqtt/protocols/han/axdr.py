"""A-XDR, the encoding of DLMS data: an element is a tag, a length for some tags, and contents.

    00                      null
    01 n <n elements>       array            02 n <n elements>   structure
    09 n <n bytes>          octet-string     0A n <n bytes>      visible-string
    06 <4>  12 <2>  11 <1>  unsigned         05 <4>  10 <2>  0F <1>  signed         16 <1>  enum

`n` is one byte below 80, else 81 and one byte or 82 and two; longer forms than needed are valid.
Source: IEC 61334-6; DLMS UA Blue Book (tags of the common data types).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, NamedTuple, TypeAlias

NULL: Final = 0x00
ARRAY: Final = 0x01
STRUCTURE: Final = 0x02
INT32: Final = 0x05
UINT32: Final = 0x06
OCTETS: Final = 0x09
TEXT: Final = 0x0A
INT8: Final = 0x0F
INT16: Final = 0x10
UINT16: Final = 0x12
ENUM: Final = 0x16

MAX_DEPTH: Final = 8
"""Levels of nesting: lists have two, and unlimited nesting would exhaust the stack."""

_INTEGERS: Final = {  # tag -> size, signed
    0x03: (1, False),  # boolean
    INT32: (4, True),
    UINT32: (4, False),
    INT8: (1, True),
    INT16: (2, True),
    0x11: (1, False),
    UINT16: (2, False),
    0x14: (8, True),
    0x15: (8, False),
    ENUM: (1, False),
}
# kept as bytes: floats, which are not exact, and the standard's date types
_OPAQUE: Final = {0x17: 4, 0x18: 8, 0x19: 12, 0x1A: 5, 0x1B: 4}
_STRINGS: Final = (OCTETS, TEXT, 0x0C)

Contents: TypeAlias = "int | bytes | tuple[Element, ...] | None"


class Element(NamedTuple):
    """An element: its tag, and None, an integer, bytes, or the elements inside it."""

    tag: int
    value: Contents


class AxdrError(ValueError):
    """The bytes are no A-XDR element. The message says where and why."""


def read(data: bytes, position: int = 0, depth: int = 0) -> tuple[Element, int]:
    """Decode the element at `position`. Returns it and the position behind it. Raises AxdrError."""
    if position >= len(data):
        raise AxdrError(f"an element is missing at byte {position}")
    tag = data[position]
    position += 1
    if tag in _INTEGERS:
        size, signed = _INTEGERS[tag]
        end = _end(data, position, size)
        return Element(tag, int.from_bytes(data[position:end], "big", signed=signed)), end
    if tag in _STRINGS:
        size, position = read_length(data, position)
        end = _end(data, position, size)
        return Element(tag, data[position:end]), end
    if tag == NULL:
        return Element(NULL, None), position
    if tag in (ARRAY, STRUCTURE):
        return _read_several(tag, data, position, depth)
    if tag in _OPAQUE:
        end = _end(data, position, _OPAQUE[tag])
        return Element(tag, data[position:end]), end
    raise AxdrError(f"unknown element type {tag:02X} at byte {position - 1}")


def _read_several(tag: int, data: bytes, position: int, depth: int) -> tuple[Element, int]:
    if depth == MAX_DEPTH:
        raise AxdrError(f"elements are nested deeper than {MAX_DEPTH} at byte {position - 1}")
    count, position = read_length(data, position)
    elements = []
    for _ in range(count):
        element, position = read(data, position, depth + 1)
        elements.append(element)
    return Element(tag, tuple(elements)), position


def leaf_positions(element: Element, data: bytes, position: int) -> Iterator[tuple[Element, int]]:
    """Yield each element inside `element` that is no list, with the position of its contents.

    position  where `element` begins in `data`
    """
    yield from _places(element, data, position)


def _places(
    element: Element, data: bytes, position: int
) -> Generator[tuple[Element, int], None, int]:
    if isinstance(element.value, tuple):
        _, position = read_length(data, position + 1)
        for inner in element.value:
            position = yield from _places(inner, data, position)
        return position
    _, end = read(data, position)
    size = len(element.value) if isinstance(element.value, bytes) else _size(element)
    yield element, end - size
    return end


def _size(element: Element) -> int:
    return _INTEGERS[element.tag][0] if element.tag in _INTEGERS else 0


def read_length(data: bytes, position: int) -> tuple[int, int]:
    """Decode the length at `position`. Returns it and the position behind it. Raises AxdrError."""
    first = data[position] if position < len(data) else None
    if first is not None and first < 0x80:
        return first, position + 1
    size = {0x81: 1, 0x82: 2}.get(first or 0)
    if size is None:
        raise AxdrError(f"no length at byte {position}")
    end = _end(data, position + 1, size)
    return int.from_bytes(data[position + 1 : end], "big"), end


def _end(data: bytes, position: int, size: int) -> int:
    if position + size > len(data):
        raise AxdrError(f"{size} bytes expected at byte {position}, {len(data) - position} there")
    return position + size


def write(element: Element) -> bytes:
    """Encode an element. Raises OverflowError for a number that its type cannot hold."""
    tag, value = element
    if value is None:
        return bytes([tag])
    if isinstance(value, int):
        size, signed = _INTEGERS[tag]
        return bytes([tag]) + value.to_bytes(size, "big", signed=signed)
    if isinstance(value, bytes):
        head = b"" if tag in _OPAQUE else write_length(len(value))
        return bytes([tag]) + head + value
    return bytes([tag]) + write_length(len(value)) + b"".join(map(write, value))


def write_length(length: int) -> bytes:
    """Encode a length in its shortest form."""
    if length < 0x80:
        return bytes([length])
    if length < 0x100:
        return bytes([0x81, length])
    return bytes([0x82]) + length.to_bytes(2, "big")
