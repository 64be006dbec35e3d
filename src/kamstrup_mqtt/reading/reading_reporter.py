"""Turns decoded values into readings, in one direction.

    decoded values -> mapped to keys and units -> judged -> derived or counted -> report queue

Nothing is derived from a total that the plausibility filter rejects, or counted on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import (
    EMPTY,
    DecodedValue,
    Measurement,
    Reading,
    SourceId,
)
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.limits import MAX_POWER_BY_CONNECTION
from kamstrup_mqtt.meters.mapping import MappedObjects, map_objects, to_contract_unit
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.messages import describe_rejection
from kamstrup_mqtt.reading.plausibility import PlausibilityFilter, Rejection, RejectionReason

EXCERPT_BYTES = 300
"""Bytes of a frame that a warning shows."""

Values = Mapping[str, Measurement]
Count = Callable[[Values], Values]
"""Accepted values of one message, by key -> what is counted on with them, by key."""
Derive = Callable[[tuple[DecodedValue, ...]], tuple[DecodedValue, ...]]
"""Objects of one poll without rejected totals -> these with what is derived from them."""


class ReadingReporter:
    """Judges the values of one meter and puts its readings into the report queue.

    `inputs`: keys that values are derived from or counted on, whether they are published or not.
    """

    __slots__ = (
        "_context",
        "_held_totals",
        "_inputs",
        "_latest_held",
        "_plausibility",
        "_warned_totals",
    )

    def __init__(self, context: ReaderContext, inputs: Iterable[str] = ()) -> None:
        config = context.config
        self._context = context
        self._plausibility = PlausibilityFilter(
            config.plan,
            context.state,
            config.limits,
            has_weak_checksum=config.spec.checksum == "weak",
        )
        self._inputs = frozenset(inputs) - config.plan.by_key.keys()
        # frozen sets: nearly always empty, and all meters share the empty one
        self._held_totals: frozenset[str] = EMPTY
        self._warned_totals: frozenset[str] = EMPTY
        self._latest_held: dict[str, Reading] = {}  # by group, with the values that are held back
        self.apply_connection()

    @property
    def has_held_totals(self) -> bool:
        """Whether a total is held back now, so that another reading may decide."""
        return bool(self._held_totals)

    def held_back(self) -> Mapping[str, str]:
        """Return key -> why its total is rejected."""
        return {key: describe_rejection(r) for key, r in self._plausibility.rejected.items()}

    # Reports

    def report_push(
        self,
        objects: tuple[DecodedValue, ...],
        raw: bytes,
        count: Count,
        *,
        measured_at: datetime | None = None,
    ) -> bool:
        """Report a pushed message, and return whether there was any value in it.

        raw          the bytes that it came in, for warnings
        count        counts on with its accepted values
        measured_at  the moment that its rarest group belongs to, if it is another one than now
        """
        mapped = self._map(objects, (), raw)
        if mapped is None:
            return False
        now = self._context.clock.now()
        accepted, rejected = self._judge(self._with_inputs(mapped, objects), now)
        counted = self._published(mapped.groups, count(accepted))
        _, rejected_counters = self._judge(counted, now)
        groups = self._add(mapped.groups, counted)
        self._put(groups, {**rejected, **rejected_counters}, now, measured_at)
        return True

    def report_poll(
        self,
        objects: tuple[DecodedValue, ...],
        requested: Iterable[SourceId],
        raw: bytes,
        derive: Derive,
    ) -> bool:
        """Report the result of a poll, and return whether there was any value in it.

        requested  sources that are published as null if no object came for them
        raw        the bytes that the objects came in, for warnings
        derive     derives further objects from those that are accepted
        """
        now, plan = self._context.clock.now(), self._context.config.plan
        objects = tuple({obj.id: obj for obj in objects}.values())
        judged = self._with_inputs(map_objects(plan, objects), objects)
        _, rejected = self._judge(judged, now)
        derived_from = derive(self._without(objects, rejected))
        # the rejected values are kept: the user may accept them
        mapped = self._map(self._restore(derived_from, objects, rejected), requested, raw)
        if mapped is None:
            return False
        derived = {
            key: measured
            for values in mapped.groups.values()
            for key, measured in values.items()
            if key not in judged
        }
        _, rejected_derived = self._judge(derived, now)
        self._put(mapped.groups, {**rejected, **rejected_derived}, now, None)
        return True

    # Steps

    def _map(
        self, objects: tuple[DecodedValue, ...], requested: Iterable[SourceId], raw: bytes
    ) -> MappedObjects | None:
        """Map the objects to keys and units; None if there is no value among them."""
        log = self._context.log
        for obj in objects if log.isEnabledFor(logging.DEBUG) else ():
            log.debug("%s = %s %s", obj.id, obj.value, obj.unit or "")
        mapped = map_objects(self._context.config.plan, objects, requested)
        if mapped.unmapped or mapped.wrong_unit:
            self._warn_unmapped(mapped, raw)
        if all(m.value is None for group in mapped.groups.values() for m in group.values()):
            return None
        return mapped

    def _with_inputs(
        self, mapped: MappedObjects, objects: tuple[DecodedValue, ...]
    ) -> dict[str, Measurement]:
        """Return the mapped values of all groups, and the inputs that are not published."""
        values = {key: m for group in mapped.groups.values() for key, m in group.items()}
        for obj in objects if self._inputs else ():
            key = self._context.config.spec.key_of(obj.id)
            if key in self._inputs and key not in values:
                with contextlib.suppress(ValueError):  # its unit is not the quantity's
                    values[key] = to_contract_unit(self._context.config.plan.quantity(key), obj)
        return values

    def _judge(
        self, values: Mapping[str, Measurement], now: datetime | None
    ) -> tuple[Values, Mapping[str, Rejection]]:
        """Judge the totals among the values, and log which are rejected or accepted again."""
        context = self._context
        verdict = self._plausibility.judge(values, now, context.clock.monotonic())
        context.counters.implausible += len(verdict.rejected)
        for key, rejection in verdict.rejected.items():
            level = _log_level(rejection.reason)
            if key not in self._held_totals:
                context.log.log(level, "%s is held back: %s", key, describe_rejection(rejection))
            if level == logging.WARNING:
                self._warned_totals |= {key}
        if self._warned_totals:
            still_rejected = self._plausibility.rejected.keys()
            for key in sorted(self._warned_totals & values.keys() - still_rejected):
                self._warned_totals -= {key}
                context.log.info("%s is accepted again", key)
        return verdict.values, verdict.rejected

    def _without(
        self, objects: tuple[DecodedValue, ...], rejected: Mapping[str, Rejection]
    ) -> tuple[DecodedValue, ...]:
        """Return the objects with the values of rejected totals removed."""
        if not rejected:
            return objects
        return tuple(
            obj._replace(value=None) if self._key_of(obj) in rejected else obj for obj in objects
        )

    def _restore(
        self,
        objects: tuple[DecodedValue, ...],
        originals: tuple[DecodedValue, ...],
        rejected: Mapping[str, Rejection],
    ) -> tuple[DecodedValue, ...]:
        """Undo `_without`."""
        if not rejected:
            return objects
        by_id = {obj.id: obj for obj in originals if self._key_of(obj) in rejected}
        return tuple(by_id.get(obj.id, obj) for obj in objects)

    def _key_of(self, obj: DecodedValue) -> str:
        plan = self._context.config.plan
        return registry.quantity_for(plan.protocol, plan.profile, obj.id).key

    def _published(self, groups: Mapping[str, Values], counted: Values) -> Values:
        """Return the counted values that belong to a group of this message, in their units."""
        plan, found = self._context.config.plan, {}
        for key, measured in counted.items():
            if plan.group_of(key) in groups:
                unit = plan.quantity(key).unit
                found[key] = Measurement(units.convert(measured.value, measured.unit, unit), unit)
        return found

    def _add(self, groups: Mapping[str, Values], counted: Values) -> Mapping[str, Values]:
        if not counted:
            return groups
        found = {group: dict(values) for group, values in groups.items()}
        for key, measured in counted.items():
            found[str(self._context.config.plan.group_of(key))][key] = measured
        return found

    def _put(
        self,
        groups: Mapping[str, Values],
        rejected: Mapping[str, Rejection],
        now: datetime | None,
        measured_at: datetime | None,
    ) -> None:
        """Put one reading of each group into the queue, with null for rejected totals."""
        context = self._context
        pending = self._plausibility.rejected
        self._held_totals = frozenset(pending) if pending else EMPTY
        for group, values in groups.items():
            reading = Reading(
                meter=context.config.id,
                group=group,
                time=now,
                values=values,
                measured_at=None if group == context.config.plan.groups[0] else measured_at,
            )
            self._latest_held.pop(group, None)
            if not self._held_totals.isdisjoint(values):
                self._latest_held[group] = reading
            if not rejected.keys().isdisjoint(values):
                passed = {
                    key: Measurement(None, m.unit) if key in rejected else m
                    for key, m in values.items()
                }
                reading = dataclasses.replace(reading, values=passed)
            if now is not None:
                context.state.last_read[group] = now
            context.report_queue.put(reading)
        context.state_file.mark_changed()

    def _warn_unmapped(self, mapped: MappedObjects, raw: bytes) -> None:
        context, excerpt = self._context, raw[:EXCERPT_BYTES].hex(" ")
        for obj in mapped.unmapped:
            context.log_once(
                obj.id,
                f"the meter sends {obj.id} = {obj.raw!a} {obj.unit or ''}, which this program"
                f" has no name for; please report it with these bytes: {excerpt}",
            )
        context.counters.held += len(mapped.wrong_unit)
        for key, error in mapped.wrong_unit.items():
            message = f"{key} is held back: {error}; please report it with: {excerpt}"
            context.log_once((key, error), message)

    # Decisions of the user and the meter

    def accept_held(self) -> tuple[str, ...]:
        """Accept the totals that are rejected now, report them, and return their keys."""
        keys = self._plausibility.accept_held()
        self._held_totals = self._warned_totals = EMPTY
        if keys:
            self._context.log.info("accepted by the user: %s", ", ".join(keys))
        for reading in self._latest_held.values():
            if not reading.values.keys().isdisjoint(keys):
                self._context.report_queue.put(reading)
        self._latest_held.clear()
        return keys

    def apply_connection(self) -> None:
        """Set the power limit that follows from how the meter is connected, if that is known."""
        power = MAX_POWER_BY_CONNECTION.get(self._context.state.learned.connection or "")
        if power is not None and not self._context.config.has_power_limit:
            self._plausibility.limit_power(power)

    def forget_totals(self, keys: Iterable[str]) -> None:
        """Accept whatever comes next for these totals: they count differently from now on."""
        keys = frozenset(keys)
        self._plausibility.forget(keys)
        self._held_totals -= keys

    def replace_meter(self) -> None:
        """Forget the totals of the previous meter."""
        self._plausibility.forget()
        self._latest_held.clear()
        self._held_totals = self._warned_totals = EMPTY

    def max_rise(self, key: str, unit: str, seconds: float) -> Decimal | None:
        """Return by how much a total can rise in `seconds`; None if there is no limit."""
        return self._plausibility.max_rise(key, unit, seconds)


def _log_level(reason: RejectionReason) -> int:
    """A first value that waits for its confirmation is no fault."""
    return logging.DEBUG if reason is RejectionReason.UNCONFIRMED else logging.WARNING
