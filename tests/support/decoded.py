"""Results of decoding in a form that can be compared exactly."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Frame, Message


def decode_outcome(read: Callable[[Frame], Message], frame: Frame) -> tuple[Any, ...]:
    """Return header, objects and their repr (exponents, signed zeros), or the error."""
    try:
        message = read(frame)
    except MeterError as error:
        return (error.state, str(error))
    return (list(message.header.items()), message.objects, str(message.objects))


def with_changed_bytes(frame: Frame, rng: random.Random, count: int, highest: int = 0xFF) -> Frame:
    """Return the frame with `count` changed bytes, as if its checksum were valid."""
    payload = bytearray(frame.payload)
    for _ in range(count if payload else 0):
        payload[rng.randrange(len(payload))] = rng.randint(0, highest)
    return frame._replace(payload=bytes(payload))
