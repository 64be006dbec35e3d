"""The format of discovery messages.

One retained message per meter and one for the daemon ("bridge"), with long keys and topics in
full. A message is

    {"device": {...}, "origin": {...}, "availability": [...], "availability_mode": "all",
     "components": {component id: {"platform": ..., "unique_id": ..., ...}, ...}}

Home Assistant refuses the whole message for one unknown key at the root or in `device`, so the
keys used here are those that it knew in 2024.11 (components/mqtt/schemas.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kamstrup_mqtt.core.topics import Topics

ORIGIN = "kamstrup-mqtt"
BRIDGE = "bridge"

Payload = dict[str, Any]
"""A JSON object of a discovery message."""

# no exact numbers here, and `decimal_json` takes three times as long
dump_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryConfig:
    """Settings of discovery messages that are the same for all meters.

    prefix      Home Assistant's discovery prefix
    is_modern   False for Home Assistant before 2025.12: no temperature_delta, no reactive_energy,
                flow in m³/h
    version     the version of this program
    """

    topics: Topics
    prefix: str = "homeassistant"
    is_modern: bool = True
    version: str


@dataclass(frozen=True, slots=True)
class PublishedDiscovery:
    """What a discovery message announced.

    serial       the serial number in its ids, with its suffix
    components   component id -> platform
    """

    serial: str
    components: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Discovery:
    """One retained discovery message."""

    topic: str
    payload: str
    announced: PublishedDiscovery


def make_message(config: DiscoveryConfig, id_: str, serial: str, message: Payload) -> Discovery:
    """Return the message for the meter `id_` with the payload `message`."""
    platforms = {key: str(entity["platform"]) for key, entity in message["components"].items()}
    return Discovery(
        config.topics.discovery(config.prefix, id_),
        dump_json(message),
        PublishedDiscovery(serial, platforms),
    )


def bridge_serial(topics: Topics) -> str:
    """Return the serial number of the daemon's device, as part of ids."""
    return f"mqtt_{topics.instance}"


def origin(config: DiscoveryConfig) -> Payload:
    """Return the `origin` object of every message."""
    return {"name": ORIGIN, "sw_version": config.version}
