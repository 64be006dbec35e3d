"""Derived sources: the sources that no meter sends, and the sources that they are made of."""

from __future__ import annotations

from collections.abc import Iterable

from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters.info_codes import PROBLEMS, TABLES
from kamstrup_mqtt.meters.model import ProtocolProfile

PRECISE_ENERGY = "heat_energy_precise"
INFO_TEXT, INFO_BITS_TEXT = "info_text", "info_bits_text"
DERIVED_SOURCES = frozenset(
    (
        PRECISE_ENERGY,
        INFO_TEXT,
        INFO_BITS_TEXT,
        *(f"problem_{problem}" for problem in PROBLEMS),
    )
)
"""The public key of a derived source is the source itself."""

ENERGY_REGISTER = 60
INFO_BITS_REGISTER = 369


def info_text_source(info: SourceId) -> str:
    """Return the derived source with the text of an info code."""
    return INFO_BITS_TEXT if info == INFO_BITS_REGISTER else INFO_TEXT


def inputs_of(profile: ProtocolProfile, source: SourceId) -> tuple[SourceId, ...]:
    """Return the sources that must be read for `source`: itself, unless it is derived."""
    if source not in DERIVED_SOURCES:
        return (source,)
    if source == PRECISE_ENERGY:
        assert profile.high_resolution is not None, (
            "a model with heat_energy_precise names its register"
        )
        return (ENERGY_REGISTER, profile.high_resolution)
    if source in (INFO_TEXT, INFO_BITS_TEXT):
        return tuple(info for info in profile.info_tables if info_text_source(info) == source)
    return tuple(
        info for info in profile.info_tables if TABLES[profile.info_tables[info]].is_confirmed
    )


def affected_sources(
    profile: ProtocolProfile, sources: Iterable[SourceId], failed: frozenset[SourceId]
) -> frozenset[SourceId]:
    """Return those of `sources` that have an input in `failed`."""
    return frozenset(s for s in sources if not failed.isdisjoint(inputs_of(profile, s)))


def sources_to_read(profile: ProtocolProfile, sources: Iterable[SourceId]) -> tuple[SourceId, ...]:
    """Return the inputs of all `sources`, in order and each once.

    The high-resolution register follows register 60 directly: only values of one response add up.
    """
    inputs = dict.fromkeys(part for source in sources for part in inputs_of(profile, source))
    if profile.high_resolution not in inputs or ENERGY_REGISTER not in inputs:
        return tuple(inputs)
    ordered: list[SourceId] = []
    for source in inputs:
        if source == ENERGY_REGISTER:
            ordered += (ENERGY_REGISTER, profile.high_resolution)
        elif source != profile.high_resolution:
            ordered.append(source)
    return tuple(ordered)
