"""Telegrams of other protocols, recognised where HDLC frames are expected.

    68 L L 68 ... 16    M-Bus: Austrian and Polish meters wrap their lists in such telegrams
    /KAM5 CR LF ...     P1 (DSMR): text at 115200 baud

Norwegian, Swedish (NVE) and Danish HAN ports send neither, but bare HDLC. Source: EN 13757-2
(long frame); DSMR P1 companion standard 5.0.2.
"""

from __future__ import annotations

import re
from typing import Final

from kamstrup_mqtt.protocols.base import DropReason

_M_BUS: Final = re.compile(rb"\x68(.)\1\x68", re.DOTALL)
_P1: Final = re.compile(rb"/[A-Z]{3}[0-9][ -~]*\r\n")


def detect_protocol(raw: bytes | bytearray) -> DropReason | None:
    """Return the protocol of bytes that are no HDLC frame, as a reason. None if unknown."""
    if _M_BUS.match(raw):
        return DropReason.M_BUS
    return DropReason.P1 if _P1.search(raw) else None
