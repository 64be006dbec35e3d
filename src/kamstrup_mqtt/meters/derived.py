"""What this program makes out of what a meter sends: the precise energy, words and problems of the
info code, and no temperature where a probe is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeGuard

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.meters import energy
from kamstrup_mqtt.meters.info_codes import PROBLEMS, TABLES
from kamstrup_mqtt.meters.model import ProtocolProfile

PRECISE = "heat_energy_precise"
TEXTS: tuple[str, ...] = ("info_text", "info_bits_text")
KEYS = frozenset((PRECISE, *TEXTS, *(f"problem_{problem}" for problem in PROBLEMS)))
"""The sources that no meter sends. Their public keys are the same."""

OFFSET_KEY = "energy_offset_wh"
"""Under which name the offset of register 155 is learned."""

_ENERGY = 60
_MODULO = 266
_INFO_BITS = 369

_PROBES = frozenset((86, 87, 88, 122, 398, 399))
_OPEN = Decimal(185)
"""°C that an open probe shows; a short-circuited one shows 0 (MULTICAL 603 manual p. 107)."""

ON, OFF = "ON", "OFF"


def inputs_of(profile: ProtocolProfile, source: SourceId) -> tuple[SourceId, ...]:
    """What must be read for `source`; itself, when the meter sends it."""
    if source not in KEYS:
        return (source,)
    if source == PRECISE:
        assert profile.precise is not None, "a model with heat_energy_precise names its register"
        return (_ENERGY, profile.precise)
    if source in TEXTS:
        return tuple(info for info in profile.info if _text_key(info) == source)
    return tuple(info for info in profile.info if TABLES[profile.info[info]].confirmed)


def affected_sources(
    profile: ProtocolProfile, sources: Iterable[SourceId], failed: frozenset[SourceId]
) -> frozenset[SourceId]:
    """Return those of `sources` that need one of the `failed` ones."""
    return frozenset(s for s in sources if not failed.isdisjoint(inputs_of(profile, s)))


def sources_to_read(profile: ProtocolProfile, sources: Iterable[SourceId]) -> tuple[SourceId, ...]:
    """What must be read for all of `sources`, in order, each once.

    Registers 60 and 266 stand side by side: their sum is right only from one answer.
    """
    found = dict.fromkeys(part for source in sources for part in inputs_of(profile, source))
    if profile.precise not in found or _ENERGY not in found:
        return tuple(found)
    ordered: list[SourceId] = []
    for source in found:
        if source == _ENERGY:
            ordered += (_ENERGY, profile.precise)
        elif source != profile.precise:
            ordered.append(source)
    return tuple(ordered)


@dataclass(frozen=True, slots=True)
class DerivedValues:
    """`objects` with what was made of them; what was `learned`; and what is wrong, for a warning
    that is said once."""

    objects: tuple[DecodedValue, ...]
    learned: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Deriver:
    """One meter. It remembers the last info code: temperatures may be read more often."""

    def __init__(self, profile: ProtocolProfile) -> None:
        self._profile = profile
        self._codes: dict[SourceId, int] = {}

    def derive(self, objects: Iterable[DecodedValue], learned: Mapping[str, str]) -> DerivedValues:
        """Make what can be made of `objects`, which came in one poll."""
        by_id = {obj.id: obj for obj in objects}
        fresh = {
            source: int(obj.value)
            for source in self._profile.info
            if (obj := by_id.get(source)) is not None and _is_code(obj.value)
        }
        self._codes.update(fresh)
        out = [self._check_probe(obj) for obj in by_id.values()]
        out += self._info_objects(fresh)
        made = self._precise_energy(by_id, learned)
        return DerivedValues((*out, *made.objects), made.learned, made.warnings)

    # Temperatures

    def _check_probe(self, obj: DecodedValue) -> DecodedValue:
        """A probe that is open, or said to be at fault, measures nothing."""
        if obj.id not in _PROBES and not self._has_fault_bit(obj.id):
            return obj
        open_ = obj.id in _PROBES and obj.value == _OPEN
        faulty = obj.value == 0 and any(
            TABLES[name].probe_fault(self._codes.get(source, 0), obj.id)
            for source, name in self._profile.info.items()
        )
        return DecodedValue(obj.id, obj.raw, None, obj.unit) if open_ or faulty else obj

    def _has_fault_bit(self, source: SourceId) -> bool:
        return any(source in TABLES[name].probes for name in self._profile.info.values())

    # Info codes

    def _info_objects(self, fresh: Mapping[SourceId, int]) -> Iterable[DecodedValue]:
        for source, code in fresh.items():
            table = TABLES[self._profile.info[source]]
            text = table.text(code)
            yield DecodedValue(_text_key(source), text, text)
            if table.confirmed:
                for problem in table.problems:
                    state = ON if table.has(code, problem) else OFF
                    yield DecodedValue(f"problem_{problem}", state, state)

    # Energy

    def _precise_energy(
        self, by_id: Mapping[SourceId, DecodedValue], learned: Mapping[str, str]
    ) -> DerivedValues:
        source = self._profile.precise
        total, fine = by_id.get(_ENERGY), by_id.get(source) if source is not None else None
        if total is None or fine is None:
            return DerivedValues(())
        if not isinstance(total.value, Decimal) or not isinstance(fine.value, Decimal):
            return DerivedValues(())
        try:
            if source == _MODULO:
                return _from_modulo(total, fine)
            return _from_counter(total, fine, learned.get(OFFSET_KEY))
        except ValueError as error:
            return DerivedValues((), {}, (f"heat_energy_precise cannot be made: {error}",))


def _is_code(value: Scalar) -> TypeGuard[Decimal]:
    """Whether this can be a sum of bits: what is below 0 or no whole number says nothing."""
    return isinstance(value, Decimal) and value >= 0 and value == value.to_integral_value()


def _text_key(info: SourceId) -> str:
    return TEXTS[info == _INFO_BITS]


def _object(wh: Decimal) -> DerivedValues:
    kwh = units.shift(wh, -3)
    return DerivedValues((DecodedValue(PRECISE, None, kwh, "kWh"),))


def _from_modulo(total: DecodedValue, fine: DecodedValue) -> DerivedValues:
    assert isinstance(total.value, Decimal) and isinstance(fine.value, Decimal)  # noqa: PT018
    wh = energy.from_modulo(total.value, total.unit, fine.value, fine.unit)
    if energy.agrees(wh, total.value, total.unit):
        return _object(wh)
    return DerivedValues(
        (),
        {},
        (
            f"register 266 ({fine.value} {fine.unit}) is not the end of register 60"
            f" ({total.value} {total.unit}): no heat_energy_precise is made of them",
        ),
    )


def _from_counter(total: DecodedValue, fine: DecodedValue, offset: str | None) -> DerivedValues:
    assert isinstance(total.value, Decimal) and isinstance(fine.value, Decimal)  # noqa: PT018
    if offset is not None:
        wh = energy.from_offset(fine.value, fine.unit, Decimal(offset))
        if energy.agrees(wh, total.value, total.unit):
            return _object(wh)
    found = energy.learn_offset(total.value, total.unit, fine.value, fine.unit)
    made = _object(energy.from_offset(fine.value, fine.unit, found))
    warnings: tuple[str, ...] = ()
    if offset is not None:
        warnings = (
            f"register 155 ({fine.value} {fine.unit}) no longer agrees with register 60"
            f" ({total.value} {total.unit}): its start is learned anew",
        )
    return DerivedValues(made.objects, {OFFSET_KEY: format(found, "f")}, warnings)
