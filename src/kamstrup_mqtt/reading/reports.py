"""What a reader tells of its meter: readings, who it is, and why nothing comes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from kamstrup_mqtt.core import decimal_json, units
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import (
    EMPTY,
    DecodedValue,
    Diagnosis,
    Identity,
    LinkState,
    Measurement,
    Reading,
    SerialParams,
    SourceId,
)
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.meters.limits import DEFAULT_LIMITS, MAX_POWER_BY_CONNECTION, MeterLimits
from kamstrup_mqtt.meters.mapping import MappedObjects, map_objects, to_contract_unit
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import Codec, ProtocolSpec, PushedReading, Timestamp
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.live_counters import LiveCounters
from kamstrup_mqtt.reading.plausibility import PlausibilityFilter, Verdict
from kamstrup_mqtt.storage.state_schema import MeterState

if TYPE_CHECKING:
    from kamstrup_mqtt.reading.backfill import BackfillConfig

DIAGNOSIS_INTERVAL = 60.0
EXCERPT_BYTES = 300
"""Bytes of a frame that a warning shows."""

_DETAILS = {
    "software_version": "sw_version",
    "hardware_version": "hw_version",
    "meter_type": "model_id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderConfig:
    """One configured meter. `interval` in seconds, None: it sends by itself. `detect_parity`: the
    parity of its line is found out. `limits`: what it can count at most. `align`: polled at
    multiples of its intervals in local time, plus `offset` seconds. `on_model_found`: the model is
    not known yet, and told here. `has_power_limit`: the user said what it can do at most.
    `backfill`: what of its own log fills a gap."""

    id: str
    name: str
    spec: ProtocolSpec
    codec: Codec
    plan: ReadingPlan
    serial: SerialParams
    interval: float | None
    battery: bool = False
    detect_parity: bool = False
    limits: MeterLimits = DEFAULT_LIMITS
    has_power_limit: bool = False
    on_model_found: Callable[[str], None] | None = None
    align: bool = False
    offset: float = 0.0
    backfill: BackfillConfig | None = None


class Reports:
    """Puts what is found out about one meter into the outbox, and transitions into the log."""

    __slots__ = (
        "_clock",
        "_config",
        "_counters",
        "_diagnosed_at",
        "_held_totals",
        "_identity",
        "_interval",
        "_last_diagnosis",
        "_last_error",
        "_latest_held",
        "_live_inputs",
        "_log",
        "_meter_state",
        "_plausibility",
        "_reported_states",
        "_reset_totals",
        "_warned",
        "_warned_totals",
        "live_counters",
        "notes",
        "port_gone_since",
        "problem",
        "report_queue",
        "state",
    )

    def __init__(
        self,
        config: ReaderConfig,
        report_queue: ReportQueue,
        meter_state: MeterState,
        clock: Clock,
        counters: Counters,
        log: logging.Logger,
        *,
        diagnosis_interval: float = DIAGNOSIS_INTERVAL,
        exact_totals: bool = True,
    ) -> None:
        self._config = config
        self.report_queue = report_queue
        self._meter_state = meter_state
        self._clock = clock
        self._counters = counters
        self._log = log
        self._interval = diagnosis_interval
        # frozen sets: nearly always empty, and there is one empty one for all meters
        self._warned: frozenset[object] = EMPTY
        self._identity: Identity | None = None
        self._plausibility = PlausibilityFilter(
            config.plan,
            meter_state,
            config.limits,
            has_weak_checksum=config.spec.checksum == "weak",
        )
        self.live_counters: LiveCounters | None = None
        self._live_inputs: frozenset[str] = EMPTY  # of them those that are not published
        if config.spec.is_pushed:
            live = LiveCounters(config.plan.live_keys, meter_state.totals, exact=exact_totals)
            self.live_counters = live
            if not config.plan.accept_unlisted:
                self._live_inputs = live.inputs - config.plan.by_key.keys()
        self._latest_held: dict[str, Reading] = {}  # with what is held back, as the meter told it
        self._held_totals: frozenset[str] = EMPTY
        self._reset_totals: frozenset[str] = EMPTY
        self._warned_totals: frozenset[str] = EMPTY
        self._last_error: str | None = None
        self._last_diagnosis: Diagnosis | None = None
        self._diagnosed_at = 0.0
        self._reported_states: frozenset[LinkState] = EMPTY  # since the last good reading
        self.apply_connection()
        self.state: LinkState | None = None
        self.port_gone_since: float | None = None
        self.notes: tuple[str, ...] = ()
        self.problem: str | None = None
        """What is wrong though readings come."""

    # What it measured

    def report_readings(
        self, objects: tuple[DecodedValue, ...], requested: Iterable[SourceId], raw: bytes
    ) -> bool:
        """Report what a poll brought, and return whether there was any value at all.

        `requested`: sources that are published as null if no object came for them; `raw`: the
        bytes that the objects came in, for warnings.
        """
        found = self._map(objects, requested, raw)
        if found is None:
            return False
        now = self._clock.now()
        values = {key: m for group in found.groups.values() for key, m in group.items()}
        self._put(found.groups, self._judge(values, now), now, None)
        return True

    def report_pushed(self, reading: PushedReading, raw: bytes, received_at: Timestamp) -> bool:
        """Report a pushed message, and return whether there was any value in it at all."""
        found = self._map(reading.objects, (), raw)
        if found is None:
            return False
        assert self.live_counters is not None, "the meter pushes"
        values = {key: m for group in found.groups.values() for key, m in group.items()}
        if self._live_inputs:
            values |= self._unpublished_inputs(reading.objects)
        judged = self._judge(values, received_at.utc)
        live = self.live_counters.update(
            judged.values,
            received_at,
            register_age=reading.register_age,
            scale_trusted=reading.scale_trusted,
        )
        groups = {group: dict(measured) for group, measured in found.groups.items()}
        for key, counted in live.items():
            group = self._config.plan.group_of(key)
            if group in groups:
                unit = self._config.plan.quantity(key).unit
                value = units.convert(counted.value, counted.unit, unit)
                groups[group][key] = Measurement(value, unit)
        counted_values = {
            key: group[key] for group in groups.values() for key in live if key in group
        }
        counters = self._judge(counted_values, received_at.utc)
        held_back = {**judged.held_back, **counters.held_back}
        self._put(groups, Verdict(judged.values, held_back), received_at.utc, reading.measured_at)
        return True

    def _map(
        self, objects: tuple[DecodedValue, ...], requested: Iterable[SourceId], raw: bytes
    ) -> MappedObjects | None:
        """Map the objects to keys and units, None if there is no value among them."""
        for obj in objects if self._log.isEnabledFor(logging.DEBUG) else ():
            self._log.debug("%s = %s %s", obj.id, obj.value, obj.unit or "")
        found = map_objects(self._config.plan, objects, requested)
        self._warn_unmapped(found, raw)
        if all(m.value is None for group in found.groups.values() for m in group.values()):
            return None
        return found

    def _unpublished_inputs(self, objects: tuple[DecodedValue, ...]) -> dict[str, Measurement]:
        """Map what the live counters are made of and the user does not want published."""
        config, found = self._config, dict[str, Measurement]()
        for obj in objects:
            key = config.spec.key_of(obj.id)
            if key in self._live_inputs and key not in found:
                with contextlib.suppress(ValueError):  # another unit cannot be counted on
                    found[key] = to_contract_unit(config.plan.quantity(key), obj)
        return found

    @property
    def has_held_totals(self) -> bool:
        """Whether a total is held back now: another reading would tell."""
        return bool(self._held_totals)

    def _judge(self, values: Mapping[str, Measurement], time: datetime | None) -> Verdict:
        """Judge the totals among the values and log what is held back or accepted again."""
        judged = self._plausibility.judge(values, time, self._clock.monotonic())
        self._counters.implausible += len(judged.held_back)
        for key, why in judged.held_back.items():
            if key not in self._held_totals:
                self._log.log(_log_level(why), "%s is held back: %s", key, why)
            if _log_level(why) == logging.WARNING:
                self._warned_totals |= {key}
        if self._held_totals or judged.held_back:
            now_held = frozenset(self._plausibility.held_back)
            for key in sorted(self._warned_totals & values.keys() - now_held):
                self._warned_totals -= {key}
                self._log.info("%s is accepted again", key)
        return judged

    def _put(
        self,
        groups: Mapping[str, Mapping[str, Measurement]],
        judged: Verdict,
        time: datetime | None,
        measured_at: datetime | None,
    ) -> None:
        """Put one Reading for each group into the queue. `measured_at`: the moment that the rarest
        group belongs to, if it is another one than now."""
        held = self._plausibility.held_back.keys() if self._held_totals or judged.held_back else ()
        self._held_totals = frozenset(held) if held else EMPTY
        for group, values in groups.items():
            reading = Reading(
                meter=self._config.id,
                group=group,
                time=time,
                values=values,
                measured_at=None if group == self._config.plan.groups[0] else measured_at,
            )
            self._latest_held.pop(group, None)
            if not self._held_totals.isdisjoint(values):
                self._latest_held[group] = reading
            if not judged.held_back.keys().isdisjoint(values):
                passed = {
                    key: Measurement(None, m.unit) if key in judged.held_back else m
                    for key, m in values.items()
                }
                reading = dataclasses.replace(reading, values=passed)
            if self._reset_totals:
                anew = self._reset_totals & values.keys()
                self._reset_totals -= anew
                reading = dataclasses.replace(reading, reset_totals=anew)
            self.report_queue.put(reading)

    def accept_held(self) -> tuple[str, ...]:
        """Believe the totals that are held back, and tell them; their keys."""
        keys = self._plausibility.accept_held()
        self._held_totals = self._warned_totals = EMPTY
        if keys:
            self._log.info("accepted by hand: %s", ", ".join(keys))
        for reading in self._latest_held.values():
            anew = frozenset(keys) & set(reading.values)
            if anew:
                self.report_queue.put(dataclasses.replace(reading, reset_totals=anew))
        self.report_diagnosis(at_once=True)
        return keys

    def apply_connection(self) -> None:
        """What a meter can do at most follows from how it is connected, if it has told that."""
        power = MAX_POWER_BY_CONNECTION.get(self._meter_state.learned.get("connection", ""))
        if power is not None and not self._config.has_power_limit:
            self._plausibility.limit_power(power)

    def reset_totals(self, keys: Iterable[str]) -> None:
        """These totals count differently from now on, by the user's word."""
        self._reset_totals |= frozenset(keys)
        self._plausibility.forget(self._reset_totals)
        self._held_totals -= self._reset_totals
        if self.live_counters is not None:
            self.live_counters.restart()
        self.problem = None

    def _warn_unmapped(self, found: MappedObjects, raw: bytes) -> None:
        if not found.unmapped and not found.wrong_unit:
            return
        shown = raw[:EXCERPT_BYTES].hex(" ")
        for obj in found.unmapped:
            self.warn_once(
                obj.id,
                f"the meter tells {obj.id} = {obj.raw!a} {obj.unit or ''}, which this program"
                f" has no name for; please report it with these bytes: {shown}",
            )
        self._counters.held += len(found.wrong_unit)
        for key, why in found.wrong_unit.items():
            self.warn_once((key, why), f"{key} is held back: {why}; please report it with: {shown}")

    def warn_once(self, what: object, message: str, level: int = logging.WARNING) -> None:
        """A warning that is said once per meter (and a bound for what a noisy line invents)."""
        if what not in self._warned and len(self._warned) < 100:
            self._warned |= {what}
            self._log.log(level, "%s", message)

    # Who it is

    def report_identity(self, objects: tuple[DecodedValue, ...]) -> bool:
        """Tell who the meter is when these objects say so; whether they do."""
        for source in self._config.plan.profile.identity:
            text = ""
            for obj in objects:
                if obj.id == source:
                    text = _text(obj)
            if text:
                known = self._identity
                if known is not None and (known.serial, known.source) == (text, source):
                    details = self._details(objects)
                    if details == known.details:
                        return True
                identity = Identity(
                    meter=self._config.id,
                    serial=text,
                    source=source,
                    details=self._details(objects),
                )
                self._forget_replaced_meter(identity)
                if identity != self._identity:
                    self._identity = identity
                    self.report_queue.put(identity)
                return True
        return False

    def _forget_replaced_meter(self, identity: Identity) -> None:
        """The totals of another meter say nothing about this one's."""
        before = self._identity or self._meter_state
        source = (
            self._meter_state.serial_source if self._identity is None else self._identity.source
        )
        if source == identity.source and before.serial not in (None, identity.serial):
            self.replace_meter()

    def replace_meter(self) -> None:
        """Forget the totals of the previous meter: another one answers."""
        self._plausibility.forget()
        self._latest_held.clear()
        self._held_totals = self._warned_totals = EMPTY
        if self.live_counters is not None:
            self.live_counters.replace_meter()

    def _details(self, objects: tuple[DecodedValue, ...]) -> Mapping[str, str]:
        # a list that tells less than another does not take anything back
        details = dict(self._identity.details) if self._identity else {}
        for obj in objects:
            name = _detail_name(self._config.spec.key_of, obj.id)
            if name is not None and (text := _text(obj)):
                details[name] = text
        return details

    # How it is

    def mark_ok(self, message: str = "readings come") -> None:
        """A good reading came, or what stood between us and the next one is gone."""
        if self.state is not LinkState.OK:
            self._log.info("%s", message if self.state is None else f"{message} again")
        self._reported_states = EMPTY
        self._set_state(LinkState.OK)

    def mark_failed(self, state: LinkState, message: str) -> None:
        """No reading comes, for this reason. Each kind of reason is told once until readings come
        again, however often they take turns."""
        if state in self._reported_states:
            level = logging.DEBUG
        else:
            level = logging.INFO if self._reported_states else logging.WARNING
        self._reported_states |= {state}
        self._log.log(level, "%s", message)
        self._last_error = message
        self._set_state(state)

    def report_crash(self, message: str) -> None:
        """A bug of ours; shown as the meter's problem."""
        self._last_error = message
        self.state = self.state or LinkState.BYTES_NO_FRAMES
        self.report_diagnosis(at_once=True)

    def _set_state(self, state: LinkState) -> None:
        changed = state is not self.state
        self.state = state
        self.report_diagnosis(at_once=changed)

    def report_diagnosis(self, *, at_once: bool = False) -> None:
        """Hand over a Diagnosis if it differs from the last: at once when the link state or the
        port did, else at most once in `diagnosis_interval` seconds."""
        if self.state is None:
            return
        told, now = self._last_diagnosis, self._clock.monotonic()
        problem = self.problem if self.state is LinkState.OK else self._last_error
        moved = (
            told is None or told.port_gone_since != self.port_gone_since or told.problem != problem
        )
        if not at_once and not moved and now - self._diagnosed_at < self._interval:
            return
        diagnosis = Diagnosis(
            meter=self._config.id,
            link_state=self.state,
            last_error=self._last_error,
            counters=self._counters.as_dict(self._clock.monotonic(), self._config.spec.is_pushed),
            learned=self._meter_state.learned,
            port_gone_since=self.port_gone_since,
            problem=problem,
            notes=self.notes,
            held_back=self._plausibility.held_back,
        )
        if diagnosis != told:
            self._last_diagnosis = diagnosis
            self._diagnosed_at = now
            self.report_queue.put(diagnosis)


@lru_cache(maxsize=256)  # a meter says what it likes
def _detail_name(key_of: Callable[[SourceId], str | None], source: SourceId) -> str | None:
    """Under which name the value of this source is a detail of the meter's device."""
    return _DETAILS.get(key_of(source) or "")


def _text(obj: DecodedValue | None) -> str:
    if obj is None or obj.value is None:
        return ""
    value = obj.value
    return decimal_json.plain(value) if isinstance(value, Decimal) else value.strip()


def _log_level(why: str) -> int:
    """A first value that waits for its second is no fault."""
    return logging.DEBUG if why.startswith("the first value") else logging.WARNING
