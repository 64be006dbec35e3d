"""A poll of several requests of which one failed: what came is not lost for that."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue
from kamstrup_mqtt.meters.dependencies import affected_sources
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import PollResponse
from kamstrup_mqtt.reading.reports import Reports


class PartialPoll:
    """What of one meter's polls came."""

    def __init__(self, plan: ReadingPlan, reports: Reports, log: logging.Logger) -> None:
        self._plan = plan
        self._reports = reports
        self._log = log

    def objects_due(
        self, objects: Iterable[DecodedValue], groups: Iterable[str]
    ) -> tuple[DecodedValue, ...]:
        """What belongs to these groups: what was made of a register of one of them (words of an
        info code) may stand in another, which is told when its own time comes. A readout comes
        whole, and so does what is made of it."""
        if self._plan.accept_unlisted:
            return tuple(objects)
        of = {value.source: value.group for value in self._plan.values}
        wanted = frozenset(groups)
        return tuple(obj for obj in objects if of.get(obj.id) in wanted)

    def answered_groups(self, groups: Iterable[str], response: PollResponse) -> tuple[str, ...]:
        """The groups of which something was told; one whose values all stood in requests that
        failed was not read, and is not published."""
        if not response.failed_sources:
            return tuple(groups)
        sources = {group: self._plan.sources_of((group,)) for group in groups}
        return tuple(
            group
            for group, wanted in sources.items()
            if len(affected_sources(self._plan.profile, wanted, response.failed_sources))
            < len(wanted)
        )

    def report_error(self, error: MeterError | None) -> None:
        """Why part of a poll did not come, None: all of it did. Transitions are logged; the next
        diagnosis tells it."""
        before = self._reports.problem
        if error is None and before is not None:
            self._log.info("all values come again")
        if error is not None:
            level = logging.WARNING if before is None else logging.DEBUG
            self._log.log(level, "part of the values did not come, they are null: %s", error)
        self._reports.problem = (
            None if error is None else f"part of the values did not come: {error}"
        )
