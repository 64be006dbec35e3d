"""One meter as the publisher knows it: who it is, what it tells, and whether it is there.

Pure: made from reports and memory, all times are passed in. What a picture changes in its
`MeterMemory` is told by the `Change` that `apply` returns; whoever holds the file writes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache

from kamstrup_mqtt.core import decimal_json, units
from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.model import (
    NONE,
    Diagnosis,
    Identity,
    LinkState,
    Logged,
    Measured,
    Reading,
    Scalar,
)
from kamstrup_mqtt.core.topics import id_part
from kamstrup_mqtt.devices.availability import Presence
from kamstrup_mqtt.devices.live_counters import LiveCounters, is_newer, parse_state
from kamstrup_mqtt.meters import energy, registry
from kamstrup_mqtt.meters.ha_rules import check_kind, clean
from kamstrup_mqtt.meters.limits import ANY_METER, Bounds
from kamstrup_mqtt.meters.model import POWER_OF_CONNECTION, MeterModel
from kamstrup_mqtt.meters.plan import Plan
from kamstrup_mqtt.storage.state_schema import MeterMemory, StoredReading, shared

COUNTERS = ("frames", "dropped", "timeouts", "echoes", "reconnects", "internal_errors", "held")
"""Always in the diagnostics, null until a reader has told them: a missing key is a warning in
Home Assistant's log for every message."""

