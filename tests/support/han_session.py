"""What a list tells, and what follows from it, at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from kamstrup_mqtt.protocols.base import Message, PushedReading, SessionUpdate, Timestamp
from kamstrup_mqtt.protocols.han.codec import HanCodec
from kamstrup_mqtt.protocols.han.meter_session import HanSession


@dataclass(frozen=True)
class Heard:
    told: PushedReading = field(default_factory=lambda: PushedReading(()))
    followed: SessionUpdate = field(default_factory=SessionUpdate)


def hear(meter: HanCodec | HanSession, message: Message, moment: Timestamp) -> Heard:
    return Heard(meter.process(message, moment), meter.learn())
