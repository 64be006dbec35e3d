"""Schedules the polls after a failed one."""

from __future__ import annotations

import random
from collections.abc import Iterable

from kamstrup_mqtt.core.backoff import Backoff
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.schedule import Schedule

FULL_POLL_EVERY = 5
"""Of the polls of a silent meter, one in this many has all its requests and tries."""


class PollRetry:
    """Defers the polls of one meter. `silent_polls` counts polls in a row that brought nothing but
    perhaps an echo."""

    def __init__(
        self, context: ReaderContext, schedule: Schedule, port: Port, rng: random.Random
    ) -> None:
        self._context = context
        self._schedule = schedule
        self._port = port
        timeouts = context.timeouts
        self._backoff = Backoff(timeouts.retry_first, timeouts.retry_cap, rng)
        self.silent_polls = 0

    @property
    def probe_only(self) -> bool:
        """Whether a single request is enough to see that the meter is still silent. Now and then
        a poll is complete: a meter may be silent to one request and answer others."""
        return (
            self.silent_polls >= self._context.timeouts.max_silent_polls
            and self.silent_polls % FULL_POLL_EVERY != 0
        )

    def reset(self) -> None:
        """A poll has succeeded."""
        self._backoff.reset()

    def defer(self, groups: Iterable[str], *, request_sent: bool, got_response: bool) -> None:
        """Schedule the groups again after a failure. A battery meter that has answered is left
        alone until its interval has passed."""
        now, timeouts = self._context.clock.monotonic(), self._context.timeouts
        if not request_sent:
            self._schedule.defer(groups, now + self._port.retry_in(), earlier_only=False)
            return
        if self._context.config.battery:
            if not got_response:
                pause = min(timeouts.retry_asleep, self._schedule.shortest_period)
                self._schedule.defer(groups, now + pause)
            return
        pause = max(self._backoff.next_pause(), self._port.retry_in())
        self._schedule.defer(groups, now + pause)
