"""Identification lines and data sets.

    identification   '/' X X X Z ident CR LF       X maker's letters, Z baud character
    data block       STX data sets '!' CR LF ETX BCC
    data set         address '(' value [ '*' unit ] ')'      more values may follow: '(' … ')'

Data sets are found by their brackets: lines may end in CR LF, LF, CR or not at all, and a value
in brackets without an address belongs to the address before [IEC 62056-21 6.5; for what meters
send in practice, iec62056_21.md 3].
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from kamstrup_mqtt.core.model import DecodedValue, Scalar
from kamstrup_mqtt.protocols.iec62056_21.addresses import IDENT, MANUFACTURER, is_text, unit_of

BAUD_C = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
"""Baud characters of mode C; 7 to 9 are reserved."""
BAUD_B = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}
"""Baud characters of mode B; G to I are reserved."""

MAX_BLOCK = 16384
"""Characters of a block."""

_IDENT = re.compile(r"/([A-Za-z]{3})([ -~])([ -~]{0,32})")
_DATA_SET = re.compile(r"([0-9A-Za-z.:*&#_\-]{0,32}) *\(([^()\x00-\x1f]*)\)")
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)")


@dataclass(frozen=True, slots=True)
class Ident:
    """An identification line."""

    manufacturer: str
    baud_char: str
    text: str

    @property
    def mode(self) -> Literal["A", "B", "C"]:
        """How the conversation continues. Modes D and E look like C here."""
        if self.baud_char.isdigit():
            return "C"
        return "B" if "A" <= self.baud_char <= "I" else "A"

    def objects(self) -> tuple[DecodedValue, ...]:
        """Return manufacturer and model as objects."""
        model = self.text.strip()
        return (
            DecodedValue(MANUFACTURER, self.manufacturer, self.manufacturer),
            DecodedValue(IDENT, self.text, model or None),
        )


def parse_ident(line: str) -> Ident | None:
    """Parse a line without its line end. None if it is no identification."""
    match = _IDENT.fullmatch(line)
    return Ident(*match.groups()) if match else None


def parse_data_sets(text: str) -> Iterator[DecodedValue]:
    """Yield the data sets of a block in the order sent: an object for each pair of brackets."""
    address = ""
    for match in _DATA_SET.finditer(text):
        address = match[1] or address
        if address:
            raw, _, unit = match[2].partition("*")
            yield DecodedValue(address, raw, _value(address, raw), unit_of(address, unit))


def value_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the raw values that `parse_data_sets` finds, in its order."""
    address = ""
    for match in _DATA_SET.finditer(text):
        address = match[1] or address
        if address:
            start = match.start(2)
            yield start, start + len(match[2].partition("*")[0])


def _value(address: str, raw: str) -> Scalar:
    text = raw.strip()
    if not text:
        return None
    if is_text(address) or not _NUMBER.fullmatch(text):
        return text
    return Decimal(text.replace(",", "."))
