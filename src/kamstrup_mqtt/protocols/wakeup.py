"""Waking a meter's optical eye before a request.

Either zeros for 2.1 to 2.3 s, then a pause of 1.5 to 1.7 s (IEC 62056-21, annex on battery
meters), or the request `/#1` of older heat meters at 300 baud, which wakes some newer ones too.
"""

from __future__ import annotations

from collections.abc import Generator

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Configure, Frame, Pause, Send, Step, Wake

ZEROS_SECONDS = 2.2
"""Seconds for which zeros are sent."""
IDENT = bytes.fromhex("AF A3 B1")
"""`/#1` with seven bits and even parity, sent on a line of eight bits."""
IDENT_BAUDRATE = 300
IDENT_REST = 5.0
"""Seconds that a meter which answers `/#1` needs before the next request."""


def wake_up(
    kind: Wake | None,
    *,
    baudrate: int,
    bits: int,
    pause: float,
    ident_rest: float | None = None,
) -> Generator[Step, Frame | None, None]:
    """Wake the eye in the given way, None to do nothing. Answers are ignored.

    baudrate    of the line
    bits        of one byte on the line, start and stop bits included
    pause       seconds to wait after the zeros
    ident_rest  seconds to wait after `/#1`, None for IDENT_REST

    If a bridge controls the speed and it is not 300 baud, zeros are sent instead of `/#1`.
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
    """Return a step that sends `data` and waits for no answer."""
    return Send(
        data=data,
        response_timeout=0.0,
        inter_byte_timeout=0.0,
        total_timeout=0.0,
        expects_response=False,
    )
