"""Whether a meter is there: by how old its last valid reading is, and by its port. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from kamstrup_mqtt.core.model import NONE
from kamstrup_mqtt.meters.plan import Plan

MISSED_PERIODS = 3
PUSHED_AT_LEAST = 30.0
"""Seconds of silence that a pushing meter is always allowed."""
PORT_GONE = 60.0
"""Seconds without a port after which its meters are offline, however fresh their readings are."""


class Presence:
    """One meter, which sends every `interval` seconds when it is asked (None: by itself), and has
    been listened for since `started` (monotonic).

    received   group -> monotonic time of its last reading in this process
    nulled     groups that are overdue: their values are null
    port_gone  monotonic time since when its port is not there
    patience   seconds after the last valid reading at which it counts as offline
    """

    __slots__ = ("_interval", "_plan", "_started", "nulled", "patience", "port_gone", "received")

    def __init__(self, plan: Plan, interval: float | None, started: float) -> None:
        self._plan = plan
        self._interval = interval
        self._started = started
        self.received: dict[str, float] = {}
        self.nulled: frozenset[str] = NONE
        self.port_gone: float | None = None
        self.patience = self._patience()

    def _patience(self) -> float:
        if self._interval is not None:
            return MISSED_PERIODS * self._interval
        read = {value.group for value in self._plan.values} or set(self._plan.groups)
        periods = [period for group, period in self._plan.periods.items() if group in read]
        return max(PUSHED_AT_LEAST, MISSED_PERIODS * min(periods, default=0.0))

    @property
    def heard(self) -> bool:
        """Whether there was a reading in this process."""
        return bool(self.received)

    def hear(self, group: str, monotonic: float) -> None:
        """A valid reading of a group came."""
        self.received[group] = monotonic
        if group in self.nulled:
            self.nulled -= {group}

    def forget(self) -> None:
        """It is another meter now."""
        self.received.clear()
        self.nulled = NONE

    def online(self, now: datetime | None, monotonic: float, remembered: datetime | None) -> bool:
        """Whether the last valid reading is young enough and the port there.

        A reading of this process counts by the monotonic clock, a `remembered` one by `now`.
        """
        if self.port_gone is not None and monotonic - self.port_gone >= PORT_GONE:
            return False
        if self.received:
            return monotonic - max(self.received.values()) < self.patience
        return (
            now is not None
            and remembered is not None
            and now - remembered < timedelta(seconds=self.patience)
        )

    def overdue(self, monotonic: float, groups: Iterable[str]) -> frozenset[str]:
        """Of `groups` those that missed three of their periods since they were last told; each is
        told once."""
        late = {
            group
            for group in groups
            if group not in self.nulled
            and monotonic - self.received.get(group, self._started) >= self._limit(group)
        }
        if late:
            self.nulled |= late
        return frozenset(late)

    def next_end(self, monotonic: float, groups: Iterable[str]) -> float:
        """When, after `monotonic`, it goes offline or one of `groups` is overdue, if nothing
        comes."""
        ends = [self.received.get(group, self._started) + self._limit(group) for group in groups]
        if self.received:
            ends.append(max(self.received.values()) + self.patience)
        if self.port_gone is not None:
            ends.append(self.port_gone + PORT_GONE)
        return min((end for end in ends if end > monotonic), default=math.inf)

    def _limit(self, group: str) -> float:
        period = self._plan.periods.get(group, self._interval)
        if period is None:
            return self.patience
        least = 0.0 if self._interval is not None else PUSHED_AT_LEAST
        return max(least, MISSED_PERIODS * period)
