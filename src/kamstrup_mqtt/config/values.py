"""The values of a meter that a configuration lists, and their options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kamstrup_mqtt.config.section import (
    SYNONYMS,
    Fault,
    Line,
    Section,
    as_text,
    suggestion,
    validate_each,
    validation_error,
)
from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters import ha_rules, registry
from kamstrup_mqtt.meters.model import ProtocolProfile, Quantity
from kamstrup_mqtt.meters.plan import PlannedValue


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _icon(text: str) -> str:
    prefix, colon, name = text.partition(":")
    if not colon or not prefix.isalnum() or not name.replace("-", "").isalnum():
        raise ValueError("is not an icon; write mdi:fire")
    return text


Word = Annotated[str | None, BeforeValidator(_none_if_empty)]


class ValueOptions(Section):
    """Options of one value. What is left out stays as the model has it."""

    name: Line = ""
    """The name in Home Assistant.

    Default: the name of the quantity
    Example: `name: Heat power`
    """
    unit: Line = ""
    """A unit of the same family. The value is converted.

    Default: the unit of the quantity
    Example: `unit: L/h`
    """
    device_class: Word = None
    """The device class in Home Assistant. Empty: none.

    Default: that of the quantity
    Example: `device_class: energy`
    """
    state_class: Word = None
    """The state class in Home Assistant. Empty: none.

    Default: that of the quantity
    Example: `state_class: measurement`
    """
    precision: Annotated[int, Field(ge=0, le=9)] | None = None
    """The digits after the decimal point that Home Assistant shows.

    Example: `precision: 1`
    """
    icon: Annotated[str, AfterValidator(_icon)] | None = None
    """The icon in Home Assistant.

    Example: `icon: mdi:fire`
    """
    category: Annotated[Literal["diagnostic"] | None, BeforeValidator(_none_if_empty)] = None
    """Show the entity among the diagnostics.

    Default: that of the quantity
    Example: `category: diagnostic`
    """
    enabled: bool = True
    """Whether Home Assistant enables the entity.

    Example: `enabled: false`
    """

    def changes(self) -> dict[str, Any]:
        """Return the fields of a Quantity that are set, including those set to null."""
        return {
            name: getattr(self, name)
            for name in ValueOptions.model_fields
            if name in self.model_fields_set
        }


class ListedValue(ValueOptions):
    """One entry of `values`: a key, or a key with options."""

    key: Line
    """The key of the value, as in [Keys](quantities.md).

    Example: `key: heat_energy`
    """


class CustomValue(ValueOptions):
    """One entry of `custom`: a register, OBIS code or address with a name of your own."""

    source: Line
    """The number of a register, an OBIS code or an address. Also spelled `register`, `command`,
    `obis` or `address`.

    Example: `register: 0x0056`
    """
    name: Line
    """The name in Home Assistant.

    Example: `name: Inlet`
    """

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        named = [name for name in SYNONYMS["source"] if name in raw]
        if len(named) > 1:
            raise validation_error([((named[1],), f"means the same as {named[0]}; remove one")])
        if not named:
            return raw
        rest = {key: value for key, value in raw.items() if key != named[0]}
        return {"source": as_text(raw[named[0]]), **rest}


def normalise(raw: Any) -> Any:
    """Return `values`, in whichever of its spellings, as a list of mappings with `key`.

    The spellings are a list of keys, of `key: {options}` or of `{key: ..., options}`, and one
    mapping of keys.
    """
    if isinstance(raw, Mapping):
        return [_entry(index, key, options) for index, (key, options) in enumerate(raw.items())]
    if not isinstance(raw, list):
        raise ValueError("must be a list of values, such as [heat_energy, power]")
    return [_item(index, item) for index, item in enumerate(raw)]


def _item(index: int, item: Any) -> Any:
    if isinstance(item, str):
        return {"key": item}
    if not isinstance(item, Mapping):
        raise validation_error(
            [((index,), "must be the key of a value, or a key with its options")]
        )
    if "key" in item:
        return item
    if len(item) != 1:
        raise validation_error([((index,), "must hold one key; indent its options further")])
    ((key, options),) = item.items()
    return _entry(index, key, options)


def _entry(index: int, key: Any, options: Any) -> Any:
    if options is None:
        return {"key": as_text(key)}
    if not isinstance(options, Mapping):
        raise validation_error(
            [((index,), "must be followed by options, such as {name: Heat}, or by nothing")]
        )
    if "key" in options:
        raise validation_error([((index, "key"), f"is given twice: the key is {key} already")])
    return {"key": as_text(key), **options}


def sources_by_key(
    protocol: str, profile: ProtocolProfile
) -> dict[str, list[tuple[SourceId, str]]]:
    """Return all keys of a model: key -> its sources, each with its reading group."""
    first = next(iter(profile.groups), "values")
    placed = [(s, group) for group, sources in profile.groups.items() for s in sources]
    found: dict[str, list[tuple[SourceId, str]]] = {}
    for source, group in (*placed, *((source, first) for source in profile.more)):
        key = registry.quantity_for(protocol, profile, source).key
        found.setdefault(key, []).append((source, group))
    return found


def read_listed(protocol: str, profile: ProtocolProfile, raw: Any) -> tuple[ListedValue, ...]:
    """Return the entries of `values`. Raises ValidationError for keys that the model lacks."""
    known = sources_by_key(protocol, profile)
    seen: set[str] = set()

    def check(_: int, value: ListedValue) -> Iterator[Fault]:
        if value.key not in known:
            yield ("key",), f"no such value: {value.key}; {suggestion(value.key, list(known))}"
            return
        if value.key in seen:
            yield ("key",), f"{value.key} is listed twice"
        seen.add(value.key)
        source = known[value.key][0][0]
        yield from option_faults(registry.quantity_for(protocol, profile, source), value)

    return validate_each(ListedValue, normalise(raw), check)


def read_custom(protocol: str, profile: ProtocolProfile, raw: Any) -> tuple[CustomValue, ...]:
    """Return the entries of `custom`. Raises ValidationError for sources of another protocol."""
    spec = registry.find_protocol(protocol)
    seen: set[SourceId] = set()

    def check(_: int, value: CustomValue) -> Iterator[Fault]:
        try:
            source = spec.parse_source(value.source)
        except ValueError as error:
            yield ("source",), str(error)
            return
        if source in seen:
            yield ("source",), f"{value.source} is listed twice"
        seen.add(source)
        yield from option_faults(registry.quantity_for(protocol, profile, source), value)

    return validate_each(CustomValue, raw, check)


def option_faults(quantity: Quantity, options: ValueOptions) -> Iterator[Fault]:
    """Yield the options of one value that Home Assistant refuses or that cannot be converted."""
    given = options.changes()
    if quantity.is_text:
        for field in ("unit", "state_class", "precision"):
            if given.get(field) is not None:
                yield (field,), f"{quantity.key} is text: it has no {field}"
        return
    changed = changed_quantity(quantity, options)
    if changed.device_class == "enum":
        yield ("device_class",), "enum is only for texts with a fixed list of words"
        return
    fault = ha_rules.state_class_error(changed.device_class, changed.state_class)
    if fault and given.keys() & {"device_class", "state_class"}:
        known = changed.device_class is None or changed.device_class in ha_rules.UNITS
        yield ("state_class" if known and "state_class" in given else "device_class",), fault
    if given.keys() & {"unit", "device_class"} and not changed.as_sent:
        fault = ha_rules.unit_error(changed.device_class, changed.unit)
        if fault:
            yield ("unit" if "unit" in given else "device_class",), fault
    if "unit" in given and not quantity.as_sent and quantity.unit is not None:
        yield from _conversion_faults(quantity, options.unit)


def _conversion_faults(quantity: Quantity, unit: str) -> Iterator[Fault]:
    if units.factor(quantity.unit, unit) is not None:
        return
    candidates = ha_rules.UNITS.get(quantity.device_class or "", (quantity.unit,))
    allowed = [str(u) for u in candidates if u and units.factor(quantity.unit, u) is not None]
    yield (
        ("unit",),
        f"{quantity.key} is read in {quantity.unit}, which cannot be converted to {unit};"
        f" allowed: {', '.join(allowed)}",
    )


def changed_quantity(quantity: Quantity, options: ValueOptions) -> Quantity:
    """Return the quantity with the user's options. A listed value is enabled by default."""
    changes = options.changes()
    if "unit" in changes:
        changes["as_sent"] = False
    return dataclasses.replace(quantity, **{"enabled": True, **changes})


def planned_values(
    protocol: str, profile: ProtocolProfile, listed: Sequence[ListedValue]
) -> list[PlannedValue]:
    """Return the entries of `values` in their order."""
    known = sources_by_key(protocol, profile)
    return [
        PlannedValue(
            source, changed_quantity(registry.quantity_for(protocol, profile, source), value), group
        )
        for value in listed
        for source, group in known[value.key]
    ]


def planned_custom(
    protocol: str, profile: ProtocolProfile, custom: Sequence[CustomValue]
) -> list[PlannedValue]:
    """Return the entries of `custom`, in the group of the model, else in the first group."""
    spec = registry.find_protocol(protocol)
    groups = {s: group for group, sources in profile.groups.items() for s in sources}
    first = next(iter(profile.groups), "values")
    planned = []
    for value in custom:
        source = spec.parse_source(value.source)
        quantity = registry.quantity_for(protocol, profile, source)
        if spec.key_of(source) is None:
            # only values that nobody listed are diagnostics
            quantity = dataclasses.replace(quantity, category=None)
        planned.append(
            PlannedValue(source, changed_quantity(quantity, value), groups.get(source, first))
        )
    return planned
