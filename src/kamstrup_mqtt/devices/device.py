"""One meter as it is published: identity, values and availability.

Pure: it is made of reports and of its part of the state file, and all times are passed in. What a
report changes is returned as a `DeviceChange`; the owner of the state file writes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.model import (
    Diagnosis,
    Identity,
    LinkState,
    LoggedReading,
    Reading,
    RetainedState,
    Scalar,
)
from kamstrup_mqtt.core.text import sanitize
from kamstrup_mqtt.core.topics import to_id_part
from kamstrup_mqtt.devices.availability import Availability
from kamstrup_mqtt.devices.device_changes import DeviceChange
from kamstrup_mqtt.devices.device_config import DeviceConfig
from kamstrup_mqtt.devices.device_readings import DeviceReadings, MergeRetained
from kamstrup_mqtt.devices.payloads import Diagnostics, diagnostics_json
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.storage.state_schema import DeviceState, adopt_model

__all__ = ["Device", "DeviceChange", "DeviceConfig"]


class Device:
    """One meter.

    started      monotonic time at which the daemon started
    exact        the stored state is what was published last
    diagnostics  what is known of its reader from the last run
    merge_live   gives its reader what the broker retained of its live counters
    """

    __slots__ = (
        "_availability",
        "_diagnostics",
        "_merge_live",
        "_readings",
        "_was_replaced",
        "config",
        "meter_state",
        "suffix",
    )

    def __init__(
        self,
        config: DeviceConfig,
        meter_state: DeviceState,
        started: float,
        *,
        exact: bool = True,
        diagnostics: Diagnostics | None = None,
        merge_live: MergeRetained | None = None,
    ) -> None:
        adopt_model(meter_state, config.model_id, config.plan.profile.identity)
        self.config = config
        self.meter_state = meter_state
        self.suffix = ""
        self._availability = Availability(config.plan, config.interval, started)
        self._diagnostics = diagnostics or Diagnostics()
        self._readings = DeviceReadings(config, meter_state, exact=exact)
        self._merge_live = merge_live or _without_reader
        self._was_replaced = False

    # Identity

    @property
    def base_serial(self) -> str | None:
        """The serial number as part of ids: as configured, as the meter sent it, or the configured
        id for meters that have none; None while it is not known."""
        if self.config.serial is not None:
            return to_id_part(self.config.serial) or self.config.id
        if not self.config.plan.profile.identity:
            return self.config.id
        if self.meter_state.serial is None:
            return None
        return to_id_part(self.meter_state.serial) or self.config.id

    @property
    def serial(self) -> str | None:
        """`base_serial` with the suffix that keeps two meters of one number apart."""
        base = self.base_serial
        return None if base is None else base + self.suffix

    @property
    def serial_text(self) -> str | None:
        """The serial number as people write it; None where there is none."""
        return self.config.serial or self.meter_state.serial

    @property
    def model(self) -> tuple[str, str]:
        """Manufacturer and name: as configured, or as the meter was recognised by its lists."""
        model, learned = self.config.model, self._diagnostics.learned
        if model.manufacturer:
            return model.manufacturer, model.name
        found = registry.all_models().get(learned.get("recognised", ""))
        if found is None:
            return model.manufacturer, model.name
        maker = learned.get("manufacturer", found.manufacturer)
        if maker != found.manufacturer:  # its lists are another maker's
            return maker, f"HAN meter, {found.name.partition(', ')[2]}"
        return maker, found.name

    # Published values

    @property
    def keys(self) -> dict[str, str | None]:
        """Every key that belongs to the meter, with its frozen unit, in order first seen."""
        return self._readings.keys

    def group_of(self, key: str) -> str:
        """Return the reading group in which `key` is published."""
        return self._readings.group_of(key)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that were ever filled, in the model's order."""
        return self._readings.groups

    def state_json(self, group: str) -> str:
        """Return the state of one group: `time` and every key of it, null where no value came."""
        return self._readings.state_json(group, self._availability.cleared_groups)

    def states(self) -> dict[str, str]:
        """Return group -> state, for every group that was ever filled."""
        return {group: self.state_json(group) for group in self.groups}

    @property
    def last_reading(self) -> datetime | None:
        """UTC of the newest valid reading, stored ones included."""
        return self._readings.last_reading

    def logged_values(self, report: LoggedReading) -> dict[str, Scalar]:
        """Return the values of a record of the meter's log in the frozen units."""
        return self._readings.logged_values(report)

    def diagnostics_json(self) -> str:
        """Return the payload of the diagnostics topic."""
        return diagnostics_json(
            self.config,
            self._diagnostics,
            last_reading=rfc3339(self.last_reading),
            serial=self.serial_text,
            details=self.meter_state.details,
        )

    @property
    def link_state(self) -> LinkState | None:
        """The state of the link; None before the first report."""
        return self._diagnostics.link_state

    @property
    def last_error(self) -> str | None:
        """The last reason why no reading came."""
        return self._diagnostics.last_error

    @property
    def problem(self) -> str | None:
        """What is wrong now."""
        return self._diagnostics.problem

    @property
    def notes(self) -> tuple[str, ...]:
        """The progress of learning."""
        return self._diagnostics.notes

    @property
    def held_back(self) -> Mapping[str, str]:
        """Total -> why it is rejected."""
        return self._diagnostics.held_back

    @property
    def learned(self) -> Mapping[str, str]:
        """What the reader has learned about the meter, by its public names."""
        return self._diagnostics.learned

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The sources that the meter does not have."""
        return self._diagnostics.unsupported

    # Availability

    @property
    def has_reading(self) -> bool:
        """Whether there was a reading in this run."""
        return self._availability.has_reading

    @property
    def timeout(self) -> float:
        """Seconds after the last valid reading at which it counts as offline."""
        return self._availability.timeout

    def is_online(self, now: datetime | None, monotonic: float) -> bool:
        """Return whether its last valid reading is young enough and its port is there."""
        stored = None if self.has_reading else self.last_reading
        return self._availability.is_online(now, monotonic, stored)

    def expire_groups(self, monotonic: float) -> frozenset[str]:
        """Return the groups that have missed three of their periods since the last call; their
        values are null from now on."""
        return self._availability.expire_groups(monotonic, self.groups)

    def next_deadline(self, monotonic: float) -> float:
        """Return when, after `monotonic`, it goes offline or a group expires if nothing comes."""
        return self._availability.next_deadline(monotonic, self.groups)

    # Corrections

    def correct_clock(self, now: datetime, monotonic: float) -> None:
        """Correct the times of readings of this run that were not published yet: the host's clock
        was wrong, and is `now` at `monotonic`."""
        for group, received in self._availability.last_received.items():
            reading = self.meter_state.readings[group]
            reading.time = now - timedelta(seconds=monotonic - received)

    def merge_retained(self, group: str, payload: str, now: datetime | None) -> None:
        """Take over what the broker retained of a group; see DeviceReadings.merge_retained."""
        if self._was_replaced:  # it is of the previous meter
            return
        has_reading = group in self._availability.last_received
        self._readings.merge_retained(
            group, payload, now, has_reading=has_reading, merge_live=self._merge_live
        )

    # Reports

    def apply(self, report: Reading | Identity | Diagnosis, monotonic: float) -> DeviceChange:
        """Take a report of this meter, received at `monotonic`, and return what it changes."""
        if isinstance(report, Identity):
            return self._identify(report)
        if isinstance(report, Diagnosis):
            return self._diagnose(report)
        self._availability.record_reading(report.group, monotonic)
        return self._readings.take(report)

    def _identify(self, report: Identity) -> DeviceChange:
        state = self.meter_state
        details = {key: sanitize(text) for key, text in report.details.items()}
        if report.is_other_meter(state.serial, state.serial_source):
            return self._replace(report, details)
        if state.serial is None or state.serial_source is None:
            state.serial, state.serial_source = report.serial, report.source
            state.details = details
            return DeviceChange(discovery=True, identity=True, device_state=True, urgent=True)
        if report.source != state.serial_source:  # a number of another kind adds details only
            return self._update_details({**details, **state.details})
        return self._update_details({**state.details, **details})

    def _update_details(self, details: dict[str, str]) -> DeviceChange:
        if details == self.meter_state.details:
            return DeviceChange()
        self.meter_state.details = details
        return DeviceChange(discovery=True, device_state=True, urgent=True)

    def _replace(self, report: Identity, details: dict[str, str]) -> DeviceChange:
        """Another meter answers: forget everything that belongs to the previous one."""
        state, is_configured = self.meter_state, self.config.serial is not None
        before = sanitize(state.serial or "")
        self._was_replaced = True
        if not is_configured:
            state.reset()
            self._availability.reset()
            self._readings.reset()
            self._diagnostics = replace(self._diagnostics, learned={}, unsupported=())
        state.serial, state.serial_source = report.serial, report.source
        state.details = details
        consequence = (
            "the configured serial number stays; change it if this is right"
            if is_configured
            else "it becomes another device in Home Assistant"
        )
        message = (
            f"{self.config.id}: another meter answers: serial number {sanitize(report.serial)},"
            f" until now {before}; {consequence}"
        )
        return DeviceChange(
            discovery=True,
            identity=True,
            replaced=not is_configured,
            diagnostics=True,
            device_state=True,
            urgent=True,
            log=((logging.WARNING, message),),
        )

    def _diagnose(self, report: Diagnosis) -> DeviceChange:
        before, model = self._diagnostics, self.model
        self._diagnostics = Diagnostics.of(report)
        self._availability.port_gone_since = report.port_gone_since
        return DeviceChange(
            discovery=self.model != model,
            diagnostics=self._diagnostics != before,
            link=self._diagnostics.link_state is not before.link_state,
        )


def _without_reader(_retained: RetainedState) -> Mapping[str, Decimal]:
    return {}
