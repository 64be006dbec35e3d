"""The discovery message of a meter: its device, its sensors, its diagnostics, its button."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.core.text import sanitize
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.homeassistant.entities import problem_sensor, text_sensor
from kamstrup_mqtt.homeassistant.messages import (
    Discovery,
    DiscoveryConfig,
    Payload,
    bridge_serial,
    make_message,
    origin,
)
from kamstrup_mqtt.homeassistant.names import shorten_names
from kamstrup_mqtt.meters.ha_rules import expects_number, state_class_error, unit_error

# Added to Home Assistant between 2024.11 and 2025.12.
_NEW_CLASSES = frozenset({"temperature_delta", "reactive_energy"})
_NEW_UNITS: Mapping[str, frozenset[str]] = {
    "energy": frozenset({"mWh"}),
    "power": frozenset({"mW"}),
    "apparent_power": frozenset({"mVA", "kVA"}),
    "reactive_power": frozenset({"mvar", "kvar"}),
    "volume_flow_rate": frozenset({"L/s", "m³/s", "m³/min"}),
}


def meter_discovery(config: DiscoveryConfig, device: Device) -> Discovery | None:
    """Return the message of one meter, None while its serial number is not known."""
    serial = device.serial
    if serial is None:
        return None
    topics, facts = config.topics, device.config
    availability = [{"topic": topics.bridge_status}, {"topic": topics.status(facts.id)}]
    message: Payload = {
        "device": _device(config, device, serial),
        "origin": origin(config),
        "availability": availability,
        "availability_mode": "all",
        "components": {
            **{key: _sensor(config, device, serial, key) for key in device.keys},
            **dict(_diagnostics(config, facts.id, serial)),
        },
    }
    if not facts.is_polled:
        message["components"]["problem"] = problem_sensor(config, facts.id, serial)
    else:
        message["components"]["requests_per_day"] = _requests(config, facts.id, serial)
        if facts.commands:
            message["components"]["read"] = _read_button(config, facts.id, serial)
    shorten_names(message["components"], facts.name)
    return make_message(config, facts.id, serial, message)


def _device(config: DiscoveryConfig, device: Device, serial: str) -> Payload:
    facts = device.config
    details = device.meter_state.details
    manufacturer, model = device.model
    fields: Payload = {
        "identifiers": [f"kamstrup_{serial}"],
        "name": facts.name,
        "manufacturer": manufacturer,
        "model": model,
        "serial_number": None if device.serial_text is None else sanitize(device.serial_text),
        **{key: details.get(key) for key in ("sw_version", "hw_version", "model_id")},
        "via_device": f"kamstrup_{bridge_serial(config.topics)}",
    }
    return {key: value for key, value in fields.items() if value}


def _sensor(config: DiscoveryConfig, device: Device, serial: str, key: str) -> Payload:
    quantity = device.config.plan.quantity(key)
    if quantity.is_binary:
        return _binary_sensor(config, device, serial, key)
    unit, precision = device.keys[key], quantity.precision
    template = f"{{{{ value_json.{key} }}}}"
    if unit == "L/h" and quantity.device_class == "volume_flow_rate" and not config.is_modern:
        # A single division: the result is the double nearest to the exact quotient.
        value = f"value_json.{key}"
        template = f"{{{{ none if {value} is none else {value} | float / 1000 }}}}"
        unit, precision = "m³/h", 3
    device_class = _supported_class(config, quantity.device_class, unit)
    fields: Payload = {
        "device_class": device_class,
        "state_class": _supported_state_class(device_class, quantity.state_class),
        "unit_of_measurement": unit,
        "suggested_display_precision": precision if expects_number(quantity, unit) else None,
        "icon": quantity.icon,
        "entity_category": quantity.category,
        "enabled_by_default": None if quantity.enabled else False,
    }
    return {
        "platform": "sensor",
        "name": quantity.name,
        "unique_id": f"kamstrup_{serial}_{key}",
        "state_topic": config.topics.state(device.config.id, device.group_of(key)),
        "value_template": template,
        **{name: value for name, value in fields.items() if value is not None},
    }


def _binary_sensor(config: DiscoveryConfig, device: Device, serial: str, key: str) -> Payload:
    quantity = device.config.plan.quantity(key)
    fields = {
        "device_class": quantity.device_class,
        "icon": quantity.icon,
        "entity_category": quantity.category,
        "enabled_by_default": None if quantity.enabled else False,
    }
    return {
        "platform": "binary_sensor",
        "name": quantity.name,
        "unique_id": f"kamstrup_{serial}_{key}",
        "state_topic": config.topics.state(device.config.id, device.group_of(key)),
        # ON, OFF or None, which Home Assistant shows as unknown
        "value_template": f"{{{{ value_json.{key} }}}}",
        **{name: value for name, value in fields.items() if value is not None},
    }


def _supported_state_class(device_class: str | None, state_class: str | None) -> str | None:
    return None if state_class_error(device_class, state_class) is not None else state_class


def _supported_class(
    config: DiscoveryConfig, device_class: str | None, unit: str | None
) -> str | None:
    """Return the class, None if Home Assistant refuses it with this unit or is too old for it."""
    if device_class is None or unit_error(device_class, unit) is not None:
        return None
    if config.is_modern:
        return device_class
    if device_class in _NEW_CLASSES or unit in _NEW_UNITS.get(device_class, ()):
        return None
    return device_class


def _diagnostics(config: DiscoveryConfig, id_: str, serial: str) -> Iterator[tuple[str, Payload]]:
    """Yield the diagnostic entities, which stay available while the meter is offline."""
    topics = config.topics
    own = {
        "state_topic": topics.diagnostics(id_),
        "availability": [{"topic": topics.bridge_status}],
    }
    options = [state.value for state in LinkState]
    yield (
        "link_state",
        text_sensor(
            "Link state", "link_state", serial, device_class="enum", options=options, **own
        ),
    )
    yield (
        "last_reading",
        text_sensor("Last reading", "last_reading", serial, device_class="timestamp", **own),
    )
    yield (
        "last_error",
        text_sensor("Last error", "last_error", serial, enabled_by_default=False, **own),
    )
    for key, name in (("frames", "Frames"), ("dropped", "Dropped"), ("reconnects", "Reconnects")):
        counter = text_sensor(name, key, serial, enabled_by_default=False, **own)
        yield key, {**counter, "state_class": "total_increasing"}


def _requests(config: DiscoveryConfig, id_: str, serial: str) -> Payload:
    topics = config.topics
    return text_sensor(
        "Requests per day",
        "requests_per_day",
        serial,
        state_topic=topics.diagnostics(id_),
        availability=[{"topic": topics.bridge_status}],
        enabled_by_default=False,
        state_class="measurement",
    )


def _read_button(config: DiscoveryConfig, id_: str, serial: str) -> Payload:
    topics = config.topics
    return {
        "platform": "button",
        "name": "Read now",
        "unique_id": f"kamstrup_{serial}_read",
        "command_topic": topics.read(id_),
        "payload_press": "read",
        "qos": 1,
        "availability": [{"topic": topics.bridge_status}],
    }
