"""Values derived from what a meter sends: the precise energy, and the text and problems of info
codes. A temperature whose probe is faulty loses its value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from typing import NamedTuple, TypeGuard

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.meters import energy
from kamstrup_mqtt.meters.dependencies import ENERGY_REGISTER, PRECISE_ENERGY, info_text_source
from kamstrup_mqtt.meters.info_codes import TABLES
from kamstrup_mqtt.meters.model import ProtocolProfile

OFFSET_KEY = "energy_offset_wh"
"""Key under which the offset of register 155 is stored."""

ON, OFF = "ON", "OFF"
"""States of a problem sensor."""

_MODULO_REGISTER = 266
_PROBES = frozenset((86, 87, 88, 122, 398, 399))
_OPEN_PROBE = Decimal(185)
"""°C of an open probe; a short-circuited one shows 0 (MULTICAL 603 manual p. 107)."""


class DerivationFault(Enum):
    """Why a value cannot be derived, or not as before."""

    UNITS = auto()
    REGISTERS_DISAGREE = auto()
    OFFSET_CHANGED = auto()


class DerivationWarning(NamedTuple):
    """A warning to log once for each fault."""

    fault: DerivationFault
    text: str


@dataclass(frozen=True, slots=True)
class DerivedValues:
    """The objects of a poll with the derived ones, what was learned, and warnings."""

    objects: tuple[DecodedValue, ...]
    learned: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[DerivationWarning, ...] = ()


class Deriver:
    """Derives the values of one meter.

    It keeps the last info codes, because temperatures may be read more often than they are.
    """

    def __init__(self, profile: ProtocolProfile) -> None:
        self._profile = profile
        self._codes: dict[SourceId, int] = {}

    def derive(self, objects: Iterable[DecodedValue], learned: Mapping[str, str]) -> DerivedValues:
        """Add the derived values to the objects of one poll.

        `learned` is what was stored for the meter.
        """
        by_id = {obj.id: obj for obj in objects}
        codes = {
            source: int(obj.value)
            for source in self._profile.info_tables
            if (obj := by_id.get(source)) is not None and _is_code(obj.value)
        }
        self._codes.update(codes)
        checked = [self._check_probe(obj) for obj in by_id.values()]
        precise = self._precise_energy(by_id, learned)
        all_objects = (*checked, *self._info_objects(codes), *precise.objects)
        return DerivedValues(all_objects, precise.learned, precise.warnings)

    # Temperatures

    def _check_probe(self, obj: DecodedValue) -> DecodedValue:
        """Remove the value of a probe that is open, or faulty according to the info code."""
        if obj.id not in _PROBES and not self._has_fault_bit(obj.id):
            return obj
        is_open = obj.id in _PROBES and obj.value == _OPEN_PROBE
        is_faulty = obj.value == 0 and any(
            TABLES[name].has_probe_fault(self._codes.get(source, 0), obj.id)
            for source, name in self._profile.info_tables.items()
        )
        return DecodedValue(obj.id, obj.raw, None, obj.unit) if is_open or is_faulty else obj

    def _has_fault_bit(self, source: SourceId) -> bool:
        return any(source in TABLES[name].probes for name in self._profile.info_tables.values())

    # Info codes

    def _info_objects(self, codes: Mapping[SourceId, int]) -> Iterator[DecodedValue]:
        for source, code in codes.items():
            table = TABLES[self._profile.info_tables[source]]
            text = table.text(code)
            yield DecodedValue(info_text_source(source), text, text)
            if table.is_confirmed:
                for problem in table.problems:
                    state = ON if table.has_problem(code, problem) else OFF
                    yield DecodedValue(f"problem_{problem}", state, state)

    # Energy

    def _precise_energy(
        self, by_id: Mapping[SourceId, DecodedValue], learned: Mapping[str, str]
    ) -> DerivedValues:
        source = self._profile.high_resolution
        total = _counter(by_id.get(ENERGY_REGISTER))
        fine = _counter(by_id.get(source)) if source is not None else None
        if total is None or fine is None:
            return DerivedValues(())
        try:
            if source == _MODULO_REGISTER:
                return _from_modulo(total, fine)
            return _from_offset(total, fine, learned.get(OFFSET_KEY))
        except ValueError as error:
            text = f"heat_energy_precise cannot be calculated: {error}"
            return DerivedValues((), {}, (DerivationWarning(DerivationFault.UNITS, text),))


@dataclass(frozen=True, slots=True)
class _Counter:
    """An energy register."""

    value: Decimal
    unit: str | None

    def __str__(self) -> str:
        return f"{self.value} {self.unit}"


def _counter(obj: DecodedValue | None) -> _Counter | None:
    if obj is None or not isinstance(obj.value, Decimal):
        return None
    return _Counter(obj.value, obj.unit)


def _is_code(value: Scalar) -> TypeGuard[Decimal]:
    """Return True if `value` can be a sum of bits: an integer that is not negative."""
    return isinstance(value, Decimal) and value >= 0 and value == value.to_integral_value()


def _precise_object(wh: Decimal) -> DecodedValue:
    return DecodedValue(PRECISE_ENERGY, None, units.shift(wh, -3), "kWh")


def _from_modulo(total: _Counter, fine: _Counter) -> DerivedValues:
    """The precise energy from register 266."""
    wh = energy.from_modulo(total.value, total.unit, fine.value, fine.unit)
    if energy.is_consistent(wh, total.value, total.unit):
        return DerivedValues((_precise_object(wh),))
    text = (
        f"registers 266 ({fine}) and 60 ({total}) do not agree: heat_energy_precise is not"
        " calculated"
    )
    return DerivedValues((), {}, (DerivationWarning(DerivationFault.REGISTERS_DISAGREE, text),))


def _from_offset(total: _Counter, fine: _Counter, offset: str | None) -> DerivedValues:
    """The precise energy from register 155, whose offset is learned and stored."""
    warnings: tuple[DerivationWarning, ...] = ()
    if offset is not None:
        wh = energy.from_offset(fine.value, fine.unit, Decimal(offset))
        if energy.is_consistent(wh, total.value, total.unit):
            return DerivedValues((_precise_object(wh),))
        text = (
            f"register 155 ({fine}) no longer agrees with register 60 ({total}): its offset is"
            " learned again"
        )
        warnings = (DerivationWarning(DerivationFault.OFFSET_CHANGED, text),)
    learned = energy.learn_offset(total.value, total.unit, fine.value, fine.unit)
    precise = _precise_object(energy.from_offset(fine.value, fine.unit, learned))
    return DerivedValues((precise,), {OFFSET_KEY: format(learned, "f")}, warnings)
