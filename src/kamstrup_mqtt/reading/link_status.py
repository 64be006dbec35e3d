"""Whether readings arrive, why not, and the diagnosis that says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from kamstrup_mqtt.core.model import EMPTY, Diagnosis, LinkState
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.storage.state_schema import Learned


class LinkStatus:
    """The link state of one meter. Transitions are logged, repetitions are not.

    state            None until something came or failed
    port_gone_since  monotonic time since when the port cannot be opened, None while it can
    problem          what is wrong although readings arrive, in words
    notes            how the learning goes, in words
    """

    __slots__ = (
        "_context",
        "_diagnosed_at",
        "_held_back",
        "_last_diagnosis",
        "_last_error",
        "_last_learned",
        "_reported_states",
        "notes",
        "port_gone_since",
        "problem",
        "state",
    )

    def __init__(self, context: ReaderContext, held_back: Callable[[], Mapping[str, str]]) -> None:
        self._context = context
        self._held_back = held_back
        self._last_error: str | None = None
        self._last_diagnosis: Diagnosis | None = None
        self._last_learned: Learned | None = None
        self._diagnosed_at = 0.0
        self._reported_states: frozenset[LinkState] = EMPTY  # since the last good reading
        self.state: LinkState | None = None
        self.port_gone_since: float | None = None
        self.problem: str | None = None
        self.notes: tuple[str, ...] = ()

    def mark_ok(self, message: str = "readings arrive") -> None:
        """A reading came, or what stood between us and the next one is gone."""
        if self.state is not LinkState.OK:
            self._context.log.info("%s", message if self.state is None else f"{message} again")
        self._reported_states = EMPTY
        self._set_state(LinkState.OK)

    def mark_failed(self, state: LinkState, message: str) -> None:
        """Set the reason why no reading arrives, and log each state once.

        Alternating states are not logged again until a reading has arrived.
        """
        if state in self._reported_states:
            level = logging.DEBUG
        else:
            level = logging.INFO if self._reported_states else logging.WARNING
        self._reported_states |= {state}
        self._context.log.log(level, "%s", message)
        self._last_error = message
        self._set_state(state)

    def report_crash(self, message: str) -> None:
        """Show a bug of this program as the meter's problem."""
        self._last_error = message
        self.state = self.state or LinkState.BYTES_NO_FRAMES
        self.report_diagnosis(at_once=True)

    def _set_state(self, state: LinkState) -> None:
        changed = state is not self.state
        self.state = state
        self.report_diagnosis(at_once=changed)

    def report_diagnosis(self, *, at_once: bool = False) -> None:
        """Put a Diagnosis into the queue if it differs from the last.

        At once when the port, the problem or what was learned has changed, else at most once in
        `diagnosis_interval` seconds.
        """
        if self.state is None:
            return
        context, last = self._context, self._last_diagnosis
        now, learned = context.clock.monotonic(), context.state.learned
        problem = self.problem if self.state is LinkState.OK else self._last_error
        changed = (
            last is None
            or last.port_gone_since != self.port_gone_since
            or last.problem != problem
            or self._last_learned is not learned
        )
        is_due = now - self._diagnosed_at >= context.timeouts.diagnosis_interval
        if not at_once and not changed and not is_due:
            return
        diagnosis = Diagnosis(
            meter=context.config.id,
            link_state=self.state,
            last_error=self._last_error,
            counters=context.counters.as_dict(now, context.config.spec.is_pushed),
            learned=learned.as_mapping(),
            unsupported=tuple(map(str, context.state.unsupported)),
            port_gone_since=self.port_gone_since,
            problem=problem,
            notes=self.notes,
            held_back=self._held_back(),
        )
        if diagnosis != last:
            self._last_diagnosis, self._last_learned = diagnosis, learned
            self._diagnosed_at = now
            context.report_queue.put(diagnosis)
