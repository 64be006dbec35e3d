"""Finds protocols and models by file, and the quantity of a source on a meter.

A protocol is a package in `protocols/` with `SPEC`, named as in the configuration with `_` for `-`.
A model is a module in `meters/models/` with `MODEL`. A malformed file raises an error with its name
at once. Protocols are imported on demand, because a daemon speaks one or two.
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
from kamstrup_mqtt.meters import models
from kamstrup_mqtt.meters.auto import AUTO, auto_model
from kamstrup_mqtt.meters.dependencies import DERIVED_SOURCES
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile, Quantity
from kamstrup_mqtt.meters.quantities import QUANTITIES, generic_quantity
from kamstrup_mqtt.protocols.base import ProtocolSpec


class RegistryError(Exception):
    """A file in `protocols/` or `meters/models/` is malformed, which is a programming error."""


@cache
def find_protocol(name: str) -> ProtocolSpec:
    """Return the protocol with this name in the configuration. Raises KeyError if there is none."""
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
    """Return all protocols by their name in the configuration."""
    return MappingProxyType({name: find_protocol(name) for name in _protocol_names()})


@cache
def all_models() -> Mapping[str, MeterModel]:
    """Return all meter models by their id, which is the name of their file, and `auto`."""
    found: dict[str, MeterModel] = {}
    for module in sorted(pkgutil.iter_modules(models.__path__), key=lambda m: m.name):
        name = f"{models.__name__}.{module.name}"
        model = getattr(importlib.import_module(name), "MODEL", None)
        if not isinstance(model, MeterModel):
            raise RegistryError(f"{name}: no MODEL of type MeterModel")
        _check(name, model)
        found[module.name] = model
    found[AUTO] = auto_model(found)
    return MappingProxyType(dict(sorted(found.items())))


def _check(name: str, model: MeterModel) -> None:
    if not model.profiles:
        raise RegistryError(f"{name}: speaks no protocol")
    for protocol_name, profile in model.profiles.items():
        if protocol_name not in _protocol_names():
            raise RegistryError(f"{name}: unknown protocol {protocol_name}")
        defaults = profile.default_sources
        if len(defaults) != len(set(defaults)) or set(defaults) & set(profile.more):
            raise RegistryError(f"{name}: a source is listed twice for {protocol_name}")


@cache
def models_of(protocol_name: str) -> Mapping[str, MeterModel]:
    """Return the models that speak this protocol, by id."""
    found = {id_: model for id_, model in all_models().items() if protocol_name in model.profiles}
    for model in found.values():
        profile = model.profiles[protocol_name]
        for source in profile.sources:
            quantity_for(protocol_name, profile, source)  # raises for an unknown field
    return MappingProxyType(found)


def key_of(protocol_name: str, source: SourceId) -> str | None:
    """Return the public key of a source: of the protocol, or of a derived source; else None."""
    return str(source) if source in DERIVED_SOURCES else find_protocol(protocol_name).key_of(source)


def quantity_for(protocol_name: str, profile: ProtocolProfile | None, source: SourceId) -> Quantity:
    """Return the quantity of a source on a meter with `profile` (None: on any meter).

    A source without a key gets `register_<n>` or `obis_<code>`: as sent, diagnostic, disabled.
    """
    spec = find_protocol(protocol_name)
    key = key_of(protocol_name, source)
    found = QUANTITIES[key] if key is not None else generic_quantity(spec.fallback_key(source))
    changes: Mapping[str, Any] = profile.overrides.get(source, {}) if profile else {}
    return dataclasses.replace(found, **changes) if changes else found
