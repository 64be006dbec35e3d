"""Checksums of whole frames, worked out bit by bit and without the code under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import xor

from tests.support.han_recordings import fcs
from tests.support.kmp_frames import STUFFED, crc16

_UNSTUFFED = {bytes.fromhex(pair)[1]: byte for byte, pair in STUFFED.items()}


def _kmp(wire: bytes) -> bool:
    """A CRC-16 over the unstuffed bytes between start and stop leaves no remainder."""
    inner = iter(wire[1:-1])
    return crc16(bytes(_UNSTUFFED[next(inner)] if byte == 0x1B else byte for byte in inner)) == 0


def _han(wire: bytes) -> bool:
    """The last two bytes before the closing flag are the frame check sequence."""
    body = wire[1:-1]
    return fcs(body[:-2]) == body[-2:]


def _kmp_ascii(wire: bytes) -> bool:
    """Payload and LRC, written as pairs of hex digits, add up to zero."""
    return sum(bytes.fromhex(wire[1:-1].decode("ascii"))) & 0xFF == 0


def _iec(wire: bytes) -> bool:
    """The last byte is the sum or the XOR of the block from behind STX up to ETX, in 7 bits."""
    block, check = wire[wire.index(b"\x02") + 1 : -1], wire[-1]
    return check in (sum(block) & 0x7F, reduce(xor, block) & 0x7F)


def _even_parity(wire: bytes) -> bool:
    return all(byte.bit_count() % 2 == 0 for byte in wire)


IS_CORRECT: Mapping[str, Callable[[bytes], bool]] = {
    "kmp": _kmp,
    "kmp-ascii": _kmp_ascii,
    "iec62056-21": _iec,
    "han": _han,
    "multical-66": _even_parity,
}
"""Protocol -> whether the checksum of one frame is correct."""
