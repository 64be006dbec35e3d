"""Check characters: the BCC by sum or by XOR, the choice between the two, and the CRC of P1.

The standard's BCC is the XOR of the seven-bit characters behind SOH or STX up to and including
ETX [IEC 62056-21 6.2]. Kamstrup adds them, modulo 128 [382 interface specification 040611, p. 3].
"""

from __future__ import annotations

import zlib
from typing import Literal, TypeAlias

from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.protocols.iec62056_21.readout import Ident

BccKind: TypeAlias = Literal["sum", "xor"]
BccOption: TypeAlias = Literal["auto", "sum", "xor", "none"]

KINDS: tuple[BccKind, BccKind] = ("sum", "xor")
_PIECE = 256
"""Bytes whose sum is below 65521, whatever they are."""
VOTES = 3
"""Frames in a row that fit one rule only, before that rule is used for the meter."""


def bcc(kind: BccKind, text: bytes) -> int:
    """Return the check character of `text`: the seven-bit characters behind STX, ETX included."""
    return (bcc_sum(text) if kind == "sum" else _xor(text)) & 0x7F


def bcc_sum(text: bytes) -> int:
    """Return the sum of all bytes modulo 128: the lower half of Adler-32, if below 65521."""
    if len(text) <= _PIECE:
        return zlib.adler32(text, 0)
    return sum(bcc_sum(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE))


def _xor(text: bytes) -> int:
    """Return the XOR of all bytes in the lowest byte, by folding them as one number."""
    number = int.from_bytes(text, "big")
    half = 4 << len(text).bit_length()
    while half > 64:
        number ^= number >> half
        half >>= 1
    number &= 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF
    number ^= number >> 64
    number ^= number >> 32
    number ^= number >> 16
    return number ^ number >> 8


def matching_rules(block: bytes) -> tuple[BccKind, ...]:
    """Return the rules that the last character of `block` fits."""
    if not block:
        return ()
    text, given = block[:-1], block[-1]
    by_sum, by_xor = bcc_sum(text) & 0x7F == given, _xor(text) & 0x7F == given
    if by_xor:
        return KINDS if by_sum else ("xor",)
    return ("sum",) if by_sum else ()


def header_fields(matches: tuple[BccKind, ...]) -> dict[str, Json]:
    """Return the header fields for a check character: "sum", "xor", "both" or "none"."""
    kind = "none" if not matches else matches[0] if len(matches) == 1 else "both"
    return {"bcc": kind, "bcc_ok": bool(matches)}


def crc16_arc(data: bytes) -> int:
    """Return the CRC-16/ARC (reflected 8005, initial value 0) of a P1 telegram, '/' to '!'."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
    return crc


def expected_rule(ident: Ident | None) -> BccKind | None:
    """Return the rule that a maker uses (iec62056_21.md 4). None if unknown."""
    if ident is None:
        return None
    if ident.manufacturer.upper() != "KAM":
        return "xor"
    return "sum" if ident.mode == "A" else None


class BccVote:
    """Finds out the rule that one meter follows.

    With the option "auto", both rules are accepted until VOTES frames in a row fit the same one
    only. A frame that fits both does not count: one in 64 does by chance. If the rule of the maker
    is known, one frame that fits it only is enough.

    unchecked  the check is switched off
    rule       the rule that frames must fit; None while it is not known, or if it is not checked
    learned    the rule that was found out; None while it is not known, or if it is configured
    is_open    the rule is not known yet
    """

    def __init__(self, option: BccOption, learned: str | None = None) -> None:
        self.unchecked = option == "none"
        self.learned: BccKind | None = None
        self.is_open = option == "auto"
        self.rule: BccKind | None = "sum" if option == "sum" else "xor" if option == "xor" else None
        self._kind: BccKind | None = None
        self._votes = 0
        if option == "auto" and learned in KINDS:
            self._decide("sum" if learned == "sum" else "xor")

    def _decide(self, kind: BccKind) -> None:
        self.learned = self.rule = kind
        self.is_open = False

    def accepts(self, matches: tuple[BccKind, ...]) -> bool:
        """Whether a frame that fits the rules `matches` is valid."""
        return self.rule in matches or self.unchecked or (self.is_open and matches != ())

    def add_vote(self, matches: tuple[BccKind, ...], expected: BccKind | None) -> None:
        """Count a valid frame.

        expected  the rule that its maker uses, None if unknown
        """
        if not self.is_open or len(matches) != 1:
            return
        if matches[0] != self._kind:
            self._kind, self._votes = matches[0], 0
        self._votes += VOTES if matches[0] == expected else 1
        if self._votes >= VOTES:
            self._decide(matches[0])
