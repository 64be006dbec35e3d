"""Due times of groups, with clocks that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.reading.schedule import Schedule, next_aligned

OSLO = ZoneInfo("Europe/Oslo")
H = 3600.0


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "period", "offset", "expected"),
    [
        ("2026-11-21T03:30:00", H, 0.0, "2026-11-21T04:00:00"),
        ("2026-11-21T04:00:00", H, 0.0, "2026-11-21T05:00:00"),
        ("2026-11-21T03:30:00", H, -60.0, "2026-11-21T03:59:00"),
        ("2026-11-21T03:59:30", H, -60.0, "2026-11-21T04:59:00"),
        ("2026-11-21T03:31:00", 900.0, 5.0, "2026-11-21T03:45:05"),
        # local midnight is 23:00 UTC in winter, 22:00 in summer
        ("2026-11-21T03:30:00", 24 * H, 0.0, "2026-11-21T23:00:00"),
        ("2026-07-21T03:30:00", 24 * H, 0.0, "2026-07-21T22:00:00"),
        # the day before summer time begins (29 March 2026), and the day it begins
        ("2026-03-28T12:00:00", 24 * H, 0.0, "2026-03-28T23:00:00"),
        ("2026-03-28T23:30:00", 24 * H, 0.0, "2026-03-29T22:00:00"),
        # the hour from 2 to 3 is not there, and comes twice in October
        ("2026-03-29T00:30:00", H, 0.0, "2026-03-29T01:00:00"),
        ("2026-10-25T00:30:00", H, 0.0, "2026-10-25T01:00:00"),
        ("2026-10-25T01:00:00", H, 0.0, "2026-10-25T02:00:00"),
        # weeks begin on Mondays
        ("2026-11-21T03:30:00", 7 * 24 * H, 0.0, "2026-11-22T23:00:00"),
    ],
)
def test_aligned(now: str, period: float, offset: float, expected: str) -> None:
    assert next_aligned(utc(now), period, offset, OSLO) == utc(expected)


def test_the_hour_that_is_skipped_in_spring() -> None:
    found = next_aligned(utc("2026-03-29T00:59:00"), 24 * H, 2 * H, OSLO)
    assert utc("2026-03-29T00:59:00") < found <= utc("2026-03-29T01:00:00")


class Times:
    """A clock in the hand of the test."""

    def __init__(self, wall: str = "2026-11-21T03:30:00") -> None:
        self.wall = utc(wall).timestamp()
        self.mono = 1000.0
        self.clock = Clock(lambda: self.wall, lambda: self.mono)

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


def test_each_group_at_its_own_interval() -> None:
    times = Times()
    schedule = Schedule({"values": 60.0, "slow": 600.0}, times.clock)
    assert schedule.due_groups() == ("values", "slow")
    schedule.mark_started(("values", "slow"))
    due = []
    for _ in range(20):
        times.mono = schedule.next_poll
        due.append(schedule.due_groups())
        schedule.mark_started(due[-1])
    assert [n for n, groups in enumerate(due) if "slow" in groups] == [9, 19]
    assert all("values" in groups for groups in due)


def test_a_group_that_is_due_soon_is_read_along() -> None:
    times = Times()
    schedule = Schedule({"values": 60.0, "slow": 90.0}, times.clock)
    schedule.mark_started(("values", "slow"))
    times.go(60.0)
    assert schedule.due_groups() == ("values", "slow")  # in 30 s it would have been due by itself


def test_the_schedule_of_an_earlier_run_continues() -> None:
    times = Times()
    schedule = Schedule({"values": H, "slow": 24 * H}, times.clock, phase=7.0)
    now = times.clock.now()
    assert now is not None
    schedule.restore({"values": now - timedelta(minutes=50), "slow": None})
    assert schedule.next_poll == times.mono
    schedule = Schedule({"values": H, "slow": 24 * H}, times.clock, phase=7.0)
    schedule.restore({"values": now - timedelta(minutes=50), "slow": now - timedelta(hours=1)})
    assert schedule.next_poll == times.mono + 600 + 7
    late = Schedule({"values": H}, times.clock, align=True)
    late.restore({"values": now - timedelta(hours=3)})
    assert late.next_poll == times.mono


def test_the_phase_is_added_once() -> None:
    times = Times()
    schedule = Schedule({"values": 60.0}, times.clock, phase=7.0)
    schedule.mark_started(("values",))
    assert schedule.next_poll == times.mono + 67
    times.go(67)
    schedule.mark_started(("values",))
    assert schedule.next_poll == times.mono + 60


def test_aligned_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times("2026-11-21T03:30:00")
    schedule = Schedule({"values": H}, times.clock, align=True, offset=-60.0)
    now = times.clock.now()
    assert now is not None
    schedule.restore({"values": now - timedelta(minutes=10)})
    assert schedule.next_poll == pytest.approx(times.mono + 29 * 60)
    times.wall += 60  # the clock was set
    assert schedule.next_poll == pytest.approx(times.mono + 28 * 60)
    times.go(28 * 60 - 2)
    schedule.mark_started(("values",))  # two seconds early: not again at the moment itself
    assert schedule.next_poll == pytest.approx(times.mono + H + 2)


def test_without_a_clock_it_is_not_aligned() -> None:
    times = Times("2020-01-01T00:00:00")
    schedule = Schedule({"values": H}, times.clock, align=True)
    schedule.mark_started(("values",))
    assert schedule.next_poll == times.mono + H


def test_a_failed_poll_is_deferred() -> None:
    times = Times()
    schedule = Schedule({"values": H, "slow": 24 * H}, times.clock, align=True)
    schedule.mark_started(("values", "slow"))
    schedule.defer(("values",), times.mono + 60)
    assert schedule.next_poll == times.mono + 60
    schedule.defer(("values",), times.mono + 120)  # never later than it would be anyhow
    assert schedule.next_poll == times.mono + 60
    schedule.defer(("values",), times.mono + 120, earlier_only=False)
    assert schedule.next_poll == times.mono + 120
    assert schedule.due_groups() == ("values",)


@pytest.mark.parametrize("years", [-10, -1, 1, 10])
def test_a_clock_change_of_years_does_not_defer_polls(years: int) -> None:
    """At boot the clock was years ahead, and a poll was aligned by it; then it was set."""
    times = Times("2037-11-21T03:30:00")
    schedule = Schedule({"values": H}, times.clock, align=True)
    schedule.mark_started(("values",))
    assert schedule.next_poll == pytest.approx(times.mono + 1800)
    times.wall += years * 365 * 24 * H
    assert schedule.next_poll <= times.mono + 2 * H
    times.mono = max(times.mono, schedule.next_poll)
    schedule.mark_started(("values",))
    assert times.mono + 1800 - 30 <= schedule.next_poll <= times.mono + H + 30
