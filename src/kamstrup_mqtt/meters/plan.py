"""What is read from one configured meter, and what it is called: model and configuration joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import DecodedValue, Measurement, SourceId
from kamstrup_mqtt.meters import energy, registry
from kamstrup_mqtt.meters.model import ProtocolProfile, Quantity
from kamstrup_mqtt.meters.quantities import QUANTITIES, unnamed


@dataclass(frozen=True, slots=True)
class PlannedValue:
    """One value of one configured meter."""

    source: SourceId
    quantity: Quantity
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPlan:
    """What is read from one meter.

    values        what is read and announced
    open          True: objects that nobody listed are published too, as switched-off diagnostics
                  (pushed lists and readouts come whole anyway)
    periods       group -> seconds within which it should be filled again
    groups        the reading groups, in the model's order
    live_keys     the counters that go on between two registers
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
    _totals: dict[str, bool] = field(init=False, repr=False, compare=False, default_factory=dict)
    _found: dict[str, Quantity] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        groups = dict.fromkeys((*self.profile.groups, *(v.group for v in self.values)))
        object.__setattr__(self, "groups", tuple(groups))
        object.__setattr__(self, "by_source", {v.source: v for v in self.values})
        # of several values with one key the first counts
        object.__setattr__(self, "by_key", {v.quantity.key: v for v in reversed(self.values)})
        live = frozenset(v.quantity.key for v in self.values if v.quantity.catch_up_seconds)
        object.__setattr__(self, "live_keys", live)

    @property
    def sources(self) -> tuple[SourceId, ...]:
        """What is published, in order; `derived.sent` says what is read for it."""
        return tuple(value.source for value in self.values)

    def sources_of(self, groups: Iterable[str]) -> tuple[SourceId, ...]:
        """What is published in these groups, in order."""
        wanted = frozenset(groups)
        return tuple(value.source for value in self.values if value.group in wanted)

    def group_of(self, key: str) -> str | None:
        """The group in which `key` is read; None when it was not listed."""
        planned = self.by_key.get(key)
        return None if planned is None else planned.group

    def quantity(self, key: str) -> Quantity:
        """What is published under `key`: as configured, as the model has it, or as anyone has."""
        planned = self.by_key.get(key)
        if planned is not None:
            return planned.quantity
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._look_up(key)
        return found

    def is_total(self, key: str) -> bool:
        """Whether what is published under `key` only rises."""
        found = self._totals.get(key)
        if found is None:
            rises = self.quantity(key).state_class == "total_increasing"
            found = self._totals[key] = rises
        return found

    def _look_up(self, key: str) -> Quantity:
        for source in (*self.profile.more, *self.profile.overrides):
            quantity = registry.quantity_for(self.protocol, self.profile, source)
            if quantity.key == key:
                return quantity
        return QUANTITIES.get(key) or unnamed(key)


_PLANS: list[ReadingPlan] = []
_MANY = 64


def intern_plan(plan: ReadingPlan) -> ReadingPlan:
    """The plan, or one like it that was seen before: a house full of meters has few plans."""
    for known in _PLANS:
        if known == plan:
            return known
    _PLANS.append(plan)
    del _PLANS[:-_MANY]
    return plan


def default_values(protocol: str, profile: ProtocolProfile) -> tuple[PlannedValue, ...]:
    """The model's own list."""
    return tuple(
        PlannedValue(source, registry.quantity_for(protocol, profile, source), group)
        for group, sources in profile.groups.items()
        for source in sources
    )


@dataclass(frozen=True, slots=True)
class MappedObjects:
    """The objects of one frame, by group and key; `unmapped` holds those that nobody has a name
    for, `wrong_unit` those whose unit is not of the family it should be: key -> message."""

    groups: Mapping[str, Mapping[str, Measurement]]
    unmapped: tuple[DecodedValue, ...]
    wrong_unit: Mapping[str, str]


def map_objects(
    plan: ReadingPlan, objects: Iterable[DecodedValue], requested: Iterable[SourceId] = ()
) -> MappedObjects:
    """The objects under their public keys, in the units of the contract.

    Sources in `requested` for which no object came are published as "no value came" (null).
    """
    objects = tuple(objects)
    groups: dict[str, dict[str, Measurement]] = {}
    unknown: list[DecodedValue] = []
    foreign: dict[str, str] = {}
    group: str | None = None  # where newcomers belong
    for obj in objects:
        planned = plan.by_source.get(obj.id)
        if planned is None:
            if not plan.accept_unlisted:
                continue
            group = group or _rarest_group(plan, objects)
            quantity = registry.quantity_for(plan.protocol, plan.profile, obj.id)
            # a key is published in one group, whichever of its sources a list has
            planned = PlannedValue(obj.id, quantity, plan.group_of(quantity.key) or group)
            named = obj.id in plan.profile.overrides
            if not named and registry.key_of(plan.protocol, obj.id) is None:
                unknown.append(obj)
        quantity = planned.quantity
        values = groups.setdefault(planned.group, {})
        before = values.get(quantity.key)
        if before is not None and before.value is not None:
            continue  # the same address twice in one readout: the first is reported
        try:
            values[quantity.key] = to_contract_unit(quantity, obj)
        except ValueError as error:
            foreign[quantity.key] = str(error)
            values[quantity.key] = Measurement(None)
    for source in requested:
        planned = plan.by_source[source]
        groups.setdefault(planned.group, {}).setdefault(planned.quantity.key, Measurement(None))
    return MappedObjects(groups, tuple(unknown), foreign)


def _rarest_group(plan: ReadingPlan, objects: Iterable[DecodedValue]) -> str:
    """Where objects that nobody listed belong: the rarest group of their frame. The hourly list
    repeats the 10-second values; in the 10-second group a newcomer would be null most of the time.
    """
    here = {plan.by_source[obj.id].group for obj in objects if obj.id in plan.by_source}
    return max(here, key=plan.groups.index, default=plan.groups[0])


def to_contract_unit(quantity: Quantity, obj: DecodedValue) -> Measurement:
    """The object's value in the unit of its quantity. Raises ValueError when that cannot be.

    Energies of heat meters may be asked for in another family: GJ in kWh, rounded.
    """
    if quantity.text:
        value = obj.raw if isinstance(obj.value, Decimal) else obj.value
        return Measurement(None if value is None else str(value))
    if quantity.as_sent or obj.value is None or not isinstance(obj.value, Decimal):
        return Measurement(obj.value, obj.unit if quantity.as_sent else quantity.unit)
    if obj.unknown_unit and quantity.unit is not None:
        raise ValueError(f"its unit is unknown; it should be {quantity.unit}")
    # a value without unit is in the contract's (685-382: `1.6*1` prints none, 1.6 prints kW)
    sent = obj.unit if obj.unit is not None else quantity.unit
    if sent == quantity.unit:
        return Measurement(obj.value, sent)
    if {sent, quantity.unit} <= energy.UNITS:
        return Measurement(energy.convert(obj.value, sent, str(quantity.unit)), quantity.unit)
    return Measurement(units.convert(obj.value, sent, quantity.unit), quantity.unit)
