"""Whether a meter is available: by the age of its last valid reading, and by its port. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from kamstrup_mqtt.core.model import EMPTY
from kamstrup_mqtt.meters.plan import ReadingPlan

MISSED_PERIODS = 3
MIN_PUSH_TIMEOUT = 30.0
"""Shortest silence in seconds after which a pushing meter is offline."""
PORT_TIMEOUT = 60.0
"""Seconds without a port after which its meters are offline, even with fresh readings."""


class Availability:
    """The availability of one meter.

    interval         seconds between polls; None: the meter sends by itself
    started          monotonic time at which the daemon started
    last_received    group -> monotonic time of its last reading in this run
    cleared_groups   groups whose readings have expired, so that their values are null
    port_gone_since  monotonic time since when the port is missing
    timeout          seconds after the last valid reading at which the meter counts as offline
    """

    __slots__ = (
        "_interval",
        "_plan",
        "_started",
        "cleared_groups",
        "last_received",
        "port_gone_since",
        "timeout",
    )

    def __init__(self, plan: ReadingPlan, interval: float | None, started: float) -> None:
        self._plan = plan
        self._interval = interval
        self._started = started
        self.last_received: dict[str, float] = {}
        self.cleared_groups: frozenset[str] = EMPTY
        self.port_gone_since: float | None = None
        self.timeout = self._compute_timeout()

    def _compute_timeout(self) -> float:
        if self._interval is not None:
            return MISSED_PERIODS * self._interval
        read = {value.group for value in self._plan.values} or set(self._plan.groups)
        periods = [period for group, period in self._plan.periods.items() if group in read]
        return max(MIN_PUSH_TIMEOUT, MISSED_PERIODS * min(periods, default=0.0))

    @property
    def has_reading(self) -> bool:
        """Whether there was a reading in this run."""
        return bool(self.last_received)

    def record_reading(self, group: str, monotonic: float) -> None:
        """Note that a valid reading of a group came at `monotonic`."""
        self.last_received[group] = monotonic
        if group in self.cleared_groups:
            self.cleared_groups -= {group}

    def reset(self) -> None:
        """Forget the readings of the previous meter."""
        self.last_received.clear()
        self.cleared_groups = EMPTY

    def is_online(self, now: datetime | None, monotonic: float, stored: datetime | None) -> bool:
        """Return whether the last valid reading is young enough and the port is there.

        The age of a reading of this run is measured by the monotonic clock, that of a `stored` one
        by `now`.
        """
        if self.port_gone_since is not None and monotonic - self.port_gone_since >= PORT_TIMEOUT:
            return False
        if self.last_received:
            return monotonic - max(self.last_received.values()) < self.timeout
        return (
            now is not None
            and stored is not None
            and now - stored < timedelta(seconds=self.timeout)
        )

    def expire_groups(self, monotonic: float, groups: Iterable[str]) -> frozenset[str]:
        """Return those of `groups` that have missed three of their periods, each once until its
        next reading."""
        late = {
            group
            for group in groups
            if group not in self.cleared_groups
            and monotonic - self.last_received.get(group, self._started)
            >= self._group_timeout(group)
        }
        if late:
            self.cleared_groups |= late
        return frozenset(late)

    def next_deadline(self, monotonic: float, groups: Iterable[str]) -> float:
        """Return when, after `monotonic`, the meter goes offline or one of `groups` expires if
        nothing comes."""
        ends = [
            self.last_received.get(group, self._started) + self._group_timeout(group)
            for group in groups
        ]
        if self.last_received:
            ends.append(max(self.last_received.values()) + self.timeout)
        if self.port_gone_since is not None:
            ends.append(self.port_gone_since + PORT_TIMEOUT)
        return min((end for end in ends if end > monotonic), default=math.inf)

    def _group_timeout(self, group: str) -> float:
        period = self._plan.periods.get(group, self._interval)
        if period is None:
            return self.timeout
        minimum = 0.0 if self._interval is not None else MIN_PUSH_TIMEOUT
        return max(minimum, MISSED_PERIODS * period)
