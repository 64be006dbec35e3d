"""Entities that a meter's device and the gateway's device both have."""

from __future__ import annotations

from typing import Any

from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig, Payload


def text_sensor(name: str, key: str, serial: str, **more: Any) -> Payload:
    """A diagnostic sensor whose state is the value of `key` in a JSON topic."""
    return {
        "platform": "sensor",
        "name": name,
        "unique_id": f"kamstrup_{serial}_{key}",
        "value_template": f"{{{{ value_json.{key} }}}}",
        "entity_category": "diagnostic",
        **more,
    }


def problem_sensor(config: DiscoveryConfig, id_: str, serial: str) -> Payload:
    """A binary sensor that is on while a meter has a problem, such as no bytes, a missing or wrong
    key, or energies that contradict the power. Its attribute `problem` describes it."""
    topics = config.topics
    return {
        "platform": "binary_sensor",
        "name": "Problem",
        "unique_id": f"kamstrup_{serial}_problem",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": topics.diagnostics(id_),
        "value_template": "{{ 'ON' if value_json.problem else 'OFF' }}",
        "json_attributes_topic": topics.diagnostics(id_),
        "json_attributes_template": (
            "{{ {'problem': value_json.problem, 'notes': value_json.notes} | tojson }}"
        ),
        "availability": [{"topic": topics.bridge_status}],
    }
