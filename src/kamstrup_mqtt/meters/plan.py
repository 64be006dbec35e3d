"""The reading plan of a configured meter: the values that are read, with their keys and groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import ProtocolProfile, Quantity
from kamstrup_mqtt.meters.quantities import QUANTITIES, generic_quantity


@dataclass(frozen=True, slots=True)
class PlannedValue:
    """A value of a configured meter."""

    source: SourceId
    quantity: Quantity
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPlan:
    """The values that are read from one meter.

    values            values that are read and announced
    accept_unlisted   publish unlisted objects as disabled diagnostics: pushed lists and readouts
                      contain all values of the meter anyway
    periods           group -> seconds within which it is expected to be read again
    groups            reading groups, in the order of the model
    by_key            key -> the first of its values
    live_keys         keys of counters that are interpolated between two registers
    """

    protocol: str
    profile: ProtocolProfile
    values: tuple[PlannedValue, ...]
    periods: Mapping[str, float]
    accept_unlisted: bool = False
    groups: tuple[str, ...] = field(init=False)
    by_source: Mapping[SourceId, PlannedValue] = field(init=False)
    by_key: Mapping[str, PlannedValue] = field(init=False)
    live_keys: frozenset[str] = field(init=False)
    _quantities: Mapping[str, Quantity] = field(init=False, repr=False, compare=False)
    _totals: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        groups = dict.fromkeys((*self.profile.groups, *(v.group for v in self.values)))
        object.__setattr__(self, "groups", tuple(groups))
        object.__setattr__(self, "by_source", {v.source: v for v in self.values})
        object.__setattr__(self, "by_key", {v.quantity.key: v for v in reversed(self.values)})
        live = frozenset(v.quantity.key for v in self.values if v.quantity.catch_up_seconds)
        object.__setattr__(self, "live_keys", live)
        quantities = self._collect_quantities()
        object.__setattr__(self, "_quantities", quantities)
        totals = frozenset(key for key, quantity in quantities.items() if _never_falls(quantity))
        object.__setattr__(self, "_totals", totals)

    def _collect_quantities(self) -> dict[str, Quantity]:
        """Return the quantities by key: those that are read, then those that the model lists."""
        found = {key: planned.quantity for key, planned in self.by_key.items()}
        for source in (*self.profile.more, *self.profile.overrides):
            quantity = registry.quantity_for(self.protocol, self.profile, source)
            found.setdefault(quantity.key, quantity)
        return found

    @property
    def sources(self) -> tuple[SourceId, ...]:
        """The sources of all values, in order. `dependencies.sources_to_read` has those to read."""
        return tuple(value.source for value in self.values)

    def sources_of(self, groups: Iterable[str]) -> tuple[SourceId, ...]:
        """Return the sources of the values in these groups, in order."""
        names = frozenset(groups)
        return tuple(value.source for value in self.values if value.group in names)

    def group_of(self, key: str) -> str | None:
        """Return the group of `key`; None if it is not listed."""
        planned = self.by_key.get(key)
        return None if planned is None else planned.group

    def quantity(self, key: str) -> Quantity:
        """Return the quantity of `key`: as configured, else of the model, else of any meter."""
        return self._quantities.get(key) or QUANTITIES.get(key) or generic_quantity(key)

    def is_total(self, key: str) -> bool:
        """Return True if the value of `key` never falls."""
        if key in self._quantities:
            return key in self._totals
        return _never_falls(self.quantity(key))


def _never_falls(quantity: Quantity) -> bool:
    return quantity.state_class == "total_increasing"


class PlanPool:
    """Shares equal plans: many meters have the same few."""

    def __init__(self) -> None:
        self._plans: list[ReadingPlan] = []

    def share(self, plan: ReadingPlan) -> ReadingPlan:
        """Return an equal plan that was shared before, else `plan`."""
        for shared in self._plans:
            if shared == plan:
                return shared
        self._plans.append(plan)
        return plan


def default_values(protocol: str, profile: ProtocolProfile) -> tuple[PlannedValue, ...]:
    """Return the values that the model reads by default."""
    return tuple(
        PlannedValue(source, registry.quantity_for(protocol, profile, source), group)
        for group, sources in profile.groups.items()
        for source in sources
    )
