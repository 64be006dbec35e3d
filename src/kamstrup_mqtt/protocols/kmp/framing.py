"""KMP frames: byte stuffing and checksum.

Source: Kamstrup 5512-447 rev M1, 2.1 and 3.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections import deque
from typing import Literal

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame

# | start | dst | CID | data 0..n | CRC hi | CRC lo | stop |     5512-447, 3
# |  80   |                                       |  0D  |     to the meter
# |  40   |                                       |  0D  |     from the meter
# |  06   |                                                    acknowledgement, a single byte
#
# Between start and stop, 80 40 0D 06 1B are sent as 1B and the inverse of the byte, also in the
# CRC. So a raw 80 or 40 always is a start, and an echo (80) cannot be mistaken for an answer (40).
REQUEST_START = 0x80
ANSWER_START = 0x40
STOP = 0x0D
ACK = 0x06
ESCAPE = 0x1B

_NEVER_SENT = bytes((REQUEST_START, ANSWER_START, STOP, ACK))
_STUFFED = frozenset((*_NEVER_SENT, ESCAPE))
_UNSTUFFED = {bytes((value ^ 0xFF,)): bytes((value,)) for value in _STUFFED}
_ESCAPE = bytes((ESCAPE,))
_PIECE = re.compile(rb"[\x80\x40][^\x80\x40\x0D]*+\x0D?|[^\x80\x40\x0D]++\x0D?|\x0D")
"""Splits a stream before each start byte and behind each stop byte."""
_STARTS = (bytes((REQUEST_START,)), bytes((ANSWER_START,)))
_MIN_INNER = 4  # dst, CID, CRC

MAX_FRAME = 1024
"""Bytes of a frame on the wire. Eight registers of 16 bytes need 346 if every byte is stuffed;
answers of loggers may be longer."""

MAX_GARBAGE = 256
"""Bytes between frames that are reported in one piece."""


def crc(payload: bytes) -> bytes:
    """Return the CRC of dst, CID and data: polynomial 1021, initial value 0, big-endian."""
    return crc_hqx(payload, 0).to_bytes(2, "big")


def stuff(inner: bytes) -> bytes:
    """Return `inner` as sent between start and stop byte."""
    out = bytearray()
    for byte in inner:
        if byte in _STUFFED:
            out += bytes((ESCAPE, byte ^ 0xFF))
        else:
            out.append(byte)
    return bytes(out)


def unstuff(sent: bytes) -> bytes | None:
    """Reverse `stuff`. None if `sent` has an invalid escape sequence or an unescaped 06.

    No stuffed byte has the inverse 1B, so each 1B begins an escape: 1B E4 7F means 1B 7F.
    """
    if len(sent.translate(None, _NEVER_SENT)) < len(sent):
        return None
    if _ESCAPE not in sent:
        return sent
    plain, *escapes = sent.split(_ESCAPE)
    out = [plain]
    for piece in escapes:
        meant = _UNSTUFFED.get(piece[:1])
        if meant is None:
            return None
        out += (meant, piece[1:])
    return b"".join(out)


def encode_frame(direction: Literal["request", "answer"], payload: bytes) -> bytes:
    """Return dst, CID and data as a frame on the wire."""
    start = REQUEST_START if direction == "request" else ANSWER_START
    return bytes((start,)) + stuff(payload + crc(payload)) + bytes((STOP,))


class KmpFramer:
    """Cuts a stream into KMP frames, requests and answers; see `protocols.base.Framer`."""

    bytes_needed = 0
    parity_errors = 0

    def __init__(self) -> None:
        self._frame = b""  # from the start byte on; empty between frames
        self._garbage = bytearray()
        self._events: deque[Event] = deque()

    def receive_data(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""
        for piece in _PIECE.findall(data):
            if piece.startswith(_STARTS):
                if self._frame or self._garbage:
                    self.end_burst()
                self._add_to_frame(piece)
            elif self._frame:
                self._add_to_frame(piece)
            else:
                self._receive_outside(piece)

    def next_event(self) -> Event | None:
        """Return the next frame or dropped bytes. None if more bytes are needed."""
        return self._events.popleft() if self._events else None

    def end_burst(self) -> None:
        """End a burst: drop an incomplete frame."""
        if self._frame:
            self._drop_frame(DropReason.TRUNCATED)
        if self._garbage:
            self._drop_garbage()

    def _add_to_frame(self, piece: bytes) -> None:
        """Add to the frame. Bytes beyond its maximum length are handled as garbage."""
        received = self._frame + piece
        self._frame = frame = received[:MAX_FRAME]
        if frame[-1] == STOP:
            self._finish_frame()
        elif len(frame) == MAX_FRAME:
            self._drop_frame(DropReason.LENGTH)
            self._receive_outside(received[MAX_FRAME:])

    def _receive_outside(self, piece: bytes) -> None:
        for byte in piece:
            if byte == 0x00:  # meters send single zeros (5512-447, 2)
                continue
            if byte == ACK and not self._garbage:
                self._events.append(Frame(bytes((ACK,)), b"", "answer", "ack"))
                continue
            self._garbage.append(byte)
            if len(self._garbage) >= MAX_GARBAGE:
                self._drop_garbage()

    def _finish_frame(self) -> None:
        frame = self._frame
        inner = unstuff(frame[1:-1])
        if inner is None:
            self._drop_frame(DropReason.ESCAPE)
        elif len(inner) < _MIN_INNER:
            self._drop_frame(DropReason.LENGTH)
        elif crc_hqx(inner, 0):  # the CRC of a payload with its CRC is 0
            self._drop_frame(DropReason.CHECKSUM)
        else:
            self._frame = b""
            direction: Literal["request", "answer"] = (
                "request" if frame[0] == REQUEST_START else "answer"
            )
            self._events.append(Frame(frame, inner[:-2], direction))

    def _drop_frame(self, reason: DropReason) -> None:
        self._events.append(DroppedBytes(reason, self._frame))
        self._frame = b""

    def _drop_garbage(self) -> None:
        self._events.append(DroppedBytes(DropReason.GARBAGE, bytes(self._garbage)))
        self._garbage.clear()
