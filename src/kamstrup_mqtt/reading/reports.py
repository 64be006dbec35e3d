"""What a reader tells of its meter: readings, who it is, and why nothing comes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import (
    NONE,
    Diagnosis,
    Identity,
    LinkState,
    Object,
    Reading,
    SerialParams,
    SourceId,
)
from kamstrup_mqtt.core.report_queue import Outbox
from kamstrup_mqtt.meters.limits import ANY_METER, Bounds
from kamstrup_mqtt.meters.model import POWER_OF_CONNECTION
from kamstrup_mqtt.meters.plan import Plan, Sorted, sort_objects
from kamstrup_mqtt.protocols.base import Codec, ProtocolSpec
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.plausibility import Guard
from kamstrup_mqtt.storage.state_schema import MeterMemory

if TYPE_CHECKING:
    from kamstrup_mqtt.reading.backfill import Wanted

DIAGNOSIS_INTERVAL = 60.0
SHOWN = 300
"""Bytes of a frame that a warning shows."""

_DETAILS = {
    "software_version": "sw_version",
    "hardware_version": "hw_version",
    "meter_type": "model_id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSetup:
    """One configured meter. `interval` in seconds, None: it sends by itself. `hunt_parity`: the
    parity of its line is found out. `bounds`: what it can count at most. `align`: polled at
    multiples of its intervals in local time, plus `offset` seconds. `found`: the model is not
    known yet, and told here. `bounded`: the user said what it can do at most. `backfill`: what of
    its own log fills a gap."""

    id: str
    name: str
    spec: ProtocolSpec
    codec: Codec
    plan: Plan
    serial: SerialParams
    interval: float | None
    battery: bool = False
    hunt_parity: bool = False
    bounds: Bounds = ANY_METER
    bounded: bool = False
    found: Callable[[str], None] | None = None
    align: bool = False
    offset: float = 0.0
    backfill: Wanted | None = None


class Reports:
    """Puts what is found out about one meter into the outbox, and transitions into the log."""

    __slots__ = (
        "_anew",
        "_clock",
        "_complained",
        "_counters",
        "_guard",
        "_held",
        "_identity",
        "_interval",
        "_last_error",
        "_log",
        "_memory",
        "_newest",
        "_setup",
        "_told",
        "_told_at",
        "_told_faults",
        "_warned",
        "notes",
        "outbox",
        "port_gone",
        "problem_now",
        "state",
    )

    def __init__(
        self,
        setup: MeterSetup,
        outbox: Outbox,
        memory: MeterMemory,
        clock: Clock,
        counters: Counters,
        log: logging.Logger,
        *,
        diagnosis_interval: float = DIAGNOSIS_INTERVAL,
    ) -> None:
        self._setup = setup
        self.outbox = outbox
        self._memory = memory
        self._clock = clock
        self._counters = counters
        self._log = log
        self._interval = diagnosis_interval
        # frozen sets: nearly always empty, and there is one empty one for all meters
        self._warned: frozenset[object] = NONE
        self._identity: Identity | None = None
        self._guard = Guard(setup.plan, memory, setup.bounds, weak=setup.spec.checksum == "weak")
        self._newest: dict[str, Reading] = {}  # with what is held back, as the meter told it
        self._held: frozenset[str] = NONE
        self._anew: frozenset[str] = NONE
        self._complained: frozenset[str] = NONE
        self._last_error: str | None = None
        self._told: Diagnosis | None = None
        self._told_at = 0.0
        self._told_faults: frozenset[LinkState] = NONE  # since the last good reading
        self.connection()
        self.state: LinkState | None = None
        self.port_gone: float | None = None
        self.notes: tuple[str, ...] = ()
        self.problem_now: str | None = None
        """What is wrong though readings come."""

    # What it measured

    def readings(
        self,
        objects: tuple[Object, ...],
        asked: Iterable[SourceId],
        raw: bytes,
        *,
        belongs: datetime | None = None,
    ) -> bool:
        """Hand over one Reading for each group; whether there was any value at all. `raw`: the
        bytes that the objects came in, for warnings; `belongs`: the moment that the rarest group
        among them belongs to, if it is another one than now."""
        for obj in objects if self._log.isEnabledFor(logging.DEBUG) else ():
            self._log.debug("%s = %s %s", obj.id, obj.value, obj.unit or "")
        found = sort_objects(self._setup.plan, objects, asked)
        self._warn(found, raw)
        if all(m.value is None for group in found.groups.values() for m in group.values()):
            return False
        now = self._clock.now()
        for group, measured in found.groups.items():
            reading = Reading(
                meter=self._setup.id,
                group=group,
                time=now,
                values=measured,
                belongs=None if group == self._setup.plan.groups[0] else belongs,
            )
            self._put_judged(reading)
        return True

    @property
    def doubtful(self) -> bool:
        """Whether a total is held back now: another reading would tell."""
        return bool(self._held)

    def _put_judged(self, reading: Reading) -> None:
        judged = self._guard.judge(reading.values, reading.time, self._clock.monotonic())
        self._counters.implausible += len(judged.held)
        for key, why in judged.held.items():
            if key not in self._held:
                self._log.log(_level(why), "%s is held back: %s", key, why)
            if _level(why) == logging.WARNING:
                self._complained |= {key}
        if self._held or judged.held:
            for key in sorted(self._complained & set(reading.values) - set(self._guard.held)):
                self._complained -= {key}
                self._log.info("%s is accepted again", key)
            self._held = frozenset(self._guard.held)
            self._newest.pop(reading.group, None)
            if not self._held.isdisjoint(reading.values):
                self._newest[reading.group] = reading
            reading = dataclasses.replace(reading, values=judged.values)
        if self._anew:
            anew = self._anew & set(reading.values)
            self._anew -= anew
            reading = dataclasses.replace(reading, anew=anew)
        self.outbox.put(reading)

    def accept(self) -> tuple[str, ...]:
        """Believe the totals that are held back, and tell them; their keys."""
        keys = self._guard.accept()
        self._held = self._complained = NONE
        if keys:
            self._log.info("accepted by hand: %s", ", ".join(keys))
        for reading in self._newest.values():
            anew = frozenset(keys) & set(reading.values)
            if anew:
                self.outbox.put(dataclasses.replace(reading, anew=anew))
        self.tell(at_once=True)
        return keys

    def connection(self) -> None:
        """What a meter can do at most follows from how it is connected, if it has told that."""
        power = POWER_OF_CONNECTION.get(self._memory.learned.get("connection", ""))
        if power is not None and not self._setup.bounded:
            self._guard.bound(power)

    def begin_anew(self, keys: Iterable[str]) -> None:
        """These totals count differently from now on, by the user's word."""
        self._anew |= frozenset(keys)
        self._guard.forget(self._anew)
        self._held -= self._anew
        self.problem_now = None

    def _warn(self, found: Sorted, raw: bytes) -> None:
        if not found.unknown and not found.foreign:
            return
        shown = raw[:SHOWN].hex(" ")
        for obj in found.unknown:
            self.warn_once(
                obj.id,
                f"the meter tells {obj.id} = {obj.raw!a} {obj.unit or ''}, which this program"
                f" has no name for; please report it with these bytes: {shown}",
            )
        self._counters.held += len(found.foreign)
        for key, why in found.foreign.items():
            self.warn_once((key, why), f"{key} is held back: {why}; please report it with: {shown}")

    def warn_once(self, what: object, message: str, level: int = logging.WARNING) -> None:
        """A warning that is said once per meter (and a bound for what a noisy line invents)."""
        if what not in self._warned and len(self._warned) < 100:
            self._warned |= {what}
            self._log.log(level, "%s", message)

    # Who it is

    def identity(self, objects: tuple[Object, ...]) -> bool:
        """Tell who the meter is when these objects say so; whether they do."""
        for source in self._setup.plan.dialect.identity:
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
                    meter=self._setup.id,
                    serial=text,
                    source=source,
                    details=self._details(objects),
                )
                self._notice_exchange(identity)
                if identity != self._identity:
                    self._identity = identity
                    self.outbox.put(identity)
                return True
        return False

    def _notice_exchange(self, identity: Identity) -> None:
        """The totals of another meter say nothing about this one's."""
        before = self._identity or self._memory
        source = self._memory.serial_source if self._identity is None else self._identity.source
        if source == identity.source and before.serial not in (None, identity.serial):
            self._guard.forget()
            self._newest.clear()
            self._held = self._complained = NONE

    def _details(self, objects: tuple[Object, ...]) -> Mapping[str, str]:
        # a list that tells less than another does not take anything back
        details = dict(self._identity.details) if self._identity else {}
        for obj in objects:
            name = _detail(self._setup.spec.key, obj.id)
            if name is not None and (text := _text(obj)):
                details[name] = text
        return details

    # How it is

    def good(self, message: str = "readings come") -> None:
        """A good reading came, or what stood between us and the next one is gone."""
        if self.state is not LinkState.OK:
            self._log.info("%s", message if self.state is None else f"{message} again")
        self._told_faults = NONE
        self._change(LinkState.OK)

    def bad(self, state: LinkState, message: str) -> None:
        """No reading comes, for this reason. Each kind of reason is told once until readings come
        again, however often they take turns."""
        if state in self._told_faults:
            level = logging.DEBUG
        else:
            level = logging.INFO if self._told_faults else logging.WARNING
        self._told_faults |= {state}
        self._log.log(level, "%s", message)
        self._last_error = message
        self._change(state)

    def problem(self, message: str) -> None:
        """A bug of ours; shown as the meter's problem."""
        self._last_error = message
        self.state = self.state or LinkState.BYTES_NO_FRAMES
        self.tell(at_once=True)

    def _change(self, state: LinkState) -> None:
        changed = state is not self.state
        self.state = state
        self.tell(at_once=changed)

    def tell(self, *, at_once: bool = False) -> None:
        """Hand over a Diagnosis if it differs from the last: at once when the link state or the
        port did, else at most once in `diagnosis_interval` seconds."""
        if self.state is None:
            return
        told, now = self._told, self._clock.monotonic()
        problem = self.problem_now if self.state is LinkState.OK else self._last_error
        moved = told is None or told.port_gone != self.port_gone or told.problem != problem
        if not at_once and not moved and now - self._told_at < self._interval:
            return
        diagnosis = Diagnosis(
            meter=self._setup.id,
            link_state=self.state,
            last_error=self._last_error,
            counters=self._counters.as_dict(self._clock.monotonic(), self._setup.spec.pushed),
            learned=self._memory.learned,
            port_gone=self.port_gone,
            problem=problem,
            notes=self.notes,
            held_back=self._guard.held,
        )
        if diagnosis != told:
            self._told = diagnosis
            self._told_at = now
            self.outbox.put(diagnosis)


@lru_cache(maxsize=256)  # a meter says what it likes
def _detail(key_of: Callable[[SourceId], str | None], source: SourceId) -> str | None:
    """Under which name the value of this source is a detail of the meter's device."""
    return _DETAILS.get(key_of(source) or "")


def _text(obj: Object | None) -> str:
    if obj is None or obj.value is None:
        return ""
    value = obj.value
    return decimal_json.plain(value) if isinstance(value, Decimal) else value.strip()


def _level(why: str) -> int:
    """A first value that waits for its second is no fault."""
    return logging.DEBUG if why.startswith("the first value") else logging.WARNING
