"""The poll schedule of a meter: each group at its interval, optionally aligned to local time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo

from kamstrup_mqtt.core.clock import Clock

_MONDAY = datetime(2001, 1, 1)  # noqa: DTZ001 - local time; weeks begin on Mondays


def next_aligned(
    now: datetime, period: float, offset: float = 0.0, zone: tzinfo | None = None
) -> datetime:
    """Return the next time at which local time is a multiple of `period` plus `offset` seconds.

    There is none in the hour that is skipped in spring, and two in the hour that is repeated in
    autumn. `zone` None: the host's.
    """

    def local(at: datetime) -> float:
        there = at.astimezone(zone).replace(tzinfo=None)
        return (there - _MONDAY).total_seconds() - offset

    rest = period - local(now) % period
    guess = now + timedelta(seconds=rest)
    target = local(now) + rest
    if local(guess) % period == 0 or local(guess) == target:
        return guess
    moved = guess + timedelta(seconds=target - local(guess))  # summer time begins or ends before
    return moved if moved > now else guess


class Schedule:
    """The due times of one meter's groups.

    periods   group -> seconds, in the order of the groups
    align     due at multiples of the period in local time, plus `offset` seconds
    phase     seconds by which polls that are not aligned are shifted
    """

    def __init__(
        self,
        periods: Mapping[str, float],
        clock: Clock,
        *,
        align: bool = False,
        offset: float = 0.0,
        phase: float = 0.0,
    ) -> None:
        self.periods = dict(periods)
        self.shortest_period = min(self.periods.values())
        self.is_aligned = align
        self._clock = clock
        self._offset = offset
        self._phase = phase
        now = clock.monotonic()
        self._due_times = dict.fromkeys(self.periods, now)
        self._aligned_times: dict[str, datetime] = {}
        self._needs_spread = True

    def restore(self, last: Mapping[str, datetime | None]) -> None:
        """Continue the schedule of an earlier run: group -> its last poll. A meter that was never
        polled is due at once."""
        wall, now = self._clock.now(), self._clock.monotonic()
        for group, moment in last.items():
            if moment is None:
                continue
            self._needs_spread = False
            period = self.periods[group]
            passed = (wall - moment).total_seconds() if wall else period
            if self.is_aligned and wall is not None and passed < period:
                self._due_times[group] = now + period
                self._align(group, wall)
            else:
                self._due_times[group] = now + max(period - passed, 0.0) + self._shift

    @property
    def _shift(self) -> float:
        return 0.0 if self.is_aligned else self._phase

    @property
    def next_poll(self) -> float:
        """The monotonic time of the next poll."""
        return min(map(self._due_at, self.periods))

    def due_groups(self) -> tuple[str, ...]:
        """Return the groups that a poll reads now.

        A group that would be due soon is read along with one that is due now, so that the meter
        is not woken twice.
        """
        until = self._clock.monotonic() + self.shortest_period / 2
        return tuple(g for g in self.periods if self._due_at(g) <= until)

    def mark_started(self, groups: Iterable[str]) -> None:
        """Note that a poll of these groups begins now."""
        now, wall = self._clock.monotonic(), self._clock.now()
        spread = self._shift if self._needs_spread else 0.0
        self._needs_spread = False
        for group in groups:
            self._due_times[group] = now + self.periods[group] + spread
            if self.is_aligned and wall is not None:
                self._align(group, wall)

    def defer(self, groups: Iterable[str], until: float, *, earlier_only: bool = True) -> None:
        """Make these groups due again at the monotonic time `until`, because they were not read.

        `earlier_only`: groups that are due before that keep their time.
        """
        for group in groups:
            if earlier_only and self._due_at(group) <= until:
                continue
            self._aligned_times.pop(group, None)
            self._due_times[group] = until

    def _align(self, group: str, wall: datetime) -> None:
        period = self.periods[group]
        # a poll that began a little early is not due again at its own time
        soon = wall + timedelta(seconds=min(period / 10, 30.0))
        self._aligned_times[group] = next_aligned(soon, period, self._offset)

    def _due_at(self, group: str) -> float:
        """Return the monotonic time at which a group is due.

        An aligned group is due by the wall clock, which may have been set meanwhile. But a meter
        is not left alone for years because the clock was years ahead when it was polled.
        """
        at, wall = self._aligned_times.get(group), self._clock.now()
        if at is None or wall is None:
            return self._due_times[group]
        aligned = self._clock.monotonic() + (at - wall.astimezone(UTC)).total_seconds()
        return min(aligned, self._due_times[group] + self.periods[group])
