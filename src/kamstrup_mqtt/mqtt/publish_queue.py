"""What is to be published: the pictures of all meters, and which topics are due.

Reports change the pictures whether the broker is there or not; a session publishes what is due.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import Identity, LoggedReading, Reading, Report
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.devices.device import Device, DeviceChange
from kamstrup_mqtt.devices.unique_ids import assign_suffixes
from kamstrup_mqtt.mqtt.history_records import Records
from kamstrup_mqtt.storage.history import History
from kamstrup_mqtt.storage.state_file import StateFile

DIAGNOSTICS_INTERVAL = 60.0
"""Seconds from one diagnostics message of a meter to the next, unless its link state changed."""


@dataclass(slots=True)
class Due:
    """What is to be published, in the order in which it became due. Each thing once: what is
    published is what the picture says then."""

    discovery: dict[str, None] = field(default_factory=dict)
    status: dict[str, None] = field(default_factory=dict)
    states: dict[tuple[str, str], None] = field(default_factory=dict)
    diagnostics: dict[str, None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.discovery or self.status or self.states or self.diagnostics)


class Board:
    """The pictures and what is due of them. `mark_changed` wakes a session; whoever takes reports
    or ticks decides whether that is needed."""

    def __init__(
        self,
        pictures: Mapping[str, Device],
        memory: StateFile,
        clock: Clock,
        *,
        history: History | None = None,
        diagnostics_interval: float = DIAGNOSTICS_INTERVAL,
    ) -> None:
        self.pictures = pictures
        self.memory = memory
        self.history = history or History()
        self._records = Records(self.history.boot)
        self.due = Due()
        self.changed = asyncio.Event()
        self._clock = clock
        self._diagnostics_interval = diagnostics_interval
        self._diagnosed: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._recalled = False
        self.online: dict[str, bool] = {id_: self._is_online(id_) for id_ in pictures}
        self._settle({picture.base_serial for picture in pictures.values()})

    def take(self, report: Report) -> None:
        """Take one report into its picture."""
        picture = self.pictures[report.meter]
        if isinstance(report, LoggedReading):
            self.history.add(report.meter, self._records.logged(report, picture))
            return
        before = picture.base_serial if isinstance(report, Identity) else None
        change = picture.apply(report, self._clock.monotonic())
        for level, message in change.log:
            logging.getLogger(f"kamstrup_mqtt.meter.{report.meter}").log(level, "%s", message)
        if change.identity:
            self._settle({before, picture.base_serial})
        if change.memory:
            self.memory.mark_changed(urgent=change.urgent)
        self._mark(report.meter, change)
        self._look(report.meter)

    def record(self, report: Report) -> None:
        """Add a report that was taken to the history, if it is a reading: before the next is
        taken, for the record has the values as they were published."""
        if isinstance(report, Reading):
            self.history.add(report.meter, self._records.of(report, self.pictures[report.meter]))

    def _mark(self, id_: str, change: DeviceChange) -> None:
        if change.discovery:
            self.due.discovery[id_] = None
        if change.replaced:
            self.everything_of(id_)
        for group in change.states:
            self.due.states[id_, group] = None
        if change.link:
            self.due.diagnostics[id_] = None
        elif change.diagnostics:
            self._waiting.add(id_)

    def _settle(self, serials: Container[str | None]) -> None:
        """Who has one of these serial numbers, or had: whose ids does that change?"""
        meant = {
            i: picture for i, picture in self.pictures.items() if picture.base_serial in serials
        }
        before = {id_: picture.serial for id_, picture in meant.items()}
        for warning in assign_suffixes(meant.values()):
            logging.getLogger(__package__).warning("%s", warning)
        for id_, picture in meant.items():
            if picture.serial != before[id_]:
                self.due.discovery[id_] = None

    def tick(self) -> float:
        """Look at the clock: who is offline now, what is overdue, which diagnostics have waited
        long enough. Returns the monotonic time at which the next of this may be so."""
        now, ends = self._clock.monotonic(), [math.inf]
        for id_, picture in self.pictures.items():
            self._look(id_)
            for group in picture.expire_groups(now):
                self.due.states[id_, group] = None
            ends.append(picture.next_deadline(now))
        for id_ in list(self._waiting):
            end = self._diagnosed.get(id_, -math.inf) + self._diagnostics_interval
            if end <= now:
                self.due.diagnostics[id_] = None
            else:
                ends.append(end)
        return min(ends)

    def _is_online(self, id_: str) -> bool:
        picture = self.pictures[id_]
        now = None if picture.has_reading else self._clock.now()
        return picture.is_online(now, self._clock.monotonic())

    def _look(self, id_: str) -> None:
        online = self._is_online(id_)
        if online != self.online[id_]:
            self.online[id_] = online
            self.due.status[id_] = None

    def status(self, id_: str) -> str:
        """The payload of a meter's status topic."""
        return "online" if self.online[id_] else "offline"

    def diagnostics(self, id_: str) -> str:
        """The payload of a meter's diagnostics topic, which counts as published now."""
        self._diagnosed[id_] = self._clock.monotonic()
        self._waiting.discard(id_)
        return self.pictures[id_].diagnostics_json()

    def everything_of(self, id_: str) -> None:
        """All that one meter publishes is due."""
        self.due.discovery[id_] = None
        self.due.status[id_] = None
        self.due.diagnostics[id_] = None
        self.due.states.update(dict.fromkeys((id_, g) for g in self.pictures[id_].groups))
        self.changed.set()

    def everything(self) -> None:
        """All that all meters publish is due."""
        for id_ in self.pictures:
            self.everything_of(id_)

    def recall(self, topics: Topics, retained: Mapping[str, str]) -> None:
        """What the broker had of our states when we came first: topic -> payload."""
        if self._recalled:
            return
        self._recalled = True
        for id_, picture in self.pictures.items():
            for group in picture.groups:
                payload = retained.get(topics.state(id_, group))
                if payload is not None:
                    picture.merge_retained(group, payload, self._clock.now())
                    self.memory.mark_changed()

    def all_states(self) -> None:
        """All states are due."""
        for id_, picture in self.pictures.items():
            self.due.states.update(dict.fromkeys((id_, group) for group in picture.groups))
        self.changed.set()

    def all_announcements(self) -> None:
        """All discovery messages and statuses are due."""
        self.due.discovery.update(dict.fromkeys(self.pictures))
        self.due.status.update(dict.fromkeys(self.pictures))
        self.changed.set()

    def take_due(self) -> Due:
        """What is due now; nothing is afterwards."""
        due, self.due = self.due, Due()
        self.changed.clear()
        return due
