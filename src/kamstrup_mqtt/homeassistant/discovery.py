"""Home Assistant's device discovery: pure, from pictures to messages and to their removal.

One retained message per meter and one for the daemon ("bridge"), with long keys and topics in
full. A message is

    {"device": {...}, "origin": {...}, "availability": [...], "availability_mode": "all",
     "components": {component id: {"platform": ..., "unique_id": ..., ...}, ...}}

One key too many at the root or in `fields` and Home Assistant refuses the whole message, so these
are the keys that it knew in 2024.11 (components/mqtt/schemas.py). Leaving a component out does not
remove it: it is published once more as {"platform": ...} alone, then left out (`publish_sequence`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.meters.ha_rules import expects_number, sanitize
from kamstrup_mqtt.meters.ha_units import state_class_error, unit_error

ORIGIN = "kamstrup-mqtt"
BRIDGE = "bridge"

# What the versions between 2024.11 and 2025.12 learned.
_NEW_CLASSES = frozenset({"temperature_delta", "reactive_energy"})
_NEW_UNITS: Mapping[str, frozenset[str]] = {
    "energy": frozenset({"mWh"}),
    "power": frozenset({"mW"}),
    "apparent_power": frozenset({"mVA", "kVA"}),
    "reactive_power": frozenset({"mvar", "kvar"}),
    "volume_flow_rate": frozenset({"L/s", "m³/s", "m³/min"}),
}

Config = dict[str, Any]

# `jsontext` is for exact numbers, of which there are none here, and takes three times as long
_DUMPS = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryConfig:
    """How to announce: Home Assistant's discovery prefix, our topics, and how old it may be.

    `is_modern` False (before 2025.12): no temperature_delta, no reactive_energy, flow in m³/h.
    `version` is this program's.
    """

    topics: Topics
    prefix: str = "homeassistant"
    is_modern: bool = True
    version: str


@dataclass(frozen=True, slots=True)
class PublishedDiscovery:
    """What a discovery message announced: the serial number (with its suffix) that its ids are
    made of, and component id -> platform."""

    serial: str
    components: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Discovery:
    """One retained discovery message."""

    topic: str
    payload: str
    announced: PublishedDiscovery


def meter_discovery(config: DiscoveryConfig, device: Device) -> Discovery | None:
    """The message of one meter; None while its serial number is not known."""
    serial = device.serial
    if serial is None:
        return None
    topics, facts = config.topics, device.config
    availability = [{"topic": topics.bridge_status}, {"topic": topics.status(facts.id)}]
    message: Config = {
        "device": _device(config, device, serial),
        "origin": _origin(config),
        "availability": availability,
        "availability_mode": "all",
        "components": {
            **{key: _sensor(config, device, serial, key) for key in device.keys},
            **dict(_diagnostics(config, facts.id, serial)),
        },
    }
    if not facts.is_polled:
        message["components"]["problem"] = _problem(config, facts.id, serial)
    if facts.is_polled:
        message["components"]["requests_per_day"] = _requests(config, facts.id, serial)
    if facts.is_polled and facts.commands:
        message["components"]["read"] = _read_button(config, facts.id, serial)
    _shorten_names(message["components"], facts.name)
    return _message(config, facts.id, serial, message)


def bridge_discovery(config: DiscoveryConfig, waiting: Iterable[Device] = ()) -> Discovery:
    """The message of the daemon itself: the device that all meters are reached by. Meters that
    wait for their serial number have no device yet: what keeps them is a problem of this one."""
    topics = config.topics
    serial = _bridge_serial(topics)
    name = "Kamstrup MQTT" if topics.instance == "main" else f"Kamstrup MQTT {topics.instance}"
    info = {
        "state_topic": topics.bridge_info,
        "availability": [{"topic": topics.bridge_status}],
    }
    version = _text("Version", "version", serial, **info)
    started = _text("Started", "started", serial, device_class="timestamp", **info)
    message: Config = {
        "device": {
            "identifiers": [f"kamstrup_{serial}"],
            "name": name,
            "manufacturer": ORIGIN,
            "model": "Meter gateway",
            "sw_version": config.version,
        },
        "origin": _origin(config),
        "components": {
            "connection": _connection(topics, serial),
            "version": version,
            "started": started,
        },
    }
    for facts in (device.config for device in waiting):
        sensor = _problem(config, facts.id, f"{serial}_{facts.id}")
        message["components"][problem_component(facts.id)] = {
            **sensor,
            "name": f"{facts.name} problem",
        }
    return _message(config, BRIDGE, serial, message)


def _connection(topics: Topics, serial: str) -> Config:
    return {
        "platform": "binary_sensor",
        "name": "Connection",
        "unique_id": f"kamstrup_{serial}_connection",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": topics.bridge_status,
        "payload_on": "online",
        "payload_off": "offline",
        # without availability: off is what it is there to say. Switched off, because every other
        # entity becomes unavailable at that moment, which says it already
        "enabled_by_default": False,
    }


def problem_component(id_: str) -> str:
    """The component of the bridge that says what keeps a meter without a device."""
    return f"{id_}_problem"


def publish_sequence(now: Discovery, before: PublishedDiscovery | None) -> tuple[str, ...]:
    """The payloads to publish to `now.topic` one after the other, each acknowledged, so that Home
    Assistant forgets what is gone: components that `before` had, or a device that has become
    another one. The last one is `now.payload`."""
    if before is None:
        return (now.payload,)
    if before.serial != now.announced.serial:
        return ("", now.payload)
    present = now.announced.components
    gone = {
        component: {"platform": platform}
        for component, platform in before.components.items()
        if present.get(component) != platform
    }
    if not gone:
        return (now.payload,)
    message = json.loads(now.payload)
    message["components"].update(gone)
    return (_DUMPS(message), now.payload)


def parse_announced(config: DiscoveryConfig, topic: str, payload: str) -> PublishedDiscovery | None:
    """What a retained message from the broker announced, if it is ours: our object id prefix, our
    origin and our bridge's availability topic. None for everything else."""
    if parse_meter_id(config, topic) is None:
        return None
    try:
        message = json.loads(payload)
        origin = message["origin"]["name"]
        identifier = _checked_word(message["device"]["identifiers"][0])
        components = {
            _checked_word(id_): _checked_word(c["platform"])
            for id_, c in message["components"].items()
        }
        available = [
            entry["topic"]
            for part in (message, *message["components"].values())
            for entry in part.get("availability", ())
        ]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None  # whoever wrote that, it was not this program
    if origin != ORIGIN or config.topics.bridge_status not in available:
        return None
    return PublishedDiscovery(identifier.removeprefix("kamstrup_"), components)


