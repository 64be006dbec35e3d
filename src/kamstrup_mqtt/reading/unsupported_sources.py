"""What a meter does not have: asked for again only rarely, also after a restart."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters.derived import sent
from kamstrup_mqtt.meters.plan import Plan
from kamstrup_mqtt.protocols.base import Answer
from kamstrup_mqtt.storage.state_file import Memory
from kamstrup_mqtt.storage.state_schema import MeterMemory

MISSES = 3
"""A value that came before counts as unsupported when it was missing this often in a row."""


class Lacking:
    """The sources of one meter's plan that it left out, kept in its memory. `retry`: seconds
    until such a source is asked for again."""

    def __init__(
        self,
        plan: Plan,
        memory: Memory,
        mine: MeterMemory,
        clock: Clock,
        log: logging.Logger,
        retry: float,
    ) -> None:
        self._plan = plan
        self._memory = memory
        self._mine = mine
        self._clock = clock
        self._log = log
        self._retry = retry
        self._misses: dict[SourceId, int] = {}
        now, wall = clock.monotonic(), clock.now()
        # source -> monotonic time from which it is asked again
        self._again: dict[SourceId, float] = {
            source: now + retry - ((wall - since).total_seconds() if wall else 0.0)
            for source, since in mine.unsupported.items()
        }

    def due(self, groups: Iterable[str]) -> tuple[SourceId, ...]:
        """What to ask for these groups now; all, where nothing would be left."""
        now = self._clock.monotonic()
        sources = sent(self._plan.dialect, self._plan.sources_of(groups))
        return tuple(s for s in sources if self._again.get(s, now) <= now) or sources

    def note(self, answer: Answer) -> None:
        """Remember what this answer had and what it left out."""
        for obj in answer.objects:
            self._misses.pop(obj.id, None)
            self._again.pop(obj.id, None)
            if self._mine.unsupported.pop(obj.id, None) is not None:
                self._memory.changed()
        for source in answer.unsupported:
            self._misses[source] = self._misses.get(source, 0) + 1
            planned = self._plan.by_source.get(source)
            known = planned is not None and planned.quantity.key in self._mine.units
            if not known or self._misses[source] >= MISSES:
                self._leave_out(source)
            # else it had this value before: one damaged answer takes nothing away

    def _leave_out(self, source: SourceId) -> None:
        if source not in self._again:
            self._log.info("the meter does not have %s; it is asked again in a day", source)
        self._again[source] = self._clock.monotonic() + self._retry
        wall = self._clock.now()
        if wall is not None:
            self._mine.unsupported[source] = wall
            self._memory.changed()
