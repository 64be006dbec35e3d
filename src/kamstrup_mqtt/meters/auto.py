"""The model `auto`, built from the other models: a meter whose model is detected.

A HAN meter is detected by its lists while it is read. A KMP meter is asked once for the registers
that tell models apart, and then read as the detected model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters.han_profile import MAKERS, phase_numbers, push_groups
from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

AUTO = "auto"
"""The id of this model."""

NAME_REGISTER = 404
"""KMP register "meter type", which contains the name of the model on some meters."""

_FIRST_REQUEST = (60, 68, 74, 86, 1, 1023, NAME_REGISTER, 1058)
"""Registers that tell heat, water and electricity meters apart, or contain their name."""


def auto_model(models: Mapping[str, MeterModel]) -> MeterModel:
    """Build the model from all other models."""
    return MeterModel(
        name="Meter recognised by what it tells",
        manufacturer="",
        medium="any",
        has_battery=True,
        note="HAN: Kamstrup, Aidon and Kaifa meters are detected by their lists. KMP: the meter is"
        " asked once, then read as the detected model, with the interval of that model. For an"
        " electricity meter set baudrate: 9600.",
        profiles={"han": _han(_profiles(models, "han")), "kmp": _kmp(_profiles(models, "kmp"))},
    )


def _profiles(models: Mapping[str, MeterModel], protocol: str) -> tuple[ProtocolProfile, ...]:
    return tuple(m.profiles[protocol] for m in models.values() if protocol in m.profiles)


def _han(profiles: tuple[ProtocolProfile, ...]) -> ProtocolProfile:
    groups = push_groups(MAKERS, phases=3)
    per_phase = (code for maker in MAKERS for code in maker.codes(phase_numbers(3)))
    overrides: dict[SourceId, Mapping[str, Any]] = {}
    for profile in profiles:
        overrides.update(profile.overrides)
    return ProtocolProfile(
        groups=groups,
        more=_unique((*per_phase, *_others(profiles, groups.values()))),
        identity=_unique(source for maker in MAKERS for source in maker.identity),
        overrides=overrides,
        periods={"live": 10, "hourly": 3600},
    )


def _kmp(profiles: tuple[ProtocolProfile, ...]) -> ProtocolProfile:
    groups = {"values": _detection_registers(profiles)}
    return ProtocolProfile(
        groups=groups,
        more=_others(profiles, groups.values()),
        identity=("serial_no", 1001),
        high_resolution=266,
        has_log=True,
    )


def _detection_registers(profiles: tuple[ProtocolProfile, ...]) -> tuple[SourceId, ...]:
    """Return the first request, then the registers of the rules, the most specific rule first."""
    detections = [p.detection for p in profiles if isinstance(p.detection, Detection)]
    detections.sort(key=lambda detection: len(detection.sources), reverse=True)
    needed = (
        source for d in detections for source in (*d.sources, *d.any_of, *d.none_of, *d.also_read)
    )
    return _unique((*_FIRST_REQUEST, *needed))


def _others(
    profiles: tuple[ProtocolProfile, ...], groups: Iterable[tuple[SourceId, ...]]
) -> tuple[SourceId, ...]:
    """Return the sources of all models that are not in `groups`."""
    listed = {source for group in groups for source in group}
    sources = (source for profile in profiles for source in profile.sources)
    return _unique(source for source in sources if source not in listed)


def _unique(sources: Iterable[SourceId]) -> tuple[SourceId, ...]:
    return tuple(dict.fromkeys(sources))
