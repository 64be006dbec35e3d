"""Finds the meters that can be emulated: `emulators/<protocol>.py` has a function `make`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping

from kamstrup_mqtt import emulators
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.emulators.base import Emulator
from kamstrup_mqtt.meters import registry


def emulated_models() -> Mapping[str, tuple[str, ...]]:
    """Return every model that can be emulated -> the protocols that its emulator speaks."""
    found = {
        model_id: tuple(name for name in model.profiles if _has_module(name))
        for model_id, model in registry.all_models().items()
    }
    return {model_id: protocols for model_id, protocols in found.items() if protocols}


def make_emulator(
    model_id: str, protocol: str | None = None, settings: Mapping[str, str] | None = None
) -> Emulator:
    """Make an emulated meter.

    protocol  None for the first one that the model speaks

    Raises ConfigError for an unknown model, protocol or setting, with a list of the known ones.
    """
    known = emulated_models()
    if model_id not in known:
        raise ConfigError(f"{model_id}: no such meter to emulate; choose from {', '.join(known)}")
    name = protocol or known[model_id][0]
    if name not in known[model_id]:
        raise ConfigError(f"{model_id} does not speak {name}; it speaks {_and(known[model_id])}")
    make: Callable[[str, Mapping[str, str]], Emulator] = importlib.import_module(_module(name)).make
    try:
        return make(model_id, settings or {})
    except ValueError as error:
        raise ConfigError(f"{model_id} over {name}: {error}") from error


def _module(protocol: str) -> str:
    return f"{emulators.__name__}.{protocol.replace('-', '_')}"


def _has_module(protocol: str) -> bool:
    return importlib.util.find_spec(_module(protocol)) is not None


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names)
