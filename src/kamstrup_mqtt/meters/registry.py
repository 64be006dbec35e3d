"""Finds protocols and models by file, and joins them: what a source is called on a meter.

A protocol is a package in `protocols/` with `SPEC`, named as the configuration names it with `_`
for `-`; a model is a module in `meters/models/` with `MODEL`. A malformed one stops the program at
once, and names the file. A protocol is imported on demand: a daemon speaks one or two.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from kamstrup_mqtt import protocols
from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters import derived, models
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile, Quantity
from kamstrup_mqtt.meters.quantities import QUANTITIES, unnamed
from kamstrup_mqtt.protocols.base import ProtocolSpec


class RegistryError(Exception):
    """A file in `protocols/` or `meters/models/` is malformed: a programming error."""


@cache
def find_protocol(name: str) -> ProtocolSpec:
    """The protocol of this name in the configuration. Raises KeyError where there is none."""
    if name not in _protocol_names():
        raise KeyError(name)
    module = f"{protocols.__name__}.{name.replace('-', '_')}"
    spec = getattr(importlib.import_module(module), "SPEC", None)
    if not isinstance(spec, ProtocolSpec) or spec.name != name:
        raise RegistryError(f"{module}: no SPEC of type ProtocolSpec with the name {name}")
    return spec


@cache
def _protocol_names() -> tuple[str, ...]:
    found = [module.name for module in pkgutil.iter_modules(protocols.__path__) if module.ispkg]
    return tuple(name.replace("_", "-") for name in found if name != "fast_path")


@cache
def all_protocols() -> Mapping[str, ProtocolSpec]:
    """Every protocol by its name in the configuration."""
    return MappingProxyType({name: find_protocol(name) for name in _protocol_names()})


@cache
def all_models() -> Mapping[str, MeterModel]:
    """Every meter model by its id, the name of its file."""
    found: dict[str, MeterModel] = {}
    for module in sorted(pkgutil.iter_modules(models.__path__), key=lambda m: m.name):
        name = f"{models.__name__}.{module.name}"
        model = getattr(importlib.import_module(name), "MODEL", None)
        if not isinstance(model, MeterModel):
            raise RegistryError(f"{name}: no MODEL of type MeterModel")
        _check(name, model)
        found[module.name] = model
    return MappingProxyType(found)


def _check(name: str, model: MeterModel) -> None:
    if not model.profiles:
        raise RegistryError(f"{name}: speaks no protocol")
    for spoken, dialect in model.profiles.items():
        if spoken not in _protocol_names():
            raise RegistryError(f"{name}: unknown protocol {spoken}")
        sources = [s for group in dialect.groups.values() for s in group]
        if len(sources) != len(set(sources)) or set(sources) & set(dialect.more):
            raise RegistryError(f"{name}: a source is listed twice for {spoken}")


@cache
def models_of(spoken: str) -> Mapping[str, MeterModel]:
    """The models that speak the protocol of this name."""
    found = {id_: model for id_, model in all_models().items() if spoken in model.profiles}
    for model in found.values():
        dialect = model.profiles[spoken]
        for source in (*(s for group in dialect.groups.values() for s in group), *dialect.more):
            quantity_for(spoken, dialect, source)  # raises for an override of no such field
    return MappingProxyType(found)


def key_of(protocol_name: str, source: SourceId) -> str | None:
    """The public key of a source: the protocol's, or its own where this program makes it."""
    return str(source) if source in derived.KEYS else find_protocol(protocol_name).key_of(source)


def quantity_for(protocol_name: str, profile: ProtocolProfile | None, source: SourceId) -> Quantity:
    """What `source` is called on a meter that speaks `profile` (None: any meter).

    A source without a key in the protocol's table gets `register_<n>` or `obis_<code>`, as sent,
    switched off, diagnostic.
    """
    spec = find_protocol(protocol_name)
    key = key_of(protocol_name, source)
    found = QUANTITIES[key] if key is not None else unnamed(spec.fallback_key(source))
    changes: Mapping[str, Any] = profile.overrides.get(source, {}) if profile else {}
    return dataclasses.replace(found, **changes) if changes else found