def _checked_word(found: object) -> str:
    """Part of an id as we write them; half a surrogate pair could not even be published."""
    if not isinstance(found, str) or not found.isprintable():
        raise ValueError(f"{found!r} is no id of ours")
    return found


def parse_meter_id(config: DiscoveryConfig, topic: str) -> str | None:
    """The meter id ("bridge": the daemon) in a discovery topic with our prefix, else None."""
    start, end = config.topics.discovery(config.prefix, "\0").split("\0")
    if not (topic.startswith(start) and topic.endswith(end)):
        return None
    return topic[len(start) : len(topic) - len(end)] or None


def _message(config: DiscoveryConfig, id_: str, serial: str, message: Config) -> Discovery:
    platforms = {key: str(config["platform"]) for key, config in message["components"].items()}
    return Discovery(
        config.topics.discovery(config.prefix, id_),
        _DUMPS(message),
        PublishedDiscovery(serial, platforms),
    )


def _bridge_serial(topics: Topics) -> str:
    return f"mqtt_{topics.instance}"


def _origin(config: DiscoveryConfig) -> Config:
    return {"name": ORIGIN, "sw_version": config.version}


def _device(config: DiscoveryConfig, device: Device, serial: str) -> Config:
    facts = device.config
    details = device.meter_state.details
    manufacturer, model = device.model
    fields: Config = {
        "identifiers": [f"kamstrup_{serial}"],
        "name": facts.name,
        "manufacturer": manufacturer,
        "model": model,
        "serial_number": None if device.serial_text is None else sanitize(device.serial_text),
        **{key: details.get(key) for key in ("sw_version", "hw_version", "model_id")},
        "via_device": f"kamstrup_{_bridge_serial(config.topics)}",
    }
    return {key: value for key, value in fields.items() if value}


