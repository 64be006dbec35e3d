"""The wall clock, and when its time is trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from kamstrup_mqtt.core.clock import BUILD_TIME, STEP, Clock, StepDetector, parse_rfc3339, rfc3339


def test_a_wall_clock_before_the_latest_known_moment_is_not_used() -> None:
    wall = BUILD_TIME.timestamp() - 1
    clock = Clock(wall=lambda: wall)
    assert clock.now() is None
    wall += 1
    assert clock.now() == BUILD_TIME
    clock.not_before = BUILD_TIME + timedelta(seconds=1)
    assert clock.now() is None


def test_the_clocks_of_the_host_are_the_default() -> None:
    before = datetime.now(UTC)
    now = Clock().now()
    assert now is not None
    assert before <= now <= datetime.now(UTC)
    assert Clock().monotonic() <= Clock().monotonic()


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 21, 3, 30, 0, 999, tzinfo=UTC), "2026-11-21T03:30:00.000Z"),
        (datetime(2026, 11, 21, 3, 30, 0, 999999, tzinfo=UTC), "2026-11-21T03:30:00.999Z"),
        (
            datetime(2026, 11, 21, 4, 30, tzinfo=timezone(timedelta(hours=1))),
            "2026-11-21T03:30:00.000Z",
        ),
    ],
)
def test_rfc3339(moment: datetime, text: str) -> None:
    assert rfc3339(moment) == text


def test_rfc3339_of_none() -> None:
    assert rfc3339(None) is None


def test_parse_rfc3339() -> None:
    assert parse_rfc3339("2026-11-21T03:30:00.250Z") == datetime(
        2026, 11, 21, 3, 30, 0, 250000, tzinfo=UTC
    )
    with pytest.raises(ValueError):
        parse_rfc3339("yesterday")


def test_a_step_of_the_wall_clock_is_detected() -> None:
    wall, monotonic = 1_800_000_000.0, 50.0
    clock = Clock(lambda: wall, lambda: monotonic)
    detector = StepDetector(clock)
    wall, monotonic = wall + 10, monotonic + 10
    assert detector.check() is None
    wall += 29
    assert detector.check() is None  # slewed, or checked late
    wall += 31
    assert detector.check() == 31
    wall -= 3600
    assert detector.check() == -3600
    assert detector.check() is None
    assert STEP == 30
