"""7E1 in software over an 8N1 line.

    bit  7       6 .. 0
         parity  character     even: the number of ones in the eight bits is even

7E1 and 8N1 are both ten bits long on the wire, so a port or bridge set to 8N1 hands the parity
bit over as bit 7 (iec62056_21.md 6).
"""

from __future__ import annotations

_EVEN = bytes(c | 0x80 if c.bit_count() % 2 else c for c in range(0x80))
_ODD = bytes(c.bit_count() % 2 for c in range(0x100))
_SEVEN_BITS = bytes(range(0x80))
STRIP = bytes(c & 0x7F for c in range(0x100))


def with_parity(text: bytes) -> bytes:
    """Return seven-bit characters with even parity in bit 7."""
    return bytes(_EVEN[c] for c in text)


def strip(raw: bytes | bytearray) -> bytes:
    """Return the characters without bit 7."""
    return bytes(raw.translate(STRIP))


def errors(raw: bytes | bytearray) -> int:
    """Count the characters of a message with a wrong parity bit.

    A link passes all parity bits on or strips them all; whichever gives fewer errors is assumed.
    So a message without any bit 7 has no errors.
    """
    if raw.isascii():
        return 0
    wrong_parity = raw.translate(_ODD).count(1)
    not_stripped = len(raw.translate(None, _SEVEN_BITS))
    return min(wrong_parity, not_stripped)
