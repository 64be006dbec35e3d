"""One meter as the publisher knows it: who it is, what it tells, and whether it is there.

Pure: made from reports and memory, all times are passed in. What a picture changes in its
`MeterState` is told by the `DeviceChange` that `apply` returns; whoever holds the file writes it.
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
    EMPTY,
    Diagnosis,
    Identity,
    LinkState,
    LoggedReading,
    Measurement,
    Reading,
    Scalar,
)
from kamstrup_mqtt.core.text import sanitize
from kamstrup_mqtt.core.topics import id_part
from kamstrup_mqtt.devices.availability import Availability
from kamstrup_mqtt.devices.live_counters import LiveCounters, is_newer, parse_state
from kamstrup_mqtt.meters import energy, registry
from kamstrup_mqtt.meters.ha_rules import validate_state
from kamstrup_mqtt.meters.limits import DEFAULT_LIMITS, MAX_POWER_BY_CONNECTION, MeterLimits
from kamstrup_mqtt.meters.model import MeterModel
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.storage.state_schema import LastReading, MeterState, intern_mapping

COUNTERS = ("frames", "dropped", "timeouts", "echoes", "reconnects", "internal_errors", "held")
"""Always in the diagnostics, null until a reader has told them: a missing key is a warning in
Home Assistant's log for every message."""

