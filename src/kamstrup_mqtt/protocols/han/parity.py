"""Recognises a line of 8N1 that is read as 8E1.

The receiver expects a parity bit that is not sent. It reads the stop bit as parity and the next
start bit as the stop bit, and so loses bytes in a regular way: 228 bytes become 158, the same ones
each time, and no checksum is valid. Kamstrup's meters send 8N1. Source: captures of three such
lines; a simulation of the receiver, bit by bit, gives the same bytes.

    bytes sent                      received    first bytes
    228  list of 10 s               158         7E 13 2B 48 A2 D2 E6 1E
    302  hourly list                207..209    7E 68 69 0A 13 04 DE 00
    188  the same, one phase        129         7E D3 2B 48 A2 4F 33 E7
    262                             179         7E 68 D0 29 9A 77 CB E7
    258  encrypted                  196         7E 68 41 A0 F4 D2 99 E7
    491  DLMS push 1, encrypted     375         7E 68 2F 0D 13 DC 32 E7
    317  the same, one phase        245         7E 68 A7 0D 13 CE E6 1E

Other meters are recognised by bursts that begin with the same bytes after a flag, have the same
length, and contain no frame. (A line of 8E1 that is read as 8N1 is no problem: most receivers
return every byte unchanged.)
"""

from __future__ import annotations

from typing import Final

SIGNATURES: Final = tuple(
    bytes.fromhex(beginning)
    for beginning in (
        "7E 13 2B 48 A2 D2 E6 1E",
        "7E 68 69 0A 13 04 DE 00",
        "7E D3 2B 48 A2 4F 33 E7",
        "7E 68 D0 29 9A 77 CB E7",
        "7E 68 41 A0 F4 D2 99 E7",
        "7E 68 2F 0D 13 DC 32 E7",
        "7E 68 A7 0D 13 CE E6 1E",
    )
)
SIMILAR_BURSTS: Final = 3
"""Bursts in a row that must be similar."""
MAX_LENGTH_DIFFERENCE: Final = 3
"""Bytes by which the lengths of similar bursts may differ."""

_FLAG = 0x7E
_COMPARED_BYTES = 5  # the first bytes of every burst: flag, format, addresses, control
_FORMAT = range(0xA0, 0xB0)  # a right format field: then the parity is right too
_SHORTEST, _LONGEST = 60, 1024


class ParityMonitor:
    """Looks for wrong parity in bursts: the bytes received between two silences."""

    def __init__(self) -> None:
        self._burst = bytearray()
        self._is_valid = False
        self._previous_bursts: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""
        self._burst += data[: _LONGEST + 1 - len(self._burst)]

    def mark_valid(self) -> None:
        """Record that the burst contains a frame with valid checksums."""
        self._is_valid = True

    def end_burst(self) -> bool:
        """End the burst. Returns whether it came from a line of 8N1 that is read as 8E1."""
        burst, self._burst = bytes(self._burst), bytearray()
        is_valid, self._is_valid = self._is_valid, False
        if is_valid:
            self._previous_bursts.clear()
            return False
        if not burst:
            return False
        if not _SHORTEST <= len(burst) <= _LONGEST:
            self._previous_bursts.clear()
            return False
        if burst.startswith(SIGNATURES):
            return True
        alike = [before for before in self._previous_bursts if _is_similar(before, burst)]
        self._previous_bursts = [*alike[1 - SIMILAR_BURSTS :], burst]
        return len(self._previous_bursts) == SIMILAR_BURSTS


def _is_similar(one: bytes, other: bytes) -> bool:
    return (
        one[0] == _FLAG
        and one[1] not in _FORMAT
        and one[:_COMPARED_BYTES] == other[:_COMPARED_BYTES]
        and abs(len(one) - len(other)) <= MAX_LENGTH_DIFFERENCE
    )
