"""The values of one device: its keys, their frozen units, and the last reading of each group."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from kamstrup_mqtt.core import decimal_json, units
from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.model import (
    EMPTY,
    LoggedReading,
    Measurement,
    Reading,
    RetainedState,
    Scalar,
)
from kamstrup_mqtt.core.text import sanitize
from kamstrup_mqtt.devices.device_changes import DeviceChange, routine_change
from kamstrup_mqtt.devices.device_config import DeviceConfig
from kamstrup_mqtt.devices.retained_state import is_newer, parse_state
from kamstrup_mqtt.meters import energy
from kamstrup_mqtt.meters.ha_rules import validate_state
from kamstrup_mqtt.storage.state_schema import DeviceState, LastReading, intern_mapping

MergeRetained = Callable[[RetainedState], Mapping[str, Decimal]]
"""Gives the reader of the meter a retained state; returns its live counters by key, each in the
unit of its retained value."""

_EMPTY_READING = LastReading(None, {})


@lru_cache(maxsize=64)  # most meters of a house share one
def _state_form(keys: tuple[str, ...]) -> decimal_json.ObjectWriter:
    return decimal_json.ObjectWriter(dict.fromkeys(("time", *keys)))


class DeviceReadings:
    """Keeps `DeviceState.units` and `.readings`. `exact`: they are what was published last."""

    __slots__ = ("_config", "_converted_groups", "_forms", "_state", "_warned_keys")

    def __init__(self, config: DeviceConfig, state: DeviceState, *, exact: bool) -> None:
        self._config = config
        self._state = state
        self._warned_keys: frozenset[str] = EMPTY
        self._forms: dict[str, decimal_json.ObjectWriter] = {}  # by group
        self._converted_groups: frozenset[str] = EMPTY  # their retained states have another unit
        self._adopt_units()
        if not exact:
            self._clear_live_counters()

    @property
    def keys(self) -> dict[str, str | None]:
        """Every key that belongs to the meter, with its frozen unit, in order first seen."""
        plan = self._config.plan
        if plan.accept_unlisted:
            return dict(self._state.units)
        return {key: unit for key, unit in self._state.units.items() if key in plan.by_key}

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that were ever filled, in the model's order."""
        return tuple(g for g in self._config.plan.groups if g in self._state.readings)

    @property
    def last_reading(self) -> datetime | None:
        """UTC of the newest valid reading, stored ones included."""
        times = [r.time for r in self._state.readings.values() if r.time is not None]
        return max(times, default=None)

    def group_of(self, key: str) -> str:
        """Return the reading group in which `key` is published."""
        plan, readings = self._config.plan, self._state.readings
        planned = plan.group_of(key)
        if planned is not None:
            return planned
        return next((g for g in self.groups if key in readings[g].values), plan.groups[0])

    def state_json(self, group: str, cleared_groups: Container[str]) -> str:
        """Return the state of one group: `time` and every key of it, null where no value came.

        All values of a group in `cleared_groups` are null.
        """
        reading = self._state.readings.get(group, _EMPTY_READING)
        values = {} if group in cleared_groups else reading.values
        form = self._forms.get(group)
        if form is None:
            form = _state_form(tuple(key for key in self.keys if self.group_of(key) == group))
            self._forms[group] = form
        return form.dumps({"time": rfc3339(reading.time), **values})

    def take(self, report: Reading) -> DeviceChange:
        """Take a reading and return what it changes."""
        log: list[tuple[int, str]] = []
        group, frozen = report.group, self._state.units
        values: dict[str, Scalar] = {}
        for key, measured in report.values.items():
            value, unit = measured
            if isinstance(value, Decimal) and key in frozen and frozen[key] == unit:
                values[key] = value  # nearly all of them; `_convert` returns the same
            else:
                values[key] = self._convert(key, measured, log)
        new = [key for key, value in values.items() if value is not None and key not in frozen]
        if new:
            units_of_new = {key: report.values[key].unit for key in new}
            self._state.units = intern_mapping({**frozen, **units_of_new})
        before = self._state.readings.get(group)
        self._state.readings[group] = LastReading(report.time, values)
        if new or before is None or before.values.keys() != values.keys():
            self._forms.clear()
        change = routine_change(group)
        if not new and not log:
            return change
        return replace(change, discovery=bool(new), urgent=bool(new), log=tuple(log))

    def logged_values(self, report: LoggedReading) -> dict[str, Scalar]:
        """Return the values of a record of the meter's log in the frozen units; what does not fit
        is left out. Nothing is changed here."""
        values: dict[str, Scalar] = {}
        for key, measured in report.values.items():
            frozen, value = self._state.units.get(key, measured.unit), measured.value
            try:
                if isinstance(value, str):
                    value = sanitize(value)
                if value is not None:
                    validate_state(self._config.plan.quantity(key), value, measured.unit)
                    values[key] = units.convert(value, measured.unit, frozen)
            except ValueError:
                continue
        return values

    def merge_retained(
        self,
        group: str,
        payload: str,
        now: datetime | None,
        *,
        has_reading: bool,
        merge_live: MergeRetained,
    ) -> None:
        """Take over what the broker retained of a group, before anything is published.

        After a kill it may be newer than the state file; nothing from later than `now` is taken
        over, nor values of a group that has a reading of this run (`has_reading`). Live counters
        belong to the reader, which returns what they are now. A retained state has no units: if
        the configuration has changed one, only the state file counts.
        """
        ours = self._state.readings.get(group)
        retained = parse_state(payload, ours.values) if ours is not None else None
        if ours is None or retained is None or group in self._converted_groups:
            return
        is_future = now is not None and is_newer(retained.time, now)
        live_keys = self._config.plan.live_keys
        frozen = self._state.units
        live = merge_live(
            RetainedState(
                meter=self._config.id,
                time=now if now is None or is_future else retained.time,
                values={
                    key: Measurement(value, frozen.get(key))
                    for key, value in retained.values.items()
                    if key in live_keys
                },
            )
        )
        if not has_reading and not is_future and is_newer(retained.time, ours.time):
            ours.time = retained.time
            ours.values.update(
                {key: value for key, value in retained.values.items() if key not in live_keys}
            )
        ours.values.update(live)

    def reset(self) -> None:
        """Forget what was derived from the values of another meter."""
        self._warned_keys = EMPTY
        self._forms.clear()

    def _adopt_units(self) -> None:
        """Convert energies whose unit the configuration has changed."""
        state = self._state
        for value in self._config.plan.values:
            key, unit = value.quantity.key, value.quantity.unit
            frozen = state.units.get(key)
            if unit is None or frozen == unit or not {unit, frozen} <= energy.UNITS:
                continue
            state.units = {**state.units, key: unit}
            for group, reading in state.readings.items():
                old = reading.values.get(key)
                if isinstance(old, Decimal):
                    reading.values[key] = energy.convert(old, frozen, unit)
                    self._converted_groups |= {group}

    def _clear_live_counters(self) -> None:
        """Later values of the live counters may have been published than the stored ones."""
        for key in self._config.plan.live_keys:
            for reading in self._state.readings.values():
                if key in reading.values:
                    reading.values[key] = None

    def _convert(self, key: str, measured: Measurement, log: list[tuple[int, str]]) -> Scalar:
        """Return the value in the key's frozen unit; None, with a warning, if that cannot be."""
        if measured.value is None:
            return None
        quantity = self._config.plan.quantity(key)
        sent = measured.value if isinstance(measured.value, Decimal) else sanitize(measured.value)
        frozen = self._state.units.get(key, measured.unit)
        try:
            validate_state(quantity, sent, measured.unit)
            return units.convert(sent, measured.unit, frozen)
        except ValueError as error:
            if key not in self._warned_keys:
                self._warned_keys |= {key}
                log.append((logging.WARNING, f"{self._config.id}: {key} is held back: {error}"))
            return None
