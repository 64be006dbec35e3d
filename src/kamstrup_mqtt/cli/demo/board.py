"""What `kamstrup-mqtt demo` shows: readings as they arrive at the broker, units from discovery."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from kamstrup_mqtt.cli import tables
from kamstrup_mqtt.core.topics import Topics

_PREFIX = "homeassistant"

Line = tuple[str, str, str]
"""Time of day (UTC), meter, readings."""


@dataclass
class DemoBoard:
    """The newest reading of each group of each meter. `changed` is called with each new line."""

    topics: Topics
    meters: dict[str, str]  # id -> name
    changed: Callable[[Line], None]
    _components: dict[str, dict[str, Any]] = field(default_factory=dict)
    _groups: dict[tuple[str, str], Line] = field(default_factory=dict)
    _published: set[str] = field(default_factory=set)

    def on_message(self, topic: str, payload: bytes) -> None:
        """Take one message that the broker received."""
        if not payload:
            return  # a retained message is cleared
        for meter in self.meters:
            if topic == self.topics.discovery(_PREFIX, meter):
                self._components[meter] = _read(payload).get("components", {})
            elif topic.startswith(self.topics.state(meter, "")):
                self._state(meter, topic.rpartition("/")[2], _read(payload))

    def _state(self, meter: str, group: str, state: dict[str, Any]) -> None:
        time = str(state.pop("time", "") or "")[11:19]
        name = self.meters[meter]
        self._groups[meter, group] = (time, name, self._text(meter, self._shown(meter, state)))
        if any(value is not None for value in state.values()):
            self._published.add(meter)
        self.changed((time, name, self._text(meter, state)))

    def _shown(self, meter: str, state: dict[str, Any]) -> dict[str, Any]:
        """Without what Home Assistant would not show by default: a terminal is small."""
        components = self._components.get(meter, {})
        return {
            key: value
            for key, value in state.items()
            if components.get(key, {}).get("enabled_by_default", True)
            and "entity_category" not in components.get(key, {})
        }

    def _text(self, meter: str, state: dict[str, Any]) -> str:
        components = self._components.get(meter, {})
        return ", ".join(
            f"{key} {tables.printable(value)}"
            + (f" {unit}" if (unit := components.get(key, {}).get("unit_of_measurement")) else "")
            for key, value in state.items()
        )

    def rows(self) -> Iterable[Line]:
        """One line for each group, in the meters' order."""
        order = list(self.meters)
        return [
            line
            for _, line in sorted(self._groups.items(), key=lambda item: order.index(item[0][0]))
        ]

    @property
    def missing(self) -> list[str]:
        """The names of the meters of which no value was published yet."""
        return [name for meter, name in self.meters.items() if meter not in self._published]


def _read(payload: bytes) -> dict[str, Any]:
    message = json.loads(payload, parse_float=Decimal)
    if not isinstance(message, dict):
        raise ValueError(f"no JSON object: {payload!r}")
    return message
