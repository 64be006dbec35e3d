"""HDLC frames (type 3, no byte stuffing): found by their length and their checksums.

    7E | format(2) | destination | source | control(1) | HCS(2) | information | FCS(2) | 7E
       |<------------------------ length: all of this, FCS included ------------------>|

    format   1010 S LLL LLLLLLLL, big-endian: type A, S = segmented, 11 bits of length
    address  destination and source, 1 to 4 bytes each; the last byte has bit 0 set
    HCS      CRC-16/X-25 of format..control, low byte first; absent if there is no information
    FCS      CRC-16/X-25 of everything between the flags before it, low byte first

One frame in seventy contains 7E, perhaps as the last byte of the FCS, so the length ends a frame
and not a flag. One flag may close a frame and open the next. A frame whose flags were lost or
damaged is still a frame: both its checksums are valid. A message that is too long for one frame
is sent in segments, all but the last with the S bit set; only the first has the LLC header.
Source: ISO/IEC 13239; Kamstrup HAN-NVE interface description rev 3.1.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections import deque
from typing import Final

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame
from kamstrup_mqtt.protocols.han import foreign_telegrams
from kamstrup_mqtt.protocols.han.parity import ParityMonitor

FLAG: Final = 0x7E
MAX_LENGTH: Final = 0x7FF
"""The largest value of the length field; a frame has two flags more."""
MAX_GARBAGE: Final = 1024
"""Bytes between frames that are dropped in one piece."""

MAX_MESSAGE: Final = 16 * 1024
"""Bytes of a message in segments; no meter sends a longer one."""

_LLC = b"\xe6\xe7\x00"
_START = re.compile(rb"[\xa0-\xaf]|\x7e\Z")
"""A format field, or a flag that may precede one."""
_NO_START = rb"[^\xa0-\xaf]*+"
_EVEN, _ODD = (b"[" + re.escape(bytes(range(low, 0x100, 2))) + b"]" for low in (0, 1))
_ADDRESS = _EVEN + b"{0,3}" + _ODD
_HEADER = b"(?=(..(?:" + _ADDRESS + b"){2}...))"
_ENDLESS = 6  # bytes of a start that show an address without end


def _skip_patterns(start: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return two patterns that skip false starts and end behind the last of them.

    start  matches a start

    The first matches one start with its whole header (group 1), or with an address that does not
    end, then any number of the latter. The second matches a start with its whole header, then any
    number of starts with the same header.
    """
    endless = _NO_START + start + b"(?=.(?:" + _ADDRESS + b")?" + _EVEN + b"{4})"
    first = _NO_START + _HEADER + start
    repeated = _HEADER + start + b"(?:" + _NO_START + rb"(?=\1)" + start + b")*+"
    either = b"(?:" + first + b"|" + endless + b")(?:" + endless + b")*+"
    return re.compile(either, re.DOTALL), re.compile(repeated, re.DOTALL)


_SKIP_ANY = _skip_patterns(rb"[\xa0-\xaf]")
_SKIP_UNFLAGGED = _skip_patterns(rb"(?<!\x7e)[\xa0-\xaf]")
_FLAG = b"\x7e"
_MIN_LENGTH = 7  # format, two addresses, control, FCS
_SEGMENTED = 0x08
_REMAINDER = 0x1D0F
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def x25(data: bytes | bytearray) -> bytes:
    """Return the CRC-16/X-25 of `data` as sent: two bytes, low byte first.

    X-25 uses the CCITT polynomial with the bits of every byte, and of the result, reversed. So
    the C routine for CCITT computes it, and a table reverses the bits.
    """
    crc = crc_hqx(data.translate(_REVERSED), 0xFFFF) ^ 0xFFFF
    return crc.to_bytes(2, "big").translate(_REVERSED)


def has_valid_checksum(data: bytes) -> bool:
    """Whether `data` ends with its CRC-16/X-25: then the remainder is always the same."""
    return crc_hqx(data.translate(_REVERSED), 0xFFFF) == _REMAINDER


def header_end(data: bytes | bytearray, start: int) -> int | None:
    """Return the position of the HCS in a frame whose format field is at `start`.

    None if `data` ends before. Raises ValueError if an address is longer than 4 bytes.
    """
    position = start + 2
    for _address in range(2):
        address = data[position : position + 4]
        for size, byte in enumerate(address, 1):
            if byte & 1:
                position += size
                break
        else:
            if len(address) == 4:
                raise ValueError("an address does not end within 4 bytes")
            return None
    return position + 1


def encode_frame(
    information: bytes,
    destination: bytes,
    source: bytes,
    control: int,
    *,
    segmented: bool = False,
) -> bytes:
    """Build the frame around an information field. Raises ValueError if it is too long.

    segmented  more of the message follows in another frame
    """
    length = 2 + len(destination) + len(source) + 1 + 2 + len(information) + 2
    if length > MAX_LENGTH:
        raise ValueError(f"{length} bytes are more than one HDLC frame holds ({MAX_LENGTH})")
    start = 0xA000 | _SEGMENTED << 8 if segmented else 0xA000
    header = (start | length).to_bytes(2, "big") + destination + source + bytes([control])
    body = header + x25(header) + information
    return b"\x7e" + body + x25(body) + b"\x7e"