_NOTHING = StoredReading(None, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFacts:
    """What the configuration says of one meter.

    `interval` in seconds, None where the meter sends by itself. `serial` is the serial number
    that the user gave. `commands`: Home Assistant gets a "Read now" button. `bounds`: what the
    meter can do at most.
    """

    id: str
    name: str
    model_id: str
    model: MeterModel
    plan: Plan
    interval: float | None
    serial: str | None = None
    commands: bool = True
    bounds: Bounds = ANY_METER

    @property
    def polled(self) -> bool:
        return self.interval is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one report changed, and so what is due.

    discovery    the discovery message differs (send it only if `Picture.serial` is not None, and
                 after the states: a key that the retained state lacks is a warning in Home
                 Assistant; where `replaced`, before them)
    identity     a serial number is new: call `settle_serials`
    replaced     another meter answers now: its old device is removed before the new one comes
    states       groups to publish
    diagnostics  worth publishing within a minute; `link`: at once, the link state changed
    memory       memory changed; `urgent`: it must be written within seconds
    log          (logging level, message), each for the log once
    """

    discovery: bool = False
    identity: bool = False
    replaced: bool = False
    states: frozenset[str] = NONE
    diagnostics: bool = False
    link: bool = False
    memory: bool = False
    urgent: bool = False
    log: tuple[tuple[int, str], ...] = ()


@cache
def _usual(group: str) -> Change:
    """What a reading of a group changes when nothing of it is new."""
    return Change(states=frozenset({group}), diagnostics=True, memory=True)


@lru_cache(maxsize=64)  # a house full of meters has few
def _form(keys: tuple[str, ...]) -> decimal_json.Form:
    return decimal_json.Form(dict.fromkeys(("time", *keys)))


class Picture:
    """One meter. `started` is the monotonic time at which the daemon began to listen; `exact`:
    what is remembered is what was published last."""

    __slots__ = (
        "_converted",
        "_layout",
        "_live",
        "_model",
        "_presence",
        "_replaced",
        "_told",
        "counters",
        "facts",
        "held_back",
        "last_error",
        "link_state",
        "memory",
        "notes",
        "problem",
        "suffix",
    )

    def __init__(
        self, facts: MeterFacts, memory: MeterMemory, started: float, *, exact: bool = True
    ) -> None:
        self.facts = facts
        self.memory = memory
        self.suffix = ""
        self.link_state: LinkState | None = None
        self.last_error: str | None = None
        self.problem: str | None = None
        self.notes: tuple[str, ...] = ()
        self.counters: Mapping[str, int] = {}
        self.held_back: Mapping[str, str] = {}
        self._presence = Presence(facts.plan, facts.interval, started)
        self._told: frozenset[str] = NONE
        self._replaced = False
        self._layout: dict[str, decimal_json.Form] = {}  # group -> its state
        self._converted: frozenset[str] = NONE  # groups whose retained state is in another unit
        self._adopt_model()
        self._model = self.model
        self._live = LiveCounters(self.facts.plan.live_keys, memory.readings, exact=exact)

    # Who it is

    @property
    def own_serial(self) -> str | None:
        """The serial number as part of ids: given, told or remembered; the configured id for
        meters that have none; None while it is not known yet."""
        if self.facts.serial is not None:
            return id_part(self.facts.serial) or self.facts.id
        if not self.facts.plan.dialect.identity:
            return self.facts.id
        if self.memory.serial is None:
            return None
        return id_part(self.memory.serial) or self.facts.id

    @property
    def serial(self) -> str | None:
        """`own_serial` with the suffix that keeps two meters of one number apart."""
        own = self.own_serial
        return None if own is None else own + self.suffix

    @property
    def serial_text(self) -> str | None:
        """The serial number as people write it; None where there is none."""
        return self.facts.serial or self.memory.serial

    @property
    def model(self) -> tuple[str, str]:
        """Manufacturer and name: as configured, or as the meter was recognised by its lists."""
        model, learned = self.facts.model, self.memory.learned
        if model.manufacturer:
            return model.manufacturer, model.name
        found = registry.all_models().get(learned.get("recognised", ""))
        if found is None:
            return model.manufacturer, model.name
        maker = learned.get("manufacturer", found.manufacturer)
        if maker != found.manufacturer:  # its lists are another maker's
            return maker, f"HAN meter, {found.name.partition(', ')[2]}"
        return maker, found.name

    # What it tells

    @property
    def keys(self) -> dict[str, str | None]:
        """Every key that belongs to the meter, with its frozen unit, in order first seen."""
        units = self.memory.units
        if self.facts.plan.open:
            return dict(units)
        return {key: unit for key, unit in units.items() if key in self.facts.plan.by_key}

    def group_of(self, key: str) -> str:
        """The reading group in which `key` is published."""
        planned = self.facts.plan.group_of(key)
        if planned is not None:
            return planned
        readings = self.memory.readings
        return next(
            (g for g in self.groups if key in readings[g].values), self.facts.plan.groups[0]
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that were ever filled, in the model's order."""
        return tuple(group for group in self.facts.plan.groups if group in self.memory.readings)

    def state_json(self, group: str) -> str:
        """The state of one group: `time` and every key of it, null where no value came."""
        reading = self.memory.readings.get(group, _NOTHING)
        values = {} if group in self._presence.nulled else reading.values
        form = self._layout.get(group)
        if form is None:
            form = _form(tuple(key for key in self.keys if self.group_of(key) == group))
            self._layout[group] = form
        return form.dumps({"time": rfc3339(reading.time), **values})

    def states(self) -> dict[str, str]:
        """group -> state, for every group that was ever filled."""
        return {group: self.state_json(group) for group in self.groups}

    @property
    def last_reading(self) -> datetime | None:
        """UTC of the newest valid reading, memory included."""
        times = [r.time for r in self.memory.readings.values() if r.time is not None]
        return max(times, default=None)

    def diagnostics_json(self) -> str:
        """The diagnostics topic's payload (docs/quantities.md, Diagnostics)."""
        memory = self.memory
        return decimal_json.dumps(
            {
                "link_state": None if self.link_state is None else self.link_state.value,
                "last_reading": rfc3339(self.last_reading),
                "last_error": self.last_error,
                **dict.fromkeys((*COUNTERS, *(("requests_per_day",) if self.facts.polled else ()))),
                **self.counters,
                "serial": self.serial_text,
                "model": self.facts.model_id,
                "protocol": self.facts.plan.protocol,
                "details": memory.details,
                "learned": memory.learned,
                "held_back": self.held_back,
                "unsupported": [str(source) for source in memory.unsupported],
                "problem": self.problem,
                "notes": list(self.notes),
            }
        )

    # Whether it is there

    @property
    def heard(self) -> bool:
        """Whether there was a reading in this process."""
        return self._presence.heard

    @property
    def patience(self) -> float:
        """Seconds after the last valid reading at which it counts as offline."""
        return self._presence.patience

    def online(self, now: datetime | None, monotonic: float) -> bool:
        """Whether its last valid reading is young enough and its port there."""
        remembered = None if self.heard else self.last_reading
        return self._presence.online(now, monotonic, remembered)

    def overdue(self, monotonic: float) -> frozenset[str]:
        """Groups that missed three of their periods since they were last told; each is told once,
        and from now on its values are null."""
        return self._presence.overdue(monotonic, self.groups)

    def next_end(self, monotonic: float) -> float:
        """When, after `monotonic`, it goes offline or a group is overdue, if nothing comes."""
        return self._presence.next_end(monotonic, self.groups)

    def restamp(self, now: datetime, monotonic: float) -> None:
        """The host's clock was wrong and is `now` at `monotonic`: what was received by this
        process gets the right time. For readings that nobody was told of yet."""
        for group, received in self._presence.received.items():
            reading = self.memory.readings[group]
            reading.time = now - timedelta(seconds=monotonic - received)

    def recall(self, group: str, payload: str, now: datetime | None) -> None:
        """What the broker retained of a group, before we publish: after an end that was not clean
        it may be newer than memory. Nothing is from later than `now`. A state does not tell its
        units: where the configuration has changed one, memory alone counts. A live counter that is
        more than the meter can have counted since memory was written is nobody's."""
        ours = self.memory.readings.get(group)
        told = parse_state(payload, ours.values) if ours is not None else None
        if ours is None or told is None or self._replaced or group in self._converted:
            return
        later = now is not None and is_newer(told.time, now)
        until = now if now is None or later else told.time
        values = self._live.believable(told.values, self._most_risen(ours.time, until))
        if group not in self._presence.received and is_newer(told.time, ours.time) and not later:
            ours.time = told.time
            ours.values.update(values)
        ours.values.update(self._live.recall(group, values))

    def _most_risen(self, since: datetime | None, until: datetime | None) -> dict[str, Decimal]:
        """Live counter -> by how much it can have risen; moments that are not known are one."""
        seconds = max((until - since).total_seconds(), 0.0) if since and until else 0.0
        connected = POWER_OF_CONNECTION.get(self.memory.learned.get("connection", ""), 0)
        bounds = replace(self.facts.bounds, power=max(self.facts.bounds.power, connected))
        most = {}
        for key in self.facts.plan.live_keys:
            rate = bounds.per_hour(self.memory.units.get(key))
            if rate is not None:
                allowed = seconds + self.facts.plan.quantity(key).catches_up
                most[key] = rate * Decimal(allowed) / 3600
        return most

    # What reports change

    def apply(self, report: Reading | Identity | Diagnosis, monotonic: float) -> Change:
        """Take a report of this meter, received at `monotonic`."""
        if isinstance(report, Identity):
            return self._identify(report)
        if isinstance(report, Diagnosis):
            return self._diagnose(report)
        return self._read(report, monotonic)

    def _adopt_model(self) -> None:
        """A serial number remembered from another kind of meter says nothing about this one."""
        memory = self.memory
        if memory.model not in (None, self.facts.model_id) and (
            memory.serial_source not in self.facts.plan.dialect.identity
        ):
            self._forget()
        memory.model = self.facts.model_id
        self._adopt_units()

    def _adopt_units(self) -> None:
        """An energy whose unit the configuration has changed goes on in the new one."""
        memory = self.memory
        for value in self.facts.plan.values:
            key, unit = value.quantity.key, value.quantity.unit
            frozen = memory.units.get(key)
            if unit is None or frozen == unit or not {unit, frozen} <= energy.UNITS:
                continue
            memory.units = {**memory.units, key: unit}
            memory.totals.pop(key, None)
            for group, reading in memory.readings.items():
                old = reading.values.get(key)
                if isinstance(old, Decimal):
                    reading.values[key] = energy.convert(old, frozen, unit)
                    self._converted |= {group}

    def _forget(self) -> None:
        fresh = MeterMemory(
            model=self.facts.model_id,
            announced=self.memory.announced,
            announced_as=self.memory.announced_as,
        )
        for name in MeterMemory.__slots__:
            setattr(self.memory, name, getattr(fresh, name))
        self._presence.forget()
        self._told = NONE
        self._live = LiveCounters(self.facts.plan.live_keys, {}, exact=True)
        self._layout.clear()

    def _identify(self, report: Identity) -> Change:
        memory = self.memory
        details = {key: clean(text) for key, text in report.details.items()}
        if memory.serial is None or memory.serial_source is None:
            memory.serial, memory.serial_source = report.serial, report.source
            memory.details = details
            return Change(discovery=True, identity=True, memory=True, urgent=True)
        if report.source != memory.serial_source:
            return self._detail({**details, **memory.details})
        if report.serial == memory.serial:
            return self._detail({**memory.details, **details})
        return self._replace(report, details)

    def _detail(self, details: dict[str, str]) -> Change:
        if details == self.memory.details:
            return Change()
        self.memory.details = details
        return Change(discovery=True, memory=True, urgent=True)

    def _replace(self, report: Identity, details: dict[str, str]) -> Change:
        given, before = self.facts.serial is not None, clean(self.memory.serial or "")
        self._replaced = True
        if not given:
            self._forget()
        self.memory.serial, self.memory.serial_source = report.serial, report.source
        self.memory.details = details
        then = (
            "the configured serial number stays; change it if this is right"
            if given
            else "it becomes a device of its own in Home Assistant"
        )
        message = (
            f"{self.facts.id}: another meter answers: serial number {clean(report.serial)},"
            f" until now {before}; {then}"
        )
        return Change(
            discovery=True,
            identity=True,
            replaced=not given,
            diagnostics=True,
            memory=True,
            urgent=True,
            log=((logging.WARNING, message),),
        )

    def _diagnose(self, report: Diagnosis) -> Change:
        before = self.diagnostics_json()
        link = report.link_state is not self.link_state
        new_learned = not report.learned.items() <= self.memory.learned.items()
        if new_learned:
            self.memory.learned = {**self.memory.learned, **report.learned}
        self.link_state = report.link_state
        self.last_error = None if report.last_error is None else clean(report.last_error)
        self.problem = None if report.problem is None else clean(report.problem)
        self.notes = report.notes
        self.counters = report.counters
        self.held_back = dict(report.held_back)
        self._presence.port_gone = report.port_gone
        return Change(
            diagnostics=self.diagnostics_json() != before,
            link=link,
            memory=new_learned,
            urgent=new_learned,
        )

    def _read(self, report: Reading, monotonic: float) -> Change:
        log: list[tuple[int, str]] = []
        group, memory = report.group, self.memory
        frozen = memory.units
        values: dict[str, Scalar] = {}
        for key, measured in report.values.items():
            value, unit = measured
            if isinstance(value, Decimal) and key in frozen and frozen[key] == unit:
                values[key] = value  # nearly all of them: `_accept` says the same
            else:
                values[key] = self._accept(key, measured, log)
        new = [key for key, value in values.items() if value is not None and key not in frozen]
        if new:
            memory.units = shared({**frozen, **{k: report.values[k].unit for k in new}})
        self._live.forget(report.anew)
        self._live.take(group, values)
        model, self._model = self._model, self.model
        before = memory.readings.get(group)
        memory.readings[group] = StoredReading(report.time, values)
        self._presence.hear(group, monotonic)
        if new or before is None or before.values.keys() != values.keys():
            self._layout.clear()
        if not new and not log and model == self._model:
            return _usual(group)
        anew = bool(new) or model != self._model
        return replace(_usual(group), discovery=anew, urgent=bool(new), log=tuple(log))

    def logged(self, report: Logged) -> dict[str, Scalar]:
        """The values of a record of the meter's own log, in the frozen units; it changes nothing
        here, and what does not fit is left out."""
        values: dict[str, Scalar] = {}
        for key, measured in report.values.items():
            frozen = self.memory.units.get(key, measured.unit)
            try:
                value = clean(measured.value) if isinstance(measured.value, str) else measured.value
                if value is not None:
                    check_kind(self.facts.plan.quantity(key), value, measured.unit)
                    values[key] = units.convert(value, measured.unit, frozen)
            except ValueError:
                continue
        return values

    def _accept(self, key: str, measured: Measured, log: list[tuple[int, str]]) -> Scalar:
        """The value in the key's frozen unit; None, with a WARNING, when it cannot be that."""
        if measured.value is None:
            return None
        quantity = self.facts.plan.quantity(key)
        sent = measured.value if isinstance(measured.value, Decimal) else clean(measured.value)
        frozen = self.memory.units.get(key, measured.unit)
        try:
            check_kind(quantity, sent, measured.unit)
            return units.convert(sent, measured.unit, frozen)
        except ValueError as error:
            if key not in self._told:
                self._told |= {key}
                log.append((logging.WARNING, f"{self.facts.id}: {key} is held back: {error}"))
            return None
