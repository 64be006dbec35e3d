"""The check characters: BCC by sum or by XOR, and which of the two a meter uses; CRC of P1.

The standard's BCC is the XOR of the seven-bit characters behind SOH or STX up to and including
ETX [IEC 62056-21 6.2]; Kamstrup adds them, modulo 128 [382 interface specification 040611, p. 3].
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias

from kamstrup_mqtt.model import Json

BccKind: TypeAlias = Literal["sum", "xor"]
BccOption: TypeAlias = Literal["auto", "sum", "xor", "none"]

KINDS: tuple[BccKind, ...] = ("sum", "xor")
_PIECE = 512
"""Bytes whose sum is surely below 65521."""
VOTES = 3
"""Frames in a row that verify by one rule only, until that rule is the meter's."""


def bcc(kind: BccKind, text: bytes) -> int:
    """The check character of `text`: seven-bit characters behind STX, ETX included."""
    return (_sum(text) if kind == "sum" else _xor(text)) & 0x7F


def _sum(text: bytes) -> int:
    """All bytes added: the lower half of Adler-32 is that, as long as it stays below 65521."""
    return sum(
        zlib.adler32(text[at : at + _PIECE], 0) & 0xFFFF for at in range(0, len(text), _PIECE)
    )


def _xor(text: bytes) -> int:
    """All bytes XORed, in the last byte: as one number, folded upon itself."""
    number = int.from_bytes(text, "big")
    half = 4 << len(text).bit_length()
    while half >= 8:
        number ^= number >> half
        half >>= 1
    return number


@lru_cache(maxsize=2)  # the framer asks, and the header tells
def matching(text: bytes, given: int) -> tuple[BccKind, ...]:
    """The rules by which `given` is the right check character of `text`."""
    return tuple(kind for kind in KINDS if bcc(kind, text) == given)


def verdict(block: bytes) -> Mapping[str, Json]:
    """By which rule the check character (the last) is right: "sum", "xor", "both" or "none"."""
    return _VERDICTS[matching(block[:-1], block[-1])]


_VERDICTS: Mapping[tuple[BccKind, ...], Mapping[str, Json]] = MappingProxyType(
    {
        (): MappingProxyType({"bcc": "none", "bcc_ok": False}),
        ("sum",): MappingProxyType({"bcc": "sum", "bcc_ok": True}),
        ("xor",): MappingProxyType({"bcc": "xor", "bcc_ok": True}),
        ("sum", "xor"): MappingProxyType({"bcc": "both", "bcc_ok": True}),
    }
)


def crc16_arc(data: bytes) -> int:
    """CRC-16/ARC (reflected 8005, initial value 0) of a P1 telegram, '/' to '!' inclusive."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
    return crc


class BccVote:
    """Which rule one meter follows.

    With the option "auto" either rule is accepted until VOTES frames in a row verified by the
    same one alone (both agree by chance once in 64 frames; that is no vote). Where the maker's
    rule is known, one such frame decides.
    """

    def __init__(self, option: BccOption, learned: str | None = None) -> None:
        self._option = option
        self._kind: BccKind | None = None
        self._votes = 0
        if option == "auto" and learned in KINDS:
            self._kind = "sum" if learned == "sum" else "xor"
            self._votes = VOTES

    @property
    def learned(self) -> BccKind | None:
        """The rule that was found out, None while it is open or was configured."""
        return self._kind if self._votes >= VOTES else None

    @property
    def is_open(self) -> bool:
        """Whether the rule is still to be found out."""
        return self._option == "auto" and self._votes < VOTES

    @property
    def unchecked(self) -> bool:
        """The user asked for no check."""
        return self._option == "none"

    def accepts(self, matches: tuple[BccKind, ...]) -> bool:
        """Whether a frame that verifies by `matches` is good."""
        if self._option == "none":
            return True
        if self._option != "auto":
            return self._option in matches
        return bool(matches) if self.learned is None else self.learned in matches

    def count(self, matches: tuple[BccKind, ...], expected: BccKind | None) -> None:
        """Take the vote of a good frame; `expected` is the rule that its maker is known for."""
        if not self.is_open or len(matches) != 1:
            return
        if matches[0] != self._kind:
            self._kind, self._votes = matches[0], 0
        self._votes += VOTES if matches[0] == expected else 1