class HdlcFramer:
    """Cuts HDLC frames out of a byte stream; see `protocols.base.Framer`.

    The payload of a frame is everything between its flags but the FCS. The payload of a message in
    segments is the header of the first, followed by the information of all. After a failure the
    search continues directly behind the failed start, so that a wrong length or a lost byte does
    not cost the next frame.
    """

    parity_errors = 0

    def __init__(self, *, fast_path: bool = True) -> None:
        self._fast_path = fast_path
        self._buffer = bytearray()
        self._position = 0  # everything before it was taken or discarded
        self._garbage = bytearray()
        self._reason = DropReason.GARBAGE
        self._known_header = b"\x00"  # format..HCS of the last valid header
        self._known_length = 0
        self._bad_header = b"\x00"  # format..HCS of the last invalid header
        self._events: deque[Event] = deque()
        self._segments: list[Frame] = []
        self._parity = ParityMonitor()
        self._missing = 0

    @property
    def bytes_needed(self) -> int:
        """Bytes missing from the current frame, if its header is valid; else 0."""
        return self._missing

    def receive_data(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""
        if self._fast_path and self._try_complete_frame(data):
            return
        self._missing = 0
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data
        self._parity.receive_data(data)

    def _try_complete_frame(self, data: bytes) -> bool:
        """Accept `data` if it is exactly one frame with the header of the last one.

        A bridge sends a list in one piece. Anything else is left to the search.
        """
        if len(data) != self._known_length + 2 or not data.startswith(self._known_header, 1):
            return False
        if not data[0] == data[-1] == FLAG or not self._is_between_frames():
            return False
        if not has_valid_checksum(data[1:-1]):
            return False
        self._buffer[:] = b"\x7e"  # its flag may open the next
        self._position = 0
        kind = "segment" if data[1] & _SEGMENTED else ""
        self._accept_frame(tuple.__new__(Frame, (data, data[1:-3], "push", kind)))
        return True

    def _is_between_frames(self) -> bool:
        """Whether nothing but flags was received since the last frame."""
        return not self._garbage and not self._buffer[self._position :].strip(b"\x7e")

    def next_event(self) -> Event | None:
        """Return the next frame or dropped bytes. None if more bytes are needed."""
        while not self._events:
            found = self._scan(quiet=False)
            if found is None:
                return None
            self._accept_frame(found)
        return self._events.popleft()

    def end_burst(self) -> None:
        """End a burst: drop an incomplete frame; there may be complete frames behind its start."""
        while (found := self._scan(quiet=True)) is not None:
            self._accept_frame(found)
        self._missing = 0
        if self._parity.end_burst() and self._events and isinstance(self._events[-1], DroppedBytes):
            self._events[-1] = DroppedBytes(DropReason.PARITY, self._events[-1].raw)

    def _accept_frame(self, event: Event) -> None:
        """Turn what was found into an event. Segments are kept until the last one."""
        if isinstance(event, DroppedBytes):
            if len(event.raw) >= _MIN_LENGTH:
                self._drop_segments()  # the next one may have been lost
            self._events.append(event)
            return
        self._parity.mark_valid()
        if not self._segments and event.kind != "segment":
            self._events.append(event)
            return
        info = (header_end(event.payload, 0) or 0) + 2
        if self._segments and not self._continues(event, info):
            self._drop_segments()
        if not self._segments and event.kind != "segment":
            self._events.append(event)
            return
        if not self._segments and not event.payload.startswith(_LLC, info):
            self._events.append(
                DroppedBytes(DropReason.TRUNCATED, event.raw)
            )  # its beginning is lost
            return
        self._segments.append(event)
        if event.kind != "segment":
            self._events.append(self._join_segments())
        elif sum(len(segment.raw) for segment in self._segments) > MAX_MESSAGE:
            self._drop_segments()

    def _continues(self, frame: Frame, info: int) -> bool:
        """Whether a frame continues the segments: it has their addresses and no LLC header."""
        first = self._segments[0].payload
        same = first[2 : info - 2] == frame.payload[2 : info - 2]
        return same and not frame.payload.startswith(_LLC, info)

    def _join_segments(self) -> Frame:
        payload = bytearray(self._segments[0].payload)
        for segment in self._segments[1:]:
            payload += segment.payload[(header_end(segment.payload, 0) or 0) + 2 :]
        raw = b"".join(segment.raw for segment in self._segments)
        self._segments.clear()
        return Frame(raw, bytes(payload), "push")

    def _drop_segments(self) -> None:
        if self._segments:
            raw = b"".join(segment.raw for segment in self._segments)
            self._segments.clear()
            self._events.append(DroppedBytes(DropReason.TRUNCATED, raw))

    def _scan(self, *, quiet: bool) -> Event | None:
        while True:
            found = _START.search(self._buffer, self._position)
            at = found.start() if found else len(self._buffer)  # of a format field
            begin = at - 1 if self._is_flagged(at) else at
            self._skip(begin)
            if found is None or found[0] == _FLAG:
                if quiet:
                    self._skip(len(self._buffer))  # a last flag opens no frame
                return self._drop() if quiet or len(self._garbage) >= MAX_GARBAGE else None
            end = self._check_header(at)
            if self._garbage and (isinstance(end, int) or len(self._garbage) >= MAX_GARBAGE):
                return self._drop()
            result = self._check_frame(begin, at, end, quiet) if isinstance(end, int) else end
            if isinstance(result, Frame):
                self._position = at + len(result.payload) + 2  # its flag may open the next
                return result
            if result is None and not quiet:
                return None
            if begin < at or isinstance(end, int):  # else it was no start of a frame
                self._record_reason(result or DropReason.TRUNCATED)
            self._discard_until(at + 1)  # continue behind the start, not behind the end
            self._skip_false_starts()

    def _is_flagged(self, at: int) -> bool:
        return at > self._position and self._buffer[at - 1] == FLAG

    def _check_header(self, at: int) -> int | DropReason | None:
        """Return the end of the frame whose format field is at `at`, FCS included.

        A reason if there is no frame, None if too few bytes were received. The HCS is verified, so
        a wrong length delays nothing.
        """
        buffer = self._buffer
        if buffer.startswith(self._known_header, at):
            return at + self._known_length
        if len(buffer) < at + 2:
            return None
        length = (buffer[at] & 0x07) << 8 | buffer[at + 1]
        if length < _MIN_LENGTH:  # known before the addresses are received
            return DropReason.LENGTH
        try:
            hcs = header_end(buffer, at)
        except ValueError:
            return DropReason.GARBAGE
        if hcs is not None and hcs + 2 > at + length:
            return DropReason.LENGTH
        if hcs is None or len(buffer) < hcs + 2:
            return None
        if x25(buffer[at:hcs]) != buffer[hcs : hcs + 2]:
            self._bad_header = bytes(buffer[at : hcs + 2])
            return DropReason.CHECKSUM
        self._known_header = bytes(buffer[at : hcs + 2])
        self._known_length = length
        return at + length

    def _check_frame(self, begin: int, at: int, end: int, quiet: bool) -> Frame | DropReason | None:
        """Return the frame from `at` to `end`, with the flags that it has.

        A reason if it is none, None if bytes are missing or its closing flag may still come.
        """
        buffer = self._buffer
        if len(buffer) < end or (len(buffer) == end and not quiet):
            self._missing = end + 1 - len(buffer)
            return None
        checked = bytes(buffer[at:end])
        if not has_valid_checksum(checked):
            return DropReason.CHECKSUM
        raw = bytes(buffer[begin : end + buffer.startswith(_FLAG, end)])
        kind = "segment" if checked[0] & _SEGMENTED else ""
        return Frame(raw, checked[:-2], "push", kind)

    def _skip(self, start: int) -> None:
        """Discard what precedes the next possible start at `start`.

        A flag behind garbage belongs to it. Flags between frames are not reported.
        """
        if start == self._position:
            return
        if not self._garbage:
            while self._position < start and self._buffer[self._position] == FLAG:
                self._position += 1
        self._discard_until(start)

    def _discard_until(self, end: int) -> None:
        self._garbage += self._buffer[self._position : end]
        self._position = end

    def _record_reason(self, reason: DropReason) -> None:
        """Record why the discarded bytes are no frame. The first reason is the most specific."""
        if self._reason is DropReason.GARBAGE:
            self._reason = reason

    def _skip_false_starts(self) -> None:
        """Discard the false starts that follow, as `_scan` would one by one.

        `_scan` handles a start behind a flag that may give the reason, a header that is valid or
        incomplete, and everything beyond the limit of garbage.
        """
        is_open = self._reason is DropReason.GARBAGE
        passing, repeated = _SKIP_UNFLAGGED if is_open else _SKIP_ANY
        buffer, position = self._buffer, self._position
        limit = position + MAX_GARBAGE - len(self._garbage)
        while found := passing.match(buffer, position, limit + _ENDLESS - 1):
            header = found[1]
            if header == self._bad_header:  # noise repeats itself
                found = repeated.match(buffer, found.start(1), limit + len(header) - 1) or found
            elif header is not None:
                if has_valid_checksum(header):
                    break
                self._bad_header = header
            position = found.end()
        self._discard_until(position)

    def _drop(self) -> DroppedBytes | None:
        if not self._garbage:
            return None
        dropped = DroppedBytes(
            foreign_telegrams.detect_protocol(self._garbage) or self._reason, bytes(self._garbage)
        )
        self._garbage.clear()
        self._reason = DropReason.GARBAGE
        return dropped
