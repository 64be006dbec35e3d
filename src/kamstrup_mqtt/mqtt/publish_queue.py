"""Keeps the devices and the topics of them that are pending.

Reports change the devices whether the broker is connected or not. A session publishes the pending
topics.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.log import meter_logger
from kamstrup_mqtt.core.model import Identity, LoggedReading, Reading, Report
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.devices.device import Device, DeviceChange
from kamstrup_mqtt.devices.unique_ids import assign_suffixes
from kamstrup_mqtt.mqtt.history_records import RecordEncoder
from kamstrup_mqtt.storage.history.queue import HistoryQueue
from kamstrup_mqtt.storage.state_file import StateFile

DIAGNOSTICS_INTERVAL = 60.0
"""Seconds between two diagnostics messages of a meter, unless its link state has changed."""


@dataclass(slots=True)
class Pending:
    """Topics to publish, in the order in which they became pending.

    Each topic is listed once. Its payload is made when a session publishes it.
    """

    discovery: dict[str, None] = field(default_factory=dict)
    status: dict[str, None] = field(default_factory=dict)
    states: dict[tuple[str, str], None] = field(default_factory=dict)
    diagnostics: dict[str, None] = field(default_factory=dict)


class PublishQueue:
    """The devices and their pending topics.

    `changed` wakes the session. `apply` and `tick` do not set it: their caller decides whether the
    session has to do something.
    """

    def __init__(
        self,
        devices: Mapping[str, Device],
        state_file: StateFile,
        clock: Clock,
        *,
        history: HistoryQueue | None = None,
        diagnostics_interval: float = DIAGNOSTICS_INTERVAL,
    ) -> None:
        self.devices = devices
        self.state_file = state_file
        self.history = history or HistoryQueue()
        self.pending = Pending()
        self.changed = asyncio.Event()
        self._record_encoder = RecordEncoder(self.history.boot_id)
        self._clock = clock
        self._diagnostics_interval = diagnostics_interval
        self._diagnostics_times: dict[str, float] = {}
        self._deferred_diagnostics: set[str] = set()
        self._is_merged = False
        self.online: dict[str, bool] = {id_: self._is_online(id_) for id_ in devices}
        self._assign_unique_ids({device.base_serial for device in devices.values()})

    # Reports

    def apply(self, report: Report) -> None:
        """Apply a report to its device and mark the changed topics as pending."""
        device = self.devices[report.meter]
        if isinstance(report, LoggedReading):
            record = self._record_encoder.encode_logged(report, device)
            self.history.add(report.meter, record)
            return
        old_serial = device.base_serial if isinstance(report, Identity) else None
        change = device.apply(report, self._clock.monotonic())
        for level, message in change.log:
            meter_logger(report.meter).log(level, "%s", message)
        if change.identity:
            self._assign_unique_ids({old_serial, device.base_serial})
        if change.device_state:
            self.state_file.mark_changed(urgent=change.urgent)
        self._mark_pending(report.meter, change)
        self._update_online(report.meter)

    def add_record(self, report: Report) -> None:
        """Add an applied reading to the history. Ignores other reports.

        Call it before the next `apply`: the record holds the values as they were published.
        """
        if isinstance(report, Reading):
            device = self.devices[report.meter]
            record = self._record_encoder.encode_reading(report, device)
            self.history.add(report.meter, record)

    def _mark_pending(self, id_: str, change: DeviceChange) -> None:
        if change.discovery:
            self.pending.discovery[id_] = None
        if change.replaced:
            self.mark_meter(id_)
        for group in change.states:
            self.pending.states[id_, group] = None
        if change.link:
            self.pending.diagnostics[id_] = None
        elif change.diagnostics:
            self._deferred_diagnostics.add(id_)

    def _assign_unique_ids(self, serials: Container[str | None]) -> None:
        """Assign unique ids among the meters with these serial numbers.

        Marks the discovery of each meter as pending whose ids have changed.
        """
        concerned = {
            id_: device for id_, device in self.devices.items() if device.base_serial in serials
        }
        before = {id_: device.serial for id_, device in concerned.items()}
        for warning in assign_suffixes(concerned.values()):
            logging.getLogger(__package__).warning("%s", warning)
        for id_, device in concerned.items():
            if device.serial != before[id_]:
                self.pending.discovery[id_] = None

    # Time

    def tick(self) -> float:
        """Mark topics as pending because time has passed.

        These are the status of a meter that has gone offline, states that have expired, and
        deferred diagnostics. Returns the monotonic time of the next such event.
        """
        now, deadlines = self._clock.monotonic(), [math.inf]
        for id_, device in self.devices.items():
            self._update_online(id_)
            for group in device.expire_groups(now):
                self.pending.states[id_, group] = None
            deadlines.append(device.next_deadline(now))
        for id_ in list(self._deferred_diagnostics):
            last = self._diagnostics_times.get(id_, -math.inf)
            deadline = last + self._diagnostics_interval
            if deadline <= now:
                self.pending.diagnostics[id_] = None
            else:
                deadlines.append(deadline)
        return min(deadlines)

    def _is_online(self, id_: str) -> bool:
        device = self.devices[id_]
        now = None if device.has_reading else self._clock.now()
        return device.is_online(now, self._clock.monotonic())

    def _update_online(self, id_: str) -> None:
        is_online = self._is_online(id_)
        if is_online != self.online[id_]:
            self.online[id_] = is_online
            self.pending.status[id_] = None

    # Payloads

    def status_payload(self, id_: str) -> str:
        """Return the payload of a meter's status topic."""
        return "online" if self.online[id_] else "offline"

    def diagnostics_payload(self, id_: str) -> str:
        """Return the payload of a meter's diagnostics topic, to be published now."""
        self._diagnostics_times[id_] = self._clock.monotonic()
        self._deferred_diagnostics.discard(id_)
        return self.devices[id_].diagnostics_json()

    # The session

    def mark_meter(self, id_: str) -> None:
        """Mark all topics of one meter as pending."""
        self.pending.discovery[id_] = None
        self.pending.status[id_] = None
        self.pending.diagnostics[id_] = None
        self._mark_states(id_)
        self.changed.set()

    def mark_all(self) -> None:
        """Mark all topics of all meters as pending."""
        for id_ in self.devices:
            self.mark_meter(id_)

    def mark_states(self) -> None:
        """Mark the states of all meters as pending."""
        for id_ in self.devices:
            self._mark_states(id_)
        self.changed.set()

    def _mark_states(self, id_: str) -> None:
        groups = self.devices[id_].groups
        self.pending.states.update(dict.fromkeys((id_, group) for group in groups))

    def mark_announcements(self) -> None:
        """Mark the discovery messages and statuses of all meters as pending."""
        self.pending.discovery.update(dict.fromkeys(self.devices))
        self.pending.status.update(dict.fromkeys(self.devices))
        self.changed.set()

    def merge_retained(self, topics: Topics, retained: Mapping[str, str]) -> None:
        """Merge the states that the broker had retained (topic -> payload) into the devices.

        Only the first call has an effect.
        """
        if self._is_merged:
            return
        self._is_merged = True
        for id_, device in self.devices.items():
            for group in device.groups:
                payload = retained.get(topics.state(id_, group))
                if payload is not None:
                    device.merge_retained(group, payload, self._clock.now())
                    self.state_file.mark_changed()

    def take_pending(self) -> Pending:
        """Return the pending topics and clear the queue."""
        pending, self.pending = self.pending, Pending()
        self.changed.clear()
        return pending
