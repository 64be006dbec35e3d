"""The discovery message of the daemon, whose gateway device all meters refer to."""

from __future__ import annotations

from collections.abc import Iterable

from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.homeassistant.entities import problem_sensor, text_sensor
from kamstrup_mqtt.homeassistant.messages import (
    BRIDGE,
    ORIGIN,
    Discovery,
    DiscoveryConfig,
    Payload,
    bridge_serial,
    make_message,
    origin,
)


def bridge_discovery(config: DiscoveryConfig, waiting: Iterable[Device] = ()) -> Discovery:
    """Return the message of the daemon's device.

    `waiting` are the meters whose serial number is not known yet. They have no device, so their
    problem sensors belong to this one.
    """
    topics = config.topics
    serial = bridge_serial(topics)
    name = "Kamstrup MQTT" if topics.instance == "main" else f"Kamstrup MQTT {topics.instance}"
    info = {
        "state_topic": topics.bridge_info,
        "availability": [{"topic": topics.bridge_status}],
    }
    version = text_sensor("Version", "version", serial, **info)
    started = text_sensor("Started", "started", serial, device_class="timestamp", **info)
    message: Payload = {
        "device": {
            "identifiers": [f"kamstrup_{serial}"],
            "name": name,
            "manufacturer": ORIGIN,
            "model": "Meter gateway",
            "sw_version": config.version,
        },
        "origin": origin(config),
        "components": {
            "connection": _connection(topics, serial),
            "version": version,
            "started": started,
        },
    }
    for facts in (device.config for device in waiting):
        sensor = problem_sensor(config, facts.id, f"{serial}_{facts.id}")
        message["components"][problem_component(facts.id)] = {
            **sensor,
            "name": f"{facts.name} problem",
        }
    return make_message(config, BRIDGE, serial, message)


def problem_component(id_: str) -> str:
    """Return the component id of the problem sensor of a meter without a device."""
    return f"{id_}_problem"


def _connection(topics: Topics, serial: str) -> Payload:
    return {
        "platform": "binary_sensor",
        "name": "Connection",
        "unique_id": f"kamstrup_{serial}_connection",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": topics.bridge_status,
        "payload_on": "online",
        "payload_off": "offline",
        # No availability: the entity exists to say "off". Disabled, because all other entities
        # become unavailable at that moment anyway.
        "enabled_by_default": False,
    }
