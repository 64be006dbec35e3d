"""Waking a meter's eye before it is asked: what several protocols do alike.

Zeros for 2.1 to 2.3 s and a rest of 1.5 to 1.7 s (IEC 62056-21, annex on battery meters); or the
request `/#1` of the older heat meters at 300 baud, which some newer ones wake from.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, TypeAlias

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Configure, Frame, Pause, Send, Step

Wake: TypeAlias = Literal["nul", "ident"]

ZEROS_SECONDS = 2.2
"""Of zeros."""
IDENT = bytes.fromhex("AF A3 B1")
"""`/#1` of seven bits and even parity, on a line of eight bits."""
IDENT_BAUDRATE = 300
IDENT_REST = 5.0
"""Seconds that a meter which knows `/#1` wants until the next request."""


def wake_up(
    kind: Wake | None,
    *,
    baudrate: int,
    bits: int,
    pause: float,
    ident_rest: float | None = None,
) -> Generator[Step, Frame | None, None]:
    """Wake the eye, None: nothing is done. What it says to that is not listened to.

    baudrate, bits     of the line; bits of one byte, start and stop included
    pause, ident_rest  seconds of rest behind the zeros, and behind `/#1` (None: IDENT_REST)

    Where the speed belongs to a bridge and is not 300, zeros are sent instead of `/#1`.
    """
    if kind == "ident" and (yield from _ident(baudrate)):
        yield Pause(IDENT_REST if ident_rest is None else ident_rest)
    elif kind is not None:
        yield send_only(bytes(round(ZEROS_SECONDS * baudrate / bits)))
        yield Pause(pause)


def _ident(baudrate: int) -> Generator[Step, Frame | None, bool]:
    if baudrate == IDENT_BAUDRATE:
        yield send_only(IDENT)
        return True
    try:
        yield Configure(IDENT_BAUDRATE)
    except MeterError:
        return False
    yield send_only(IDENT)
    yield Configure(baudrate)
    return True


def send_only(data: bytes) -> Send:
    """Bytes to which no answer is awaited."""
    return Send(
        data=data,
        response_timeout=0.0,
        inter_byte_timeout=0.0,
        total_timeout=0.0,
        expects_response=False,
    )
