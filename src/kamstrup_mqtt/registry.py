"""Finds protocols and models by file, and joins them: what a source is called on a meter.

A protocol is a package in `protocols/` with `SPEC`, a model a module in `meters/` with `MODEL`. A
malformed one stops the program at once, and names the file.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from kamstrup_mqtt import derived, meters, protocols
from kamstrup_mqtt.model import Dialect, MeterModel, Quantity, SourceId
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.quantities import QUANTITIES, unnamed


class RegistryError(Exception):
    """A file in `protocols/` or `meters/` is malformed: a programming error."""


@cache
def all_protocols() -> Mapping[str, ProtocolSpec]:
    """Every protocol by its name in the configuration."""
    found: dict[str, ProtocolSpec] = {}
    for module in pkgutil.iter_modules(protocols.__path__):
        if not module.ispkg:
            continue
        name = f"{protocols.__name__}.{module.name}"
        spec = getattr(importlib.import_module(name), "SPEC", None)
        if not isinstance(spec, ProtocolSpec):
            raise RegistryError(f"{name}: no SPEC of type ProtocolSpec")
        if spec.name in found:
            raise RegistryError(f"{name}: a second protocol is called {spec.name}")
        found[spec.name] = spec
    return MappingProxyType(found)


@cache
def all_models() -> Mapping[str, MeterModel]:
    """Every meter model by its id, the name of its file."""
    found: dict[str, MeterModel] = {}
    for module in sorted(pkgutil.iter_modules(meters.__path__), key=lambda m: m.name):
        name = f"{meters.__name__}.{module.name}"
        model = getattr(importlib.import_module(name), "MODEL", None)
        if not isinstance(model, MeterModel):
            raise RegistryError(f"{name}: no MODEL of type MeterModel")
        _check(name, model)
        found[module.name] = model
    return MappingProxyType(found)


def _check(name: str, model: MeterModel) -> None:
    if not model.dialects:
        raise RegistryError(f"{name}: speaks no protocol")
    for protocol, dialect in model.dialects.items():
        if protocol not in all_protocols():
            raise RegistryError(f"{name}: unknown protocol {protocol}")
        sources = [s for group in dialect.groups.values() for s in group]
        if len(sources) != len(set(sources)) or set(sources) & set(dialect.more):
            raise RegistryError(f"{name}: a source is listed twice for {protocol}")
        for source in (*sources, *dialect.more):
            quantity(protocol, dialect, source)  # raises for an override of no such field


def models_of(protocol: str) -> Mapping[str, MeterModel]:
    """The models that speak `protocol`."""
    return {id_: model for id_, model in all_models().items() if protocol in model.dialects}


def key_of(protocol: str, source: SourceId) -> str | None:
    """The public key of a source: the protocol's, or its own where this program makes it."""
    return str(source) if source in derived.KEYS else all_protocols()[protocol].key(source)


def quantity(protocol: str, dialect: Dialect | None, source: SourceId) -> Quantity:
    """What `source` is called on a meter that speaks `dialect` (None: any meter).

    A source without a key in the protocol's table gets `register_<n>` or `obis_<code>`, as sent,
    switched off, diagnostic.
    """
    spec = all_protocols()[protocol]
    key = key_of(protocol, source)
    found = QUANTITIES[key] if key is not None else unnamed(spec.unknown_key(source))
    changes: Mapping[str, Any] = dialect.overrides.get(source, {}) if dialect else {}
    return dataclasses.replace(found, **changes) if changes else found
