"""Maps decoded objects to the public keys and units of one meter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import DecodedValue, Measurement, SourceId
from kamstrup_mqtt.meters import energy, registry
from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan


@dataclass(frozen=True, slots=True)
class MappedObjects:
    """The objects of a frame or poll.

    groups       group -> key -> value
    unmapped     objects without a key, in no model's table
    wrong_unit   key -> message: the unit is not in the family of the contract's unit
    """

    groups: Mapping[str, Mapping[str, Measurement]]
    unmapped: tuple[DecodedValue, ...]
    wrong_unit: Mapping[str, str]


def map_objects(
    plan: ReadingPlan, objects: Iterable[DecodedValue], requested: Iterable[SourceId] = ()
) -> MappedObjects:
    """Map objects to their keys, and convert them to the units of the contract.

    If a source in `requested` has no object, its key gets no value (null). Of several objects with
    one key, the first with a value counts.
    """
    objects = tuple(objects)
    groups: dict[str, dict[str, Measurement]] = {}
    unmapped: list[DecodedValue] = []
    wrong_unit: dict[str, str] = {}
    unlisted_group: str | None = None
    for obj in objects:
        planned = plan.by_source.get(obj.id)
        if planned is None:
            if not plan.accept_unlisted:
                continue
            unlisted_group = unlisted_group or _rarest_group(plan, objects)
            planned = _plan_unlisted(plan, obj.id, unlisted_group)
            if not _has_name(plan, obj.id):
                unmapped.append(obj)
        key = planned.quantity.key
        values = groups.setdefault(planned.group, {})
        earlier = values.get(key)
        if earlier is not None and earlier.value is not None:
            continue
        try:
            values[key] = to_contract_unit(planned.quantity, obj)
        except ValueError as error:
            wrong_unit[key] = str(error)
            values[key] = Measurement(None)
    for source in requested:
        planned = plan.by_source[source]
        groups.setdefault(planned.group, {}).setdefault(planned.quantity.key, Measurement(None))
    return MappedObjects(groups, tuple(unmapped), wrong_unit)


def _plan_unlisted(plan: ReadingPlan, source: SourceId, group: str) -> PlannedValue:
    """Return the value of an unlisted source. A key is always published in the same group, also
    when another source of it is listed."""
    quantity = registry.quantity_for(plan.protocol, plan.profile, source)
    return PlannedValue(source, quantity, plan.group_of(quantity.key) or group)


def _has_name(plan: ReadingPlan, source: SourceId) -> bool:
    return source in plan.profile.overrides or registry.key_of(plan.protocol, source) is not None


def _rarest_group(plan: ReadingPlan, objects: Iterable[DecodedValue]) -> str:
    """Return the rarest group of a frame, which gets its unlisted objects.

    The hourly list repeats the values of the 10-second list. In the 10-second group an object of
    the hourly list would be null most of the time.
    """
    groups = {plan.by_source[obj.id].group for obj in objects if obj.id in plan.by_source}
    return max(groups, key=plan.groups.index, default=plan.groups[0])


def to_contract_unit(quantity: Quantity, obj: DecodedValue) -> Measurement:
    """Convert an object to the unit of its quantity.

    The energy of a heat meter may be converted to another family, such as GJ to kWh, rounded.
    Raises ValueError if the units are not convertible.
    """
    if quantity.is_text:
        value = obj.raw if isinstance(obj.value, Decimal) else obj.value
        return Measurement(None if value is None else str(value))
    if quantity.as_sent or obj.value is None or not isinstance(obj.value, Decimal):
        return Measurement(obj.value, obj.unit if quantity.as_sent else quantity.unit)
    if obj.unknown_unit and quantity.unit is not None:
        raise ValueError(f"its unit is unknown; it should be {quantity.unit}")
    # a value without a unit is in the contract's unit (685-382: 1.6*1 prints none, 1.6 prints kW)
    sent = obj.unit if obj.unit is not None else quantity.unit
    if sent == quantity.unit:
        return Measurement(obj.value, sent)
    if {sent, quantity.unit} <= energy.UNITS:
        return Measurement(energy.convert(obj.value, sent, str(quantity.unit)), quantity.unit)
    return Measurement(units.convert(obj.value, sent, quantity.unit), quantity.unit)
