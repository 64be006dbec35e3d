"""Results of a poll: sources that the meter does not have, and requests that failed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, SourceId
from kamstrup_mqtt.meters import dependencies
from kamstrup_mqtt.protocols.base import PollResponse
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.link_status import LinkStatus
from kamstrup_mqtt.storage.state_schema import add_seen_keys

MISSES = 3
"""A value that came before counts as unsupported when it was missing this often in a row."""


class UnsupportedSources:
    """The sources that one meter does not have: requested rarely, also after a restart."""

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._misses: dict[SourceId, int] = {}
        retry, now = context.timeouts.unsupported_retry, context.clock.monotonic()
        wall = context.clock.now()
        # source -> monotonic time from which it is requested again
        self._retry_at: dict[SourceId, float] = {
            source: now + retry - ((wall - since).total_seconds() if wall else 0.0)
            for source, since in context.state.unsupported.items()
        }

    def sources_to_read(self, groups: Iterable[str]) -> tuple[SourceId, ...]:
        """Return what to request for these groups now; everything if nothing would be left."""
        now, plan = self._context.clock.monotonic(), self._context.config.plan
        sources = dependencies.sources_to_read(plan.profile, plan.sources_of(groups))
        return tuple(s for s in sources if self._retry_at.get(s, now) <= now) or sources

    def update(self, response: PollResponse) -> None:
        """Record which sources this response contained and which it left out."""
        state, plan = self._context.state, self._context.config.plan
        for obj in response.objects:
            self._misses.pop(obj.id, None)
            self._retry_at.pop(obj.id, None)
            if state.unsupported.pop(obj.id, None) is not None:
                self._context.state_file.mark_changed()
        for source in response.unsupported:
            self._misses[source] = self._misses.get(source, 0) + 1
            planned = plan.by_source.get(source)
            is_known = planned is not None and planned.quantity.key in state.seen_keys
            if not is_known or self._misses[source] >= MISSES:
                self._mark_unsupported(source)
            # otherwise it had this value before: one damaged response is not enough
        self._remember_keys(response)

    def reset(self) -> None:
        """Request everything again: another meter answers."""
        self._misses.clear()
        self._retry_at.clear()

    def _remember_keys(self, response: PollResponse) -> None:
        state, by_source = self._context.state, self._context.config.plan.by_source
        with_value = (obj.id for obj in response.objects if obj.value is not None)
        keys = (by_source[source].quantity.key for source in with_value if source in by_source)
        state.seen_keys = add_seen_keys(state.seen_keys, keys)

    def _mark_unsupported(self, source: SourceId) -> None:
        context = self._context
        if source not in self._retry_at:
            context.log.info("the meter does not have %s; it is asked again in a day", source)
        self._retry_at[source] = context.clock.monotonic() + context.timeouts.unsupported_retry
        wall = context.clock.now()
        if wall is not None:
            context.state.unsupported[source] = wall
            context.state_file.mark_changed()


class PartialPoll:
    """Keeps the values of a poll of which one request failed."""

    def __init__(self, context: ReaderContext, status: LinkStatus) -> None:
        self._context = context
        self._status = status

    def objects_due(
        self, objects: Iterable[DecodedValue], groups: Iterable[str]
    ) -> tuple[DecodedValue, ...]:
        """Return the objects that belong to these groups.

        What is derived from a register of one group (the text of an info code) may belong to
        another, which is published at its own time. A readout comes whole, and so does what is
        derived from it.
        """
        plan = self._context.config.plan
        if plan.accept_unlisted:
            return tuple(objects)
        group_of = {value.source: value.group for value in plan.values}
        selected = frozenset(groups)
        return tuple(obj for obj in objects if group_of.get(obj.id) in selected)

    def answered_groups(self, groups: Iterable[str], response: PollResponse) -> tuple[str, ...]:
        """Return the groups that were read. A group whose values were all in failed requests was
        not, and is not published."""
        if not response.failed_sources:
            return tuple(groups)
        plan = self._context.config.plan
        sources = {group: plan.sources_of((group,)) for group in groups}
        return tuple(
            group
            for group, polled in sources.items()
            if len(dependencies.affected_sources(plan.profile, polled, response.failed_sources))
            < len(polled)
        )

    def report_error(self, error: MeterError | None) -> None:
        """Report why part of a poll failed; None: all of it succeeded. Transitions are logged, and
        the next diagnosis contains the reason."""
        before = self._status.problem
        if error is None and before is not None:
            self._context.log.info("all values arrive again")
        if error is not None:
            level = logging.WARNING if before is None else logging.DEBUG
            self._context.log.log(
                level, "part of the values did not come, they are null: %s", error
            )
        self._status.problem = (
            None if error is None else f"part of the values did not come: {error}"
        )
