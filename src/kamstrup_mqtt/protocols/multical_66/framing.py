"""Cuts a stream into answers: lines of decimal numbers, checked by parity and form only.

Source: MULTICAL 66-CDE technical description 5511-634 rev C1, 4.1.
"""

from __future__ import annotations

import re
from collections import deque

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame

# | number | blank | number | ... | CR |      answer, 1200 7E2: ten numbers of seven digits, the
#                                             first of /#2 of eleven; a sign replaces a digit; the
#                                             length of other answers is not published
# | '/' | '#' | digit or letter |             request, 300 7E2
CR = 0x0D
MAX_LINE = 256
_ANSWER = re.compile(rb"(?<![0-9 -]) *([0-9]{11}|[0-9-][0-9]{6})( +[0-9-][0-9]{6}){9} *\r\Z")
_OTHER = re.compile(rb"(?<![0-9 -]) *([0-9]{11}|[0-9-][0-9]{6})( +[0-9-][0-9]{6})* *\r\Z")
_REQUEST = re.compile(rb"/#[1-9A-Z]\Z")
_IGNORED = frozenset((0x00, 0x0A, 0x7F))


def with_parity(text: bytes) -> bytes:
    """Return seven-bit characters with even parity in bit 7."""
    return bytes(byte | (byte.bit_count() & 1) << 7 for byte in text)


class Multical66Framer:
    """Cuts a stream into frames. Accepts characters without parity bits: a bridge may strip them.

    any_count  the next answer may have any number of numbers
    """

    bytes_needed = 0

    def __init__(self) -> None:
        self.any_count = False
        self.parity_errors = 0
        self._raw = bytearray()
        self._events: deque[Event] = deque()

    def receive_data(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""
        for byte in data:
            char = byte & 0x7F
            if char in _IGNORED and not self._raw:
                continue
            self._raw.append(byte)
            if char == CR:
                self._finish_line()
            elif request := _REQUEST.search(self._text()):
                self._drop_before(request.start())
                self._emit("request")
            elif len(self._raw) >= MAX_LINE:
                self._drop_line(DropReason.LENGTH)

    def next_event(self) -> Event | None:
        """Return the next frame or dropped bytes. None if more bytes are needed."""
        return self._events.popleft() if self._events else None

    def end_burst(self) -> None:
        """End a burst: drop an incomplete answer."""
        if self._raw:
            self._drop_line(DropReason.TRUNCATED)

    def _text(self) -> bytes:
        return bytes(byte & 0x7F for byte in self._raw)

    def _finish_line(self) -> None:
        found = (_OTHER if self.any_count else _ANSWER).search(self._text())
        self._drop_before(found.start() if found else len(self._raw))
        if found:
            self._emit_if_valid()

    def _drop_before(self, start: int) -> None:
        if start:  # noise: an answer has no start mark
            self._events.append(DroppedBytes(DropReason.GARBAGE, bytes(self._raw[:start])))
            del self._raw[:start]

    def _emit_if_valid(self) -> None:
        bare = all(byte < 0x80 for byte in self._raw)
        errors = 0 if bare else sum(byte.bit_count() & 1 for byte in self._raw)
        self.parity_errors += errors
        if errors:
            self._drop_line(DropReason.CHECKSUM)
        else:
            self._emit("data")

    def _emit(self, kind: str) -> None:
        raw, text = bytes(self._raw), self._text().rstrip(b"\r")
        self._raw.clear()
        if kind == "request":
            self._events.append(Frame(raw, text, "request", kind))
        else:
            self._events.append(Frame(raw, text, "answer", kind))

    def _drop_line(self, reason: DropReason) -> None:
        self._events.append(DroppedBytes(reason, bytes(self._raw)))
        self._raw.clear()
