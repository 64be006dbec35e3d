"""A line of 8N1 as a receiver sees it that is set to 8E1: for emulated meters with that fault."""

from __future__ import annotations


def misread_as_8e1(data: bytes) -> bytes:
    """The bytes that such a receiver makes of `data`, sent without a pause.

    It waits for a falling edge, takes the next eight bits, a parity and a stop bit, and passes on
    what it got, right or wrong.
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