def _binary_sensor(config: DiscoveryConfig, device: Device, serial: str, key: str) -> Config:
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
        # ON, OFF, or None, which Home Assistant takes for unknown
        "value_template": f"{{{{ value_json.{key} }}}}",
        **{name: value for name, value in fields.items() if value is not None},
    }


def _sensor(config: DiscoveryConfig, device: Device, serial: str, key: str) -> Config:
    quantity = device.config.plan.quantity(key)
    if quantity.binary:
        return _binary_sensor(config, device, serial, key)
    unit, precision = device.keys[key], quantity.precision
    template = f"{{{{ value_json.{key} }}}}"
    if unit == "L/h" and quantity.device_class == "volume_flow_rate" and not config.is_modern:
        # one division: its result is the double nearest to the exact quotient
        value = f"value_json.{key}"
        template = f"{{{{ none if {value} is none else {value} | float / 1000 }}}}"
        unit, precision = "m³/h", 3
    device_class = _supported_class(config, quantity.device_class, unit)
    fields: Config = {
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


def _shorten_names(components: Mapping[str, Config], device: str) -> None:
    """Home Assistant writes the device's name in front itself; a name stays whole where the rest
    of it is what another entity is called."""
    taken = {component["name"].casefold() for component in components.values()}
    for component in components.values():
        short = _without_device(component["name"], device)
        if short.casefold() not in taken:
            taken.add(short.casefold())
            component["name"] = short


def _without_device(name: str, device: str) -> str:
    """ "Heat energy" of the device "Heat" is "Energy"; as it is where nothing would remain."""
    own, words = name.split(), device.split()
    front, rest = own[: len(words)], own[len(words) :]
    if not rest or [w.casefold() for w in front] != [w.casefold() for w in words]:
        return name
    left = " ".join(rest)
    return left[0].upper() + left[1:]


def _supported_state_class(device_class: str | None, state_class: str | None) -> str | None:
    return None if state_class_error(device_class, state_class) is not None else state_class


def _supported_class(
    config: DiscoveryConfig, device_class: str | None, unit: str | None
) -> str | None:
    """The class, or None where Home Assistant refuses it with this unit or is too old for it."""
    if device_class is None or unit_error(device_class, unit) is not None:
        return None
    if config.is_modern:
        return device_class
    if device_class in _NEW_CLASSES or unit in _NEW_UNITS.get(device_class, ()):
        return None
    return device_class


def _text(name: str, key: str, serial: str, **more: Any) -> Config:
    return {
        "platform": "sensor",
        "name": name,
        "unique_id": f"kamstrup_{serial}_{key}",
        "value_template": f"{{{{ value_json.{key} }}}}",
        "entity_category": "diagnostic",
        **more,
    }


def _diagnostics(config: DiscoveryConfig, id_: str, serial: str) -> Iterator[tuple[str, Config]]:
    """Why nothing comes, and since when: there as long as the bridge is, also while the meter is
    offline."""
    topics = config.topics
    own = {
        "state_topic": topics.diagnostics(id_),
        "availability": [{"topic": topics.bridge_status}],
    }
    options = [state.value for state in LinkState]
    yield (
        "link_state",
        _text("Link state", "link_state", serial, device_class="enum", options=options, **own),
    )
    yield (
        "last_reading",
        _text("Last reading", "last_reading", serial, device_class="timestamp", **own),
    )
    yield (
        "last_error",
        _text("Last error", "last_error", serial, enabled_by_default=False, **own),
    )
    for key, name in (("frames", "Frames"), ("dropped", "Dropped"), ("reconnects", "Reconnects")):
        counter = _text(name, key, serial, enabled_by_default=False, **own)
        yield key, {**counter, "state_class": "total_increasing"}


def _problem(config: DiscoveryConfig, id_: str, serial: str) -> Config:
    """On while something is wrong: no bytes, no key, a wrong key, energies that contradict the
    power. The attribute `problem` says in words what it is."""
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


def _requests(config: DiscoveryConfig, id_: str, serial: str) -> Config:
    topics = config.topics
    return _text(
        "Requests per day",
        "requests_per_day",
        serial,
        state_topic=topics.diagnostics(id_),
        availability=[{"topic": topics.bridge_status}],
        enabled_by_default=False,
        state_class="measurement",
    )


def _read_button(config: DiscoveryConfig, id_: str, serial: str) -> Config:
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
