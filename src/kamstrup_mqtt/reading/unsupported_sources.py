"""What a meter does not have: asked for again only rarely, also after a restart."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters.dependencies import sources_to_read
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import PollResponse
from kamstrup_mqtt.storage.state_file import StateFile
from kamstrup_mqtt.storage.state_schema import MeterState

MISSES = 3
"""A value that came before counts as unsupported when it was missing this often in a row."""


class UnsupportedSources:
    """The sources of one meter's plan that it left out, kept in its memory. `retry`: seconds
    until such a source is asked for again."""

    def __init__(
        self,
        plan: ReadingPlan,
        state_file: StateFile,
        meter_state: MeterState,
        clock: Clock,
        log: logging.Logger,
        retry: float,
    ) -> None:
        self._plan = plan
        self._state_file = state_file
        self._meter_state = meter_state
        self._clock = clock
        self._log = log
        self._retry = retry
        self._misses: dict[SourceId, int] = {}
        now, wall = clock.monotonic(), clock.now()
        # source -> monotonic time from which it is asked again
        self._retry_at: dict[SourceId, float] = {
            source: now + retry - ((wall - since).total_seconds() if wall else 0.0)
            for source, since in meter_state.unsupported.items()
        }

    def sources_to_read(self, groups: Iterable[str]) -> tuple[SourceId, ...]:
        """What to ask for these groups now; all, where nothing would be left."""
        now = self._clock.monotonic()
        sources = sources_to_read(self._plan.profile, self._plan.sources_of(groups))
        return tuple(s for s in sources if self._retry_at.get(s, now) <= now) or sources

    def update(self, response: PollResponse) -> None:
        """Remember what this answer had and what it left out."""
        for obj in response.objects:
            self._misses.pop(obj.id, None)
            self._retry_at.pop(obj.id, None)
            if self._meter_state.unsupported.pop(obj.id, None) is not None:
                self._state_file.mark_changed()
        for source in response.unsupported:
            self._misses[source] = self._misses.get(source, 0) + 1
            planned = self._plan.by_source.get(source)
            known = planned is not None and planned.quantity.key in self._meter_state.units
            if not known or self._misses[source] >= MISSES:
                self._mark_unsupported(source)
            # else it had this value before: one damaged answer takes nothing away

    def _mark_unsupported(self, source: SourceId) -> None:
        if source not in self._retry_at:
            self._log.info("the meter does not have %s; it is asked again in a day", source)
        self._retry_at[source] = self._clock.monotonic() + self._retry
        wall = self._clock.now()
        if wall is not None:
            self._meter_state.unsupported[source] = wall
            self._state_file.mark_changed()
