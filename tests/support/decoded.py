"""What comes out of a frame, whole, so that two ways of reading it can be compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Frame, Message


def outcome(read: Callable[[Frame], Message], frame: Frame) -> tuple[Any, ...]:
    """The header with its order, the objects, and how they show themselves: a Decimal's exponent
    and sign of zero too; or the error."""
    try:
        message = read(frame)
    except MeterError as error:
        return (error.state, str(error))
    return (list(message.header.items()), message.objects, str(message.objects))


def changed(frame: Frame, rng: random.Random, count: int, highest: int = 0xFF) -> Frame:
    """The frame with `count` other bytes, as if its checksum were right."""
    payload = bytearray(frame.payload)
    for _ in range(count if payload else 0):
        payload[rng.randrange(len(payload))] = rng.randint(0, highest)
    return frame._replace(payload=bytes(payload))
