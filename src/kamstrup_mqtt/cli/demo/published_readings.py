"""Readings as they arrive at the demo's broker, with the units from discovery."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from kamstrup_mqtt.cli import tables
from kamstrup_mqtt.core.topics import Topics

DISCOVERY_PREFIX = "homeassistant"


class ReadingRow(NamedTuple):
    """One reading as text. `time` is the time of day in UTC."""

    time: str
    meter: str
    values: str


@dataclass
class PublishedReadings:
    """The newest reading of each group of each meter.

    meters      the name of each meter by its id, in the order to show them
    on_reading  called with every reading
    """

    topics: Topics
    meters: Mapping[str, str]
    on_reading: Callable[[ReadingRow], None]
    _components: dict[str, dict[str, Any]] = field(default_factory=dict)
    _groups: dict[tuple[str, str], ReadingRow] = field(default_factory=dict)
    _published: set[str] = field(default_factory=set)

    def handle_message(self, topic: str, payload: bytes) -> None:
        """Process one message that the broker received."""
        if not payload:
            return  # it clears a retained message
        for meter in self.meters:
            if topic == self.topics.discovery(DISCOVERY_PREFIX, meter):
                self._components[meter] = _parse_object(payload).get("components", {})
            elif topic.startswith(self.topics.state(meter, "")):
                group = topic.rpartition("/")[2]
                self._handle_state(meter, group, _parse_object(payload))

    def _handle_state(self, meter: str, group: str, state: dict[str, Any]) -> None:
        time = str(state.pop("time", "") or "")[11:19]
        name = self.meters[meter]
        shown = {key: value for key, value in state.items() if self._is_shown(meter, key)}
        self._groups[meter, group] = ReadingRow(time, name, self._text(meter, shown))
        if any(value is not None for value in state.values()):
            self._published.add(meter)
        self.on_reading(ReadingRow(time, name, self._text(meter, state)))

    def _is_shown(self, meter: str, key: str) -> bool:
        """True for values that Home Assistant shows by default; a terminal is small."""
        component = self._components.get(meter, {}).get(key, {})
        return component.get("enabled_by_default", True) and "entity_category" not in component

    def _text(self, meter: str, state: Mapping[str, Any]) -> str:
        components = self._components.get(meter, {})
        units = {key: components.get(key, {}).get("unit_of_measurement") for key in state}
        return ", ".join(
            f"{key} {tables.printable(value)}" + (f" {units[key]}" if units[key] else "")
            for key, value in state.items()
        )

    def rows(self) -> Iterable[ReadingRow]:
        """The newest reading of each group, in the order of the meters."""
        order = list(self.meters)
        groups = sorted(self._groups.items(), key=lambda item: order.index(item[0][0]))
        return [row for _, row in groups]

    @property
    def missing_meters(self) -> list[str]:
        """The names of the meters without a published value."""
        return [name for meter, name in self.meters.items() if meter not in self._published]


def _parse_object(payload: bytes) -> dict[str, Any]:
    message = json.loads(payload, parse_float=Decimal)
    if not isinstance(message, dict):
        raise ValueError(f"no JSON object: {payload!r}")
    return message
