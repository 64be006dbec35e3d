"""Frames of KMP-ASCII: found in a byte stream, and built.

    '@' | 'H'   hex pairs of the payload   hex pair of the LRC   CR
     40   48    30..39 41..46 each         two's complement of    0D
    to   from   upper case (lower case     the 8-bit sum of the
    the meter   is understood too)         payload

There is no byte stuffing: a start character cannot occur inside a frame.
Source: KMP382-driver, MeterProtocolKMP382.cs (kmp.md 3.1).
"""

from __future__ import annotations

import re
from collections import deque
from typing import Literal

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame

REQUEST, ANSWER, CR = 0x40, 0x48, 0x0D

MAX_PAYLOAD = 258
"""FE 01 and 256 bytes of memory: more than any answer known (44 bytes)."""

_MAX_FRAME = 1 + 2 * (MAX_PAYLOAD + 1) + 1
_MAX_GARBAGE = 256
_HEX = frozenset(b"0123456789ABCDEFabcdef")
_RUN = re.compile(rb"[0-9A-Fa-f]+")
"""Characters inside a frame that may be taken together."""
_BETWEEN_FRAMES = frozenset(b"\r\n\x00")


def lrc(payload: bytes) -> int:
    """Return the check byte, which makes the 8-bit sum 0."""
    return -sum(payload) & 0xFF


def encode(start: Literal["@", "H"], payload: bytes) -> bytes:
    """Return a payload as a frame on the wire."""
    pairs = bytes((*payload, lrc(payload))).hex().upper()
    return f"{start}{pairs}\r".encode("ascii")


class KmpAsciiFramer:
    """Cuts a byte stream into frames. Buffers one frame or 256 bytes of garbage at most.

    A frame with a valid LRC is complete without its CR as soon as the next one starts or the burst
    ends: recordings often lack the CR.
    """

    bytes_needed = 0

    def __init__(self) -> None:
        self.parity_errors = 0
        self._frame = bytearray()
        self._garbage = bytearray()
        self._events: deque[Event] = deque()

    def receive_data(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""
        at = 0
        while at < len(data):
            room = _MAX_FRAME - 1 - len(self._frame)
            run = _RUN.match(data, at, at + room) if self._frame else None
            if run is None:
                self._receive_byte(data[at])
                at += 1
            else:
                self._frame += run[0]
                at = run.end()

    def next_event(self) -> Event | None:
        """Return the next frame or dropped bytes. None if more bytes are needed."""
        return self._events.popleft() if self._events else None

    def end_burst(self) -> None:
        """End a burst: the current frame is complete without its CR, or dropped."""
        self._end_frame(last=True)
        self._drop_garbage()

    def _receive_byte(self, byte: int) -> None:
        if byte in (REQUEST, ANSWER):
            self._end_frame(last=False)
            self._drop_garbage()
            self._frame.append(byte)
        elif not self._frame:
            if byte not in _BETWEEN_FRAMES or self._garbage:
                self._add_garbage(byte)
        elif byte == CR:
            self._frame.append(byte)
            self._end_frame(last=True)
        elif byte not in _HEX:
            # damaged: wait for the next start character
            self._garbage += self._frame
            self._frame.clear()
            self._add_garbage(byte)
        else:  # the frame is full
            self._frame.append(byte)
            self._drop_frame(DropReason.LENGTH)

    def _add_garbage(self, byte: int) -> None:
        self._garbage.append(byte)
        if len(self._garbage) >= _MAX_GARBAGE:
            self._drop_garbage()

    def _end_frame(self, *, last: bool) -> None:
        """End the current frame.

        last  at its CR or the end of the burst; False: at the next start
        """
        if not self._frame:
            return
        raw = bytes(self._frame)
        pairs = raw[1:].rstrip(b"\r").decode("ascii")
        data = bytes.fromhex(pairs) if len(pairs) % 2 == 0 else b""
        if len(data) < 3:  # FE, command, LRC
            self._drop_frame(DropReason.LENGTH if raw[-1] == CR else DropReason.TRUNCATED)
        elif sum(data) & 0xFF:
            self._drop_frame(DropReason.CHECKSUM if last else DropReason.TRUNCATED)
        else:
            direction: Literal["request", "answer"] = "request" if raw[0] == REQUEST else "answer"
            self._events.append(Frame(raw, data[:-1], direction))
            self._frame.clear()

    def _drop_frame(self, reason: DropReason) -> None:
        self._events.append(DroppedBytes(reason, bytes(self._frame)))
        self._frame.clear()

    def _drop_garbage(self) -> None:
        if self._garbage:
            self._events.append(DroppedBytes(DropReason.GARBAGE, bytes(self._garbage)))
            self._garbage.clear()