_EMPTY_READING = LastReading(None, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """What the configuration says of one meter.

    `interval` in seconds, None where the meter sends by itself. `serial` is the serial number
    that the user gave. `commands`: Home Assistant gets a "Read now" button. `limits`: what the
    meter can do at most.
    """

    id: str
    name: str
    model_id: str
    model: MeterModel
    plan: ReadingPlan
    interval: float | None
    serial: str | None = None
    commands: bool = True
    limits: MeterLimits = DEFAULT_LIMITS

    @property
    def is_polled(self) -> bool:
        return self.interval is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """What one report changed, and so what is due.

    discovery    the discovery message differs (send it only if `Picture.serial` is not None, and
                 after the states: a key that the retained state lacks is a warning in Home
                 Assistant; where `replaced`, before them)
    identity     a serial number is new: call `assign_suffixes`
    replaced     another meter answers now: its old device is removed before the new one comes
    states       groups to publish
    diagnostics  worth publishing within a minute; `link`: at once, the link state changed
    memory       memory changed; `urgent`: it must be written within seconds
    log          (logging level, message), each for the log once
    """

    discovery: bool = False
    identity: bool = False
    replaced: bool = False
    states: frozenset[str] = EMPTY
    diagnostics: bool = False
    link: bool = False
    memory: bool = False
    urgent: bool = False
    log: tuple[tuple[int, str], ...] = ()


@cache
def _routine_change(group: str) -> DeviceChange:
    """What a reading of a group changes when nothing of it is new."""
    return DeviceChange(states=frozenset({group}), diagnostics=True, memory=True)


@lru_cache(maxsize=64)  # a house full of meters has few
def _state_form(keys: tuple[str, ...]) -> decimal_json.Form:
    return decimal_json.Form(dict.fromkeys(("time", *keys)))


class Device:
    """One meter. `started` is the monotonic time at which the daemon began to listen; `exact`:
    what is remembered is what was published last."""

    __slots__ = (
        "_availability",
        "_converted_groups",
        "_forms",
        "_last_model",
        "_live_counters",
        "_warned_keys",
        "_was_replaced",
        "config",
        "counters",
        "held_back",
        "last_error",
        "link_state",
        "meter_state",
        "notes",
        "problem",
        "suffix",
    )

    def __init__(
        self, config: DeviceConfig, meter_state: MeterState, started: float, *, exact: bool = True
    ) -> None:
        self.config = config
        self.meter_state = meter_state
        self.suffix = ""
        self.link_state: LinkState | None = None
        self.last_error: str | None = None
        self.problem: str | None = None
        self.notes: tuple[str, ...] = ()
        self.counters: Mapping[str, int] = {}
        self.held_back: Mapping[str, str] = {}
        self._availability = Availability(config.plan, config.interval, started)
        self._warned_keys: frozenset[str] = EMPTY
        self._was_replaced = False
        self._forms: dict[str, decimal_json.Form] = {}  # group -> its state
        self._converted_groups: frozenset[str] = (
            EMPTY  # groups whose retained state is in another unit
        )
        self._adopt_model()
        self._last_model = self.model
        self._live_counters = LiveCounters(
            self.config.plan.live_keys, meter_state.readings, exact=exact
        )

    # Who it is

    @property
    def base_serial(self) -> str | None:
        """The serial number as part of ids: given, told or remembered; the configured id for
        meters that have none; None while it is not known yet."""
        if self.config.serial is not None:
            return id_part(self.config.serial) or self.config.id
        if not self.config.plan.profile.identity:
            return self.config.id
        if self.meter_state.serial is None:
            return None
        return id_part(self.meter_state.serial) or self.config.id

    @property
    def serial(self) -> str | None:
        """`base_serial` with the suffix that keeps two meters of one number apart."""
        own = self.base_serial
        return None if own is None else own + self.suffix

    @property
    def serial_text(self) -> str | None:
        """The serial number as people write it; None where there is none."""
        return self.config.serial or self.meter_state.serial

    @property
    def model(self) -> tuple[str, str]:
        """Manufacturer and name: as configured, or as the meter was recognised by its lists."""
        model, learned = self.config.model, self.meter_state.learned
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
        units = self.meter_state.units
        if self.config.plan.accept_unlisted:
            return dict(units)
        return {key: unit for key, unit in units.items() if key in self.config.plan.by_key}

    def group_of(self, key: str) -> str:
        """The reading group in which `key` is published."""
        planned = self.config.plan.group_of(key)
        if planned is not None:
            return planned
        readings = self.meter_state.readings
        return next(
            (g for g in self.groups if key in readings[g].values), self.config.plan.groups[0]
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that were ever filled, in the model's order."""
        return tuple(
            group for group in self.config.plan.groups if group in self.meter_state.readings
        )

    def state_json(self, group: str) -> str:
        """The state of one group: `time` and every key of it, null where no value came."""
        reading = self.meter_state.readings.get(group, _EMPTY_READING)
        values = {} if group in self._availability.cleared_groups else reading.values
        form = self._forms.get(group)
        if form is None:
            form = _state_form(tuple(key for key in self.keys if self.group_of(key) == group))
            self._forms[group] = form
        return form.dumps({"time": rfc3339(reading.time), **values})

    def states(self) -> dict[str, str]:
        """group -> state, for every group that was ever filled."""
        return {group: self.state_json(group) for group in self.groups}

    @property
    def last_reading(self) -> datetime | None:
        """UTC of the newest valid reading, memory included."""
        times = [r.time for r in self.meter_state.readings.values() if r.time is not None]
        return max(times, default=None)

    def diagnostics_json(self) -> str:
        """The diagnostics topic's payload (docs/quantities.md, Diagnostics)."""
        memory = self.meter_state
        return decimal_json.dumps(
            {
                "link_state": None if self.link_state is None else self.link_state.value,
                "last_reading": rfc3339(self.last_reading),
                "last_error": self.last_error,
                **dict.fromkeys(
                    (*COUNTERS, *(("requests_per_day",) if self.config.is_polled else ()))
                ),
                **self.counters,
                "serial": self.serial_text,
                "model": self.config.model_id,
                "protocol": self.config.plan.protocol,
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
    def has_reading(self) -> bool:
        """Whether there was a reading in this process."""
        return self._availability.has_reading

    @property
    def timeout(self) -> float:
        """Seconds after the last valid reading at which it counts as offline."""
        return self._availability.timeout

    def is_online(self, now: datetime | None, monotonic: float) -> bool:
        """Whether its last valid reading is young enough and its port there."""
        remembered = None if self.has_reading else self.last_reading
        return self._availability.is_online(now, monotonic, remembered)

    def expire_groups(self, monotonic: float) -> frozenset[str]:
        """Groups that missed three of their periods since they were last told; each is told once,
        and from now on its values are null."""
        return self._availability.expire_groups(monotonic, self.groups)

    def next_deadline(self, monotonic: float) -> float:
        """When, after `monotonic`, it goes offline or a group is overdue, if nothing comes."""
        return self._availability.next_deadline(monotonic, self.groups)

    def correct_clock(self, now: datetime, monotonic: float) -> None:
        """The host's clock was wrong and is `now` at `monotonic`: what was received by this
        process gets the right time. For readings that nobody was told of yet."""
        for group, received in self._availability.last_received.items():
            reading = self.meter_state.readings[group]
            reading.time = now - timedelta(seconds=monotonic - received)

    def merge_retained(self, group: str, payload: str, now: datetime | None) -> None:
        """What the broker retained of a group, before we publish: after an end that was not clean
        it may be newer than memory. Nothing is from later than `now`. A state does not tell its
        units: where the configuration has changed one, memory alone counts. A live counter that is
        more than the meter can have counted since memory was written is nobody's."""
        ours = self.meter_state.readings.get(group)
        told = parse_state(payload, ours.values) if ours is not None else None
        if ours is None or told is None or self._was_replaced or group in self._converted_groups:
            return
        later = now is not None and is_newer(told.time, now)
        until = now if now is None or later else told.time
        values = self._live_counters.believable(told.values, self._max_rises(ours.time, until))
        if (
            group not in self._availability.last_received
            and is_newer(told.time, ours.time)
            and not later
        ):
            ours.time = told.time
            ours.values.update(values)
        ours.values.update(self._live_counters.recall(group, values))

    def _max_rises(self, since: datetime | None, until: datetime | None) -> dict[str, Decimal]:
        """Live counter -> by how much it can have risen; moments that are not known are one."""
        seconds = max((until - since).total_seconds(), 0.0) if since and until else 0.0
        connected = MAX_POWER_BY_CONNECTION.get(self.meter_state.learned.get("connection", ""), 0)
        bounds = replace(self.config.limits, power=max(self.config.limits.power, connected))
        most = {}
        for key in self.config.plan.live_keys:
            rate = bounds.max_rise_per_hour(self.meter_state.units.get(key))
            if rate is not None:
                allowed = seconds + self.config.plan.quantity(key).catch_up_seconds
                most[key] = rate * Decimal(allowed) / 3600
        return most

    # What reports change

    def apply(self, report: Reading | Identity | Diagnosis, monotonic: float) -> DeviceChange:
        """Take a report of this meter, received at `monotonic`."""
        if isinstance(report, Identity):
            return self._identify(report)
        if isinstance(report, Diagnosis):
            return self._diagnose(report)
        return self._read(report, monotonic)

    def _adopt_model(self) -> None:
        """A serial number remembered from another kind of meter says nothing about this one."""
        memory = self.meter_state
        if memory.model not in (None, self.config.model_id) and (
            memory.serial_source not in self.config.plan.profile.identity
        ):
            self._reset()
        memory.model = self.config.model_id
        self._adopt_units()

    def _adopt_units(self) -> None:
        """An energy whose unit the configuration has changed goes on in the new one."""
        memory = self.meter_state
        for value in self.config.plan.values:
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
                    self._converted_groups |= {group}

    def _reset(self) -> None:
        fresh = MeterState(
            model=self.config.model_id,
            announced=self.meter_state.announced,
            announced_as=self.meter_state.announced_as,
        )
        for name in MeterState.__slots__:
            setattr(self.meter_state, name, getattr(fresh, name))
        self._availability.reset()
        self._warned_keys = EMPTY
        self._live_counters = LiveCounters(self.config.plan.live_keys, {}, exact=True)
        self._forms.clear()

    def _identify(self, report: Identity) -> DeviceChange:
        memory = self.meter_state
        details = {key: sanitize(text) for key, text in report.details.items()}
        if memory.serial is None or memory.serial_source is None:
            memory.serial, memory.serial_source = report.serial, report.source
            memory.details = details
            return DeviceChange(discovery=True, identity=True, memory=True, urgent=True)
        if report.source != memory.serial_source:
            return self._update_details({**details, **memory.details})
        if report.serial == memory.serial:
            return self._update_details({**memory.details, **details})
        return self._replace(report, details)

    def _update_details(self, details: dict[str, str]) -> DeviceChange:
        if details == self.meter_state.details:
            return DeviceChange()
        self.meter_state.details = details
        return DeviceChange(discovery=True, memory=True, urgent=True)

    def _replace(self, report: Identity, details: dict[str, str]) -> DeviceChange:
        given, before = self.config.serial is not None, sanitize(self.meter_state.serial or "")
        self._was_replaced = True
        if not given:
            self._reset()
        self.meter_state.serial, self.meter_state.serial_source = report.serial, report.source
        self.meter_state.details = details
        then = (
            "the configured serial number stays; change it if this is right"
            if given
            else "it becomes a device of its own in Home Assistant"
        )
        message = (
            f"{self.config.id}: another meter answers: serial number {sanitize(report.serial)},"
            f" until now {before}; {then}"
        )
        return DeviceChange(
            discovery=True,
            identity=True,
            replaced=not given,
            diagnostics=True,
            memory=True,
            urgent=True,
            log=((logging.WARNING, message),),
        )

    def _diagnose(self, report: Diagnosis) -> DeviceChange:
        before = self.diagnostics_json()
        link = report.link_state is not self.link_state
        new_learned = not report.learned.items() <= self.meter_state.learned.items()
        if new_learned:
            self.meter_state.learned = {**self.meter_state.learned, **report.learned}
        self.link_state = report.link_state
        self.last_error = None if report.last_error is None else sanitize(report.last_error)
        self.problem = None if report.problem is None else sanitize(report.problem)
        self.notes = report.notes
        self.counters = report.counters
        self.held_back = dict(report.held_back)
        self._availability.port_gone_since = report.port_gone_since
        return DeviceChange(
            diagnostics=self.diagnostics_json() != before,
            link=link,
            memory=new_learned,
            urgent=new_learned,
        )

    def _read(self, report: Reading, monotonic: float) -> DeviceChange:
        log: list[tuple[int, str]] = []
        group, memory = report.group, self.meter_state
        frozen = memory.units
        values: dict[str, Scalar] = {}
        for key, measured in report.values.items():
            value, unit = measured
            if isinstance(value, Decimal) and key in frozen and frozen[key] == unit:
                values[key] = value  # nearly all of them: `_convert` says the same
            else:
                values[key] = self._convert(key, measured, log)
        new = [key for key, value in values.items() if value is not None and key not in frozen]
        if new:
            memory.units = intern_mapping({**frozen, **{k: report.values[k].unit for k in new}})
        self._live_counters.forget(report.reset_totals)
        self._live_counters.take(group, values)
        model, self._last_model = self._last_model, self.model
        before = memory.readings.get(group)
        memory.readings[group] = LastReading(report.time, values)
        self._availability.record_reading(group, monotonic)
        if new or before is None or before.values.keys() != values.keys():
            self._forms.clear()
        if not new and not log and model == self._last_model:
            return _routine_change(group)
        anew = bool(new) or model != self._last_model
        return replace(_routine_change(group), discovery=anew, urgent=bool(new), log=tuple(log))

    def logged_values(self, report: LoggedReading) -> dict[str, Scalar]:
        """The values of a record of the meter's own log, in the frozen units; it changes nothing
        here, and what does not fit is left out."""
        values: dict[str, Scalar] = {}
        for key, measured in report.values.items():
            frozen = self.meter_state.units.get(key, measured.unit)
            try:
                value = (
                    sanitize(measured.value) if isinstance(measured.value, str) else measured.value
                )
                if value is not None:
                    validate_state(self.config.plan.quantity(key), value, measured.unit)
                    values[key] = units.convert(value, measured.unit, frozen)
            except ValueError:
                continue
        return values

    def _convert(self, key: str, measured: Measurement, log: list[tuple[int, str]]) -> Scalar:
        """The value in the key's frozen unit; None, with a WARNING, when it cannot be that."""
        if measured.value is None:
            return None
        quantity = self.config.plan.quantity(key)
        sent = measured.value if isinstance(measured.value, Decimal) else sanitize(measured.value)
        frozen = self.meter_state.units.get(key, measured.unit)
        try:
            validate_state(quantity, sent, measured.unit)
            return units.convert(sent, measured.unit, frozen)
        except ValueError as error:
            if key not in self._warned_keys:
                self._warned_keys |= {key}
                log.append((logging.WARNING, f"{self.config.id}: {key} is held back: {error}"))
            return None
