"""Messages of one layout: the same bytes but for their numbers, taken apart by one struct.

A meter sends the same list for ever, and only values change. Whoever has read one message the
plain way knows where its values stand; the next one of that layout needs no second walk.

    constant | value | constant | value | ... | constant       a constant may be empty
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final


class Layout:
    """Learned from `data`, whose values stand at `spots`: position and format of `struct` ("I", or
    "12s" for bytes) in ascending order. Everything between them is constant."""

    def __init__(self, data: bytes, spots: Iterable[tuple[int, str]]) -> None:
        fields, end = [">"], 0
        for at, form in spots:
            fields.append(f"{at - end}s{form}")
            end = at + struct.calcsize(f">{form}")
        fields.append(f"{len(data) - end}s")
        self._struct = struct.Struct("".join(fields))
        self.size: Final = len(data)
        self._constants = self._struct.unpack(data)[::2]

    def values(self, data: bytes) -> tuple[Any, ...] | None:
        """The values of a message of this layout; None when it is of another."""
        if len(data) != self.size:
            return None
        fields = self._struct.unpack(data)
        return fields[1::2] if fields[::2] == self._constants else None
