"""A line of 8N1 as received with 8E1, for emulated meters with that fault."""

from __future__ import annotations


def misread_as_8e1(data: bytes) -> bytes:
    """Return the bytes that a receiver with 8E1 returns for `data`, sent without pauses.

    It waits for a falling edge, reads eight data bits, a parity bit and a stop bit, and returns
    the data bits whether or not the others are right.
    """
    line = [1]
    for byte in data:
        line += [0, *(byte >> bit & 1 for bit in range(8)), 1]
    line += [1] * 12
    seen, at = bytearray(), 1
    while at < len(line) - 11:
        if line[at - 1] == 1 and line[at] == 0:
            seen.append(sum(line[at + 1 + bit] << bit for bit in range(8)))
            at += 11
        else:
            at += 1
    return bytes(seen)
