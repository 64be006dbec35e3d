"""Home Assistant's device discovery: pure, from pictures to messages and to their removal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kamstrup_mqtt.picture import Picture
from kamstrup_mqtt.topics import Topics

ORIGIN = "kamstrup-mqtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcer:
    """How to announce: Home Assistant's discovery prefix, our topics, and how old it may be.

    `modern` False (before 2025.12): no temperature_delta, no reactive_energy, flow in m³/h.
    """

    topics: Topics
    prefix: str = "homeassistant"
    modern: bool = True
    version: str


@dataclass(frozen=True, slots=True)
class Announced:
    """What a retained discovery message holds: serial number (with suffix), component -> platform."""

    serial: str
    components: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Discovery:
    """One retained discovery message."""

    topic: str
    payload: str
    announced: Announced


def meter_discovery(announcer: Announcer, picture: Picture) -> Discovery | None:
    """The message of one meter; None while its serial number is not known."""
    raise NotImplementedError


def bridge_discovery(announcer: Announcer, host: str) -> Discovery:
    """The message of the daemon itself: the device that all meters are reached by."""
    raise NotImplementedError


def steps(now: Discovery, before: Announced | None) -> tuple[str, ...]:
    """The payloads to publish to `now.topic` one after the other, each acknowledged, so that Home
    Assistant forgets what is gone: components that `before` had, or a device that has become
    another one. The last one is `now.payload`."""
    raise NotImplementedError


def parse_announced(announcer: Announcer, topic: str, payload: str) -> Announced | None:
    """What a retained message from the broker announced, if it is ours: our object id prefix, our
    origin and our bridge's availability topic. None for everything else."""
    raise NotImplementedError


def meter_of(announcer: Announcer, topic: str) -> str | None:
    """The meter id ("bridge": the daemon) in a discovery topic with our prefix."""
    raise NotImplementedError
