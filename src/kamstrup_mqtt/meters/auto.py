"""The model `auto`, made of the other models: a meter that is detected.

On a HAN port its lists show the model while it is read. A KMP meter is asked once for the
registers that tell models apart; it is then read as the model that it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters.han_profile import MAKERS, phase_numbers, push_groups
from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

AUTO = "auto"
"""The id of this model."""

NAME_REGISTER = 404
"""KMP register "meter type": the name of the model, where a meter has one."""

_FIRST_REQUEST = (60, 68, 74, 86, 1, 1023, NAME_REGISTER, 1058)
"""Registers that tell heat, water and electricity meters apart, and that name the model."""


def auto_model(models: Mapping[str, MeterModel]) -> MeterModel:
    """Build the model from all others."""
    return MeterModel(
        name="Meter recognised by what it tells",
        manufacturer="",
        medium="any",
        battery=True,
        note="HAN: Kamstrup, Aidon or Kaifa, detected by its lists. KMP: the meter is asked once,"
        " then read as the model it is, with that model's interval. For an electricity meter set"
        " baudrate: 9600.",
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
        precise=266,
        logger=True,
    )


def _detection_registers(profiles: tuple[ProtocolProfile, ...]) -> tuple[SourceId, ...]:
    """The first request, and what the models need besides, the most specific model first."""
    detections = [p.detection for p in profiles if isinstance(p.detection, Detection)]
    detections.sort(key=lambda detection: len(detection.sources), reverse=True)
    needed = (
        source for d in detections for source in (*d.sources, *d.any_of, *d.none_of, *d.also_read)
    )
    return _unique((*_FIRST_REQUEST, *needed))


def _others(
    profiles: tuple[ProtocolProfile, ...], groups: Iterable[tuple[SourceId, ...]]
) -> tuple[SourceId, ...]:
    """The sources of all models that are in none of `groups`."""
    listed = {source for group in groups for source in group}
    return _unique(source for source in _sources(profiles) if source not in listed)


def _sources(profiles: tuple[ProtocolProfile, ...]) -> Iterator[SourceId]:
    for profile in profiles:
        yield from (source for group in profile.groups.values() for source in group)
        yield from profile.more


def _unique(sources: Iterable[SourceId]) -> tuple[SourceId, ...]:
    return tuple(dict.fromkeys(sources))
