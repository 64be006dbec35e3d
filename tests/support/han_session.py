"""What a list tells, and what follows from it, at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from kamstrup_mqtt.protocols.base import Followed, Message, Moment, Told
from kamstrup_mqtt.protocols.han.codec import HanCodec
from kamstrup_mqtt.protocols.han.meter_session import Follower


@dataclass(frozen=True)
class Heard:
    told: Told = field(default_factory=lambda: Told(()))
    followed: Followed = field(default_factory=Followed)


def hear(meter: HanCodec | Follower, message: Message, moment: Moment) -> Heard:
    return Heard(meter.hear(message, moment), meter.follow())
