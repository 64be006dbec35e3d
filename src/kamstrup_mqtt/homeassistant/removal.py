"""Removal of what a retained discovery message announced before.

Leaving a component out of a message does not remove it from Home Assistant. It is published once
more as {"platform": ...} alone, and left out of the message after that (`publish_sequence`).
"""

from __future__ import annotations

import json

from kamstrup_mqtt.homeassistant.messages import (
    ORIGIN,
    Discovery,
    DiscoveryConfig,
    PublishedDiscovery,
    dump_json,
)


def publish_sequence(now: Discovery, before: PublishedDiscovery | None) -> tuple[str, ...]:
    """Return the payloads to publish to `now.topic`, each after the previous one is acknowledged.

    They make Home Assistant forget the components that `before` had and `now` has not, or the
    whole device if it has become another one. The last payload is `now.payload`.
    """
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
    return (dump_json(message), now.payload)


def parse_announced(config: DiscoveryConfig, topic: str, payload: str) -> PublishedDiscovery | None:
    """Return what a retained message announced, None if it is not ours.

    A message is ours if it has our object id prefix, our origin and the availability topic of our
    bridge.
    """
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
        return None  # written by another program
    if origin != ORIGIN or config.topics.bridge_status not in available:
        return None
    return PublishedDiscovery(identifier.removeprefix("kamstrup_"), components)


def parse_meter_id(config: DiscoveryConfig, topic: str) -> str | None:
    """Return the meter id ("bridge" for the daemon) of one of our discovery topics, else None."""
    start, end = config.topics.discovery(config.prefix, "\0").split("\0")
    if not (topic.startswith(start) and topic.endswith(end)):
        return None
    return topic[len(start) : len(topic) - len(end)] or None


def _checked_word(found: object) -> str:
    """Return `found` if it can be part of an id. Raises ValueError otherwise, also for half a
    surrogate pair, which cannot be published."""
    if not isinstance(found, str) or not found.isprintable():
        raise ValueError(f"{found!r} is no id of ours")
    return found
