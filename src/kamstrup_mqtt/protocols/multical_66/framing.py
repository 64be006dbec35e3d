"""Cuts the stream into answers: lines of decimal numbers. There is no check but parity and form.

Source: MULTICAL 66-CDE technical description 5511-634 rev C1, 4.1.
"""

from __future__ import annotations

import re
from collections import deque

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame

# | number | blank | number | ... | CR |      answer, 1200 7E2: ten numbers of seven digits, the
#                                             first of /#2 of eleven; a sign takes a digit's place;
#                                             of the others it is not published how many
# | '/' | '#' | digit or letter |             request, 300 7E2
CR = 0x0D
MAX_LINE = 256
_ANSWER = re.compile(rb"(?<![0-9 -]) *([0-9]{11}|[0-9-][0-9]{6})( +[0-9-][0-9]{6}){9} *\r\Z")
_OTHER = re.compile(rb"(?<![0-9 -]) *([0-9]{11}|[0-9-][0-9]{6})( +[0-9-][0-9]{6})* *\r\Z")
_REQUEST = re.compile(rb"/#[1-9A-Z]\Z")
_IGNORED = frozenset((0x00, 0x0A, 0x7F))


def with_parity(text: bytes) -> bytes:
    """Seven-bit characters with even parity in bit 7."""
    return bytes(byte | (byte.bit_count() & 1) << 7 for byte in text)


class Multical66Framer:
    """One line's framer. Characters without parity bits are taken too: a bridge may strip them.
    `any_count`: the answer that is awaited may have any number of numbers."""

    bytes_needed = 0

    def __init__(self) -> None:
        self.any_count = False
        self.parity_errors = 0
        self._raw = bytearray()
        self._events: deque[Event] = deque()

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        for byte in data:
            char = byte & 0x7F
            if char in _IGNORED and not self._raw:
                continue
            self._raw.append(byte)
            if char == CR:
                self._finish()
            elif request := _REQUEST.search(self._text()):
                self._drop_before(request.start())
                self._emit("request")
            elif len(self._raw) >= MAX_LINE:
                self._drop(DropReason.LENGTH)

    def next_event(self) -> Event | None:
        """The next frame or drop, None when more bytes are needed."""
        return self._events.popleft() if self._events else None

    def end_burst(self) -> None:
        """What is incomplete now stays so."""
        if self._raw:
            self._drop(DropReason.TRUNCATED)

    def _text(self) -> bytes:
        return bytes(byte & 0x7F for byte in self._raw)

    def _finish(self) -> None:
        found = (_OTHER if self.any_count else _ANSWER).search(self._text())
        self._drop_before(found.start() if found else len(self._raw))
        if found:
            self._check()

    def _drop_before(self, start: int) -> None:
        if start:  # noise; an answer has no mark of its own where it begins
            self._events.append(DroppedBytes(DropReason.GARBAGE, bytes(self._raw[:start])))
            del self._raw[:start]

    def _check(self) -> None:
        bare = all(byte < 0x80 for byte in self._raw)
        errors = 0 if bare else sum(byte.bit_count() & 1 for byte in self._raw)
        self.parity_errors += errors
        if errors:
            self._drop(DropReason.CHECKSUM)
        else:
            self._emit("data")

    def _emit(self, kind: str) -> None:
        raw, text = bytes(self._raw), self._text().rstrip(b"\r")
        self._raw.clear()
        if kind == "request":
            self._events.append(Frame(raw, text, "request", kind))
        else:
            self._events.append(Frame(raw, text, "answer", kind))

    def _drop(self, reason: DropReason) -> None:
        self._events.append(DroppedBytes(reason, bytes(self._raw)))
        self._raw.clear()
