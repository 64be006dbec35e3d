"""Cuts the byte stream of an optical readout into frames.

    kind       on the wire                                        direction
    request    '/' '?' [address] '!' CR LF;  '/' '#' x            request
    ack        06 V Z Y CR LF                                     request
    command    SOH … ETX BCC                                      request
    ident      '/' X X X Z ident CR LF                            answer
    data       [ident] STX … ETX BCC                              answer
    data       ident CR LF data lines '!' [CRC] CR LF             push (mode D)

A data frame contains the identification before it, so that a recorded readout is one frame. Its
raw bytes and payload (seven-bit) are the identification and the block, without what was between
them (an echoed acknowledgement).

In a conversation the identification is needed at once, because the meter then waits for an
acknowledgement (mode C) or changes its speed (mode B): with `early_ident` it is also a frame by
itself, before the data frame that contains it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame
from kamstrup_mqtt.protocols.fast_path.layout import LayoutCache
from kamstrup_mqtt.protocols.iec62056_21 import parity
from kamstrup_mqtt.protocols.iec62056_21.block_check import (
    BccVote,
    crc16_arc,
    expected_rule,
    matching_rules,
)
from kamstrup_mqtt.protocols.iec62056_21.readout import MAX_BLOCK, Ident, parse_ident

if TYPE_CHECKING:
    from kamstrup_mqtt.protocols.fast_path.iec62056_21 import ReadoutTemplate

SOH, STX, ETX, EOT, ACK, LF, CR, SLASH, BANG = 0x01, 0x02, 0x03, 0x04, 0x06, 0x0A, 0x0D, 0x2F, 0x21

_MAX_LINE = 64
_MAX_TAIL = 8  # '!', four digits of CRC, CR LF
_MAX_GARBAGE = 256
_STARTS = frozenset((SOH, STX, ACK, SLASH))
_IGNORED = frozenset((0x00, LF, CR, 0x7F))  # wake-up characters, line ends, an idle line's noise
_LINE_AT_END = re.compile(rb"/(?:[A-Za-z]{3}[ -~]|\?)[^()/\r\n]*\r?\n\Z")
_REQUEST = re.compile(rb"/\?[^!]*!|/#.")
_ACK = re.compile(rb"\x06[0-9A-Z]{3}[\r\n]*")
P1_CRC = re.compile(rb"![0-9A-Fa-f]{4}[\r\n]*\Z")
"""End of a P1 telegram."""


def _run_without(characters: bytes) -> re.Pattern[bytes]:
    """Return a pattern for a run of other characters, with either parity bit."""
    both = characters + bytes(c | 0x80 for c in characters)
    return re.compile(b"[^" + re.escape(both) + b"]+")


_State: TypeAlias = Literal["idle", "line", "ack", "block", "bcc", "lines", "tail"]

# in a block, a line end matters behind a '/' only (`_split_off_line`)
_RUNS: Mapping[_State, tuple[re.Pattern[bytes], int]] = MappingProxyType(
    {
        "line": (_run_without(bytes((SOH, STX, ACK, SLASH, CR, LF))), _MAX_LINE),
        "block": (_run_without(bytes((SOH, STX, ETX, EOT, SLASH))), MAX_BLOCK),
        "lines": (_run_without(bytes((STX, BANG, LF))), MAX_BLOCK),
    }
)
"""State -> characters that may be taken together in it, and the maximum length of its element."""


class IecFramer:
    """Cuts a stream into frames; see `protocols.base.Framer`. Buffers one block of 16 KiB at most.

    vote         decides which check characters are valid
    templates    of earlier readouts; None to use the byte-wise parser alone
    early_ident  return identifications at once; see above
    """

    bytes_needed = 0

    def __init__(
        self,
        vote: BccVote,
        *,
        templates: LayoutCache[ReadoutTemplate] | None = None,
        early_ident: bool = False,
    ) -> None:
        self.parity_errors = 0
        self.early_ident = early_ident
        self._vote = vote
        self._templates = templates
        self._state: _State = "idle"
        self._raw = bytearray()
        self._slash = False  # a '/' in this line of a block
        self._garbage = bytearray()
        self._ident = bytearray()  # the last identification line, until its data follow
        self._ident_emitted = False  # it was returned as a frame already
        self._events: deque[Event] = deque()

    def receive_data(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""
        if self._state == "idle" and self._try_complete_readout(data):
            return
        at = 0
        while at < len(data):
            run = self._run(data, at) if self._state in _RUNS else 0
            if not run:
                self._receive_byte(data[at])
            at += run or 1

    def _try_complete_readout(self, data: bytes) -> bool:
        """Accept `data` if it is exactly one valid readout of a known layout.

        A bridge sends a readout in one piece. Anything else is left to the byte-wise parser.
        """
        if self._templates is None or self._ident or self._garbage:
            return False
        text = data if data.isascii() else parity.strip(data)
        known = self._templates.get(len(text))
        if known is None or not known.is_single or (self.early_ident and known.is_interactive):
            return False
        rules = known.matching_rules(text)
        if rules is None:
            return False
        vote = self._vote
        is_decided = vote.rule in rules
        if not is_decided and not vote.accepts(rules):
            return False
        start = known.start - 1
        if text is not data and (parity.errors(data[:start]) or parity.errors(data[start:])):
            return False
        if not is_decided:
            vote.add_vote(rules, known.expected)
        self._events.append(tuple.__new__(Frame, (data, text, "answer", "data")))
        return True

    def _run(self, data: bytes, at: int) -> int:
        """Take the characters that cannot change the state. Returns their number."""
        pattern, limit = _RUNS[self._state]
        if self._state == "line" and self._raw[-1] & 0x7F == CR:
            return 0
        if self._state == "block" and self._slash:
            return 0
        found = pattern.match(data, at, at + max(0, limit - 1 - len(self._raw)))
        if found is None:
            return 0
        self._raw += found[0]
        return found.end() - at

    def next_event(self) -> Event | None:
        """Return the next frame or dropped bytes. None if more bytes are needed."""
        return self._events.popleft() if self._events else None

    def end_burst(self) -> None:
        """End a burst: an element that lacks only its line end is a frame, others are dropped."""
        state = self._state
        if state == "line":
            self._finish_line()
        elif state == "ack":
            self._finish_ack()
        elif state == "tail":
            self._finish_lines()
        elif state != "idle":
            self._drop_element(DropReason.TRUNCATED, with_ident=True)
        self._release_ident()
        self._drop_garbage()

    def _receive_byte(self, byte: int) -> None:
        char = byte & 0x7F
        if self._state == "idle":
            self._idle(byte, char)
        elif self._state == "line":
            self._in_line(byte, char)
        elif self._state == "ack":
            self._in_ack(byte, char)
        elif self._state == "block":
            self._in_block(byte, char)
        elif self._state == "bcc":
            self._finish_block(byte)
        elif self._state == "lines":
            self._in_lines(byte, char)
        else:
            self._in_tail(byte, char)

    def _idle(self, byte: int, char: int) -> None:
        if char in _STARTS:
            self._start_element(byte, char)
        elif char in _IGNORED:
            if char in (CR, LF) and self._ident and len(self._ident) < _MAX_LINE:
                self._ident.append(byte)  # a blank line means mode D
        elif self._ident and not self._ident_emitted and char >= 0x20:
            self._drop_garbage()
            self._raw.append(byte)
            self._state = "lines"
        else:
            self._garbage.append(byte)
            if len(self._garbage) >= _MAX_GARBAGE:
                self._drop_garbage()

    def _start_element(self, byte: int, char: int) -> None:
        self._drop_garbage()
        self._raw.append(byte)
        self._slash = False
        self._state = "line" if char == SLASH else "ack" if char == ACK else "block"

    def _in_line(self, byte: int, char: int) -> None:
        if self._raw[-1] & 0x7F == CR and char != LF:
            self._finish_line()
            self._receive_byte(byte)
        elif char in _STARTS:
            self._drop_element(DropReason.TRUNCATED)
            self._start_element(byte, char)
        else:
            self._raw.append(byte)
            if char == LF:
                self._finish_line()
            elif len(self._raw) >= _MAX_LINE:
                self._drop_element(DropReason.GARBAGE)

    def _in_ack(self, byte: int, char: int) -> None:
        if char in _STARTS:
            self._drop_element(DropReason.GARBAGE)
            self._start_element(byte, char)
            return
        self._raw.append(byte)
        if char == LF or len(self._raw) == 6:
            self._finish_ack()

    def _in_block(self, byte: int, char: int) -> None:
        # behind SOH, one STX separates a command from its operands
        if char == SOH or (char == STX and STX in self._text()):
            self._drop_element(DropReason.TRUNCATED, with_ident=True)
            self._start_element(byte, char)
            return
        self._raw.append(byte)
        self._slash = char == SLASH or (self._slash and char != LF)
        if char in (ETX, EOT):
            self._state = "bcc"
        elif char == LF:
            self._split_off_line()
        elif len(self._raw) >= MAX_BLOCK:
            self._drop_element(DropReason.LENGTH, with_ident=True)

    def _in_lines(self, byte: int, char: int) -> None:
        if char == STX:
            self._drop_element(DropReason.GARBAGE)
            self._start_element(byte, char)
            return
        self._raw.append(byte)
        if char == BANG and self._is_outside_brackets():
            self._state = "tail"
        elif char == LF:
            self._split_off_line()
        elif len(self._raw) >= MAX_BLOCK:
            self._drop_element(DropReason.LENGTH, with_ident=True)

    def _in_tail(self, byte: int, char: int) -> None:
        if char in _STARTS:
            self._finish_lines()
            self._receive_byte(byte)
            return
        self._raw.append(byte)
        if char == LF or len(self._raw) - self._text().rindex(b"!") >= _MAX_TAIL:
            self._finish_lines()

    def _text(self) -> bytes:
        return parity.strip(self._raw)

    def _is_outside_brackets(self) -> bool:
        text = self._text()
        return text.rfind(b")") >= text.rfind(b"(")

    def _finish_line(self) -> None:
        raw, text = bytes(self._raw), self._text().rstrip(b"\r\n")
        whole = len(text) < len(raw)
        if _REQUEST.fullmatch(text):
            self._release_ident()
            self._emit(raw, "request", "request")
        elif whole and parse_ident(text.decode("ascii")):
            self._finish_ident(raw)
        else:
            self._drop_element(DropReason.GARBAGE if whole else DropReason.TRUNCATED)

    def _finish_ident(self, raw: bytes) -> None:
        self._release_ident()
        if not self._has_valid_parity(raw):
            self._drop_element(DropReason.CHECKSUM)
            return
        self._reset_element()
        self._forget_ident()
        self._ident[:] = raw
        ident = self._parse_ident_line()
        if self.early_ident and ident is not None and ident.mode != "A":
            self._ident_emitted = True
            self._events.append(Frame(raw, parity.strip(raw), "answer", "ident"))

    def _finish_ack(self) -> None:
        if _ACK.fullmatch(self._text()):
            self._emit(bytes(self._raw), "request", "ack")
        else:
            self._drop_element(DropReason.GARBAGE)

    def _finish_block(self, check: int) -> None:
        text = self._text()
        command = text[0] == SOH
        matches = matching_rules(text[1:] + bytes((check & 0x7F,)))
        is_valid = bool(matches) if command else self._vote.accepts(matches)
        if not is_valid and check & 0x7F in _STARTS:
            # the check character was lost, and this is the next start
            self._drop_element(DropReason.CHECKSUM, with_ident=True)
            self._receive_byte(check)
            return
        self._raw.append(check)
        if not is_valid or not self._has_valid_parity(self._raw):
            self._drop_element(DropReason.CHECKSUM, with_ident=True)
        elif command:
            self._emit(bytes(self._raw), "request", "command")
        else:
            self._vote.add_vote(matches, expected_rule(self._parse_ident_line()))
            self._emit_data("answer")

    def _finish_lines(self) -> None:
        """Finish data lines without STX: mode D, or a readout whose STX was damaged."""
        whole = parity.strip(self._ident + self._raw)
        end = whole.rindex(b"!")
        if P1_CRC.search(whole):
            is_valid = crc16_arc(whole[: end + 1]) == int(whole[end + 1 : end + 5], 16)
        else:
            # without a check, only an unrequested readout in mode D is accepted, by its blank line
            blank_line = parity.strip(self._ident).count(b"\n") > 1
            is_valid = blank_line and not self.early_ident and not whole[end + 1 :].strip(b"\r\n")
        parity_ok = self._has_valid_parity(self._raw)
        if self._vote.unchecked or (is_valid and parity_ok):
            self._emit_data("push")
        else:
            self._drop_element(DropReason.CHECKSUM, with_ident=True)

    def _split_off_line(self) -> None:
        """Find an identification or request inside a block: then the block was never finished."""
        match = _LINE_AT_END.search(parity.strip(self._raw[-_MAX_LINE:]))
        if match:
            line = self._raw[-len(match[0]) :]
            del self._raw[-len(match[0]) :]
            self._drop_element(DropReason.TRUNCATED, with_ident=True)
            self._raw = line
            self._finish_line()

    def _parse_ident_line(self) -> Ident | None:
        return parse_ident(parity.strip(self._ident).rstrip(b"\r\n").decode("ascii"))

    def _has_valid_parity(self, raw: bytes | bytearray) -> bool:
        errors = parity.errors(raw)
        self.parity_errors += errors
        return not errors or self._vote.unchecked

    def _emit(self, raw: bytes, direction: Literal["request", "answer", "push"], kind: str) -> None:
        self._reset_element()
        self._events.append(Frame(raw, parity.strip(raw), direction, kind))

    def _emit_data(self, direction: Literal["answer", "push"]) -> None:
        raw = bytes(self._ident + self._raw)
        self._forget_ident()
        self._emit(raw, direction, "data")

    def _release_ident(self) -> None:
        """Emit or drop an identification that no data followed."""
        if self._ident and not self._ident_emitted:
            raw = bytes(self._ident)
            if self.early_ident:
                self._events.append(DroppedBytes(DropReason.TRUNCATED, raw))
            else:
                self._events.append(Frame(raw, parity.strip(raw), "answer", "ident"))
            self._forget_ident()

    def _forget_ident(self) -> None:
        self._ident.clear()
        self._ident_emitted = False

    def _drop_element(self, reason: DropReason, *, with_ident: bool = False) -> None:
        raw = bytes(self._raw)
        if with_ident and not self._ident_emitted:
            raw = bytes(self._ident) + raw
            self._forget_ident()
        self._events.append(DroppedBytes(reason, raw))
        self._reset_element()

    def _drop_garbage(self) -> None:
        if self._garbage:
            self._events.append(DroppedBytes(DropReason.GARBAGE, bytes(self._garbage)))
            self._garbage.clear()

    def _reset_element(self) -> None:
        self._raw.clear()
        self._state = "idle"
