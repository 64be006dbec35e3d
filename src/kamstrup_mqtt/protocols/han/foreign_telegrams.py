"""What comes where a HAN port's frames should, and is known all the same.

    68 L L 68 ... 16    an M-Bus telegram: Austrian and Polish meters wrap their lists in them
    /KAM5 CR LF ...     a P1 telegram (DSMR): text, at 115200 baud

Neither comes out of a Norwegian, Swedish (NVE) or Danish HAN port, which sends bare HDLC. Source:
EN 13757-2 (long frame); DSMR P1 companion standard 5.0.2.
"""

from __future__ import annotations

import re
from typing import Final

from kamstrup_mqtt.protocols.base import DropReason

_M_BUS: Final = re.compile(rb"\x68(.)\1\x68", re.DOTALL)
_P1: Final = re.compile(rb"/[A-Z]{3}[0-9][ -~]*\r\n")


def detect_protocol(raw: bytes | bytearray) -> DropReason | None:
    """What bytes that are no frame are instead; None: nobody knows."""
    if _M_BUS.match(raw):
        return DropReason.M_BUS
    return DropReason.P1 if _P1.search(raw) else None
