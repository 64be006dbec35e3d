"""A poll of several requests of which one failed: what came is not lost for that."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import Object
from kamstrup_mqtt.meters import derived
from kamstrup_mqtt.meters.plan import Plan
from kamstrup_mqtt.protocols.base import Answer
from kamstrup_mqtt.reading.reports import Reports


class Parts:
    """What of one meter's polls came."""

    def __init__(self, plan: Plan, reports: Reports, log: logging.Logger) -> None:
        self._plan = plan
        self._reports = reports
        self._log = log

    def due(self, objects: Iterable[Object], groups: Iterable[str]) -> tuple[Object, ...]:
        """What belongs to these groups: what was made of a register of one of them (words of an
        info code) may stand in another, which is told when its own time comes. A readout comes
        whole, and so does what is made of it."""
        if self._plan.open:
            return tuple(objects)
        of = {value.source: value.group for value in self._plan.values}
        wanted = frozenset(groups)
        return tuple(obj for obj in objects if of.get(obj.id) in wanted)

    def answered(self, groups: Iterable[str], answer: Answer) -> tuple[str, ...]:
        """The groups of which something was told; one whose values all stood in requests that
        failed was not read, and is not published."""
        if not answer.failed:
            return tuple(groups)
        sources = {group: self._plan.sources_of((group,)) for group in groups}
        return tuple(
            group
            for group, wanted in sources.items()
            if len(derived.lost(self._plan.dialect, wanted, answer.failed)) < len(wanted)
        )

    def note(self, fault: MeterError | None) -> None:
        """Why part of a poll did not come, None: all of it did. Transitions are logged; the next
        diagnosis tells it."""
        before = self._reports.problem_now
        if fault is None and before is not None:
            self._log.info("all values come again")
        if fault is not None:
            level = logging.WARNING if before is None else logging.DEBUG
            self._log.log(level, "part of the values did not come, they are null: %s", fault)
        self._reports.problem_now = (
            None if fault is None else f"part of the values did not come: {fault}"
        )
