"""The offset of a meter's clock from UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kamstrup_mqtt.meters.clock_zone import MAX_ERROR, ahead_of_utc, nearest_offset, parse_offset

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "offset"),
    [("+05:45", timedelta(hours=5, minutes=45)), ("-03:30", timedelta(hours=-3.5)), ("Z", None)],
)
def test_parse_offset(text: str, offset: timedelta | None) -> None:
    assert parse_offset(text) == (offset or timedelta())


def test_invalid_offset() -> None:
    with pytest.raises(ValueError, match="does not match format"):
        parse_offset("one hour")


@pytest.mark.parametrize(
    ("ahead", "offset"),
    [
        (timedelta(hours=1, minutes=4), timedelta(hours=1)),
        (timedelta(minutes=-6), timedelta()),
        # quarter hours that zones use: Nepal, India, Newfoundland in summer, Chatham
        (timedelta(hours=5, minutes=44), timedelta(hours=5, minutes=45)),
        (timedelta(hours=5, minutes=29, seconds=30), timedelta(hours=5, minutes=30)),
        (timedelta(hours=-2, minutes=-30, seconds=-5), timedelta(hours=-2, minutes=-30)),
        (timedelta(hours=12, minutes=44), timedelta(hours=12, minutes=45)),
        (timedelta(minutes=12), timedelta()),
        (timedelta(hours=1, minutes=16), timedelta(hours=1)),  # no zone is at +01:15
        (timedelta(hours=14, minutes=50), timedelta(hours=14)),
    ],
)
def test_nearest_offset_in_use(ahead: timedelta, offset: timedelta) -> None:
    assert nearest_offset(ahead, NOON) == offset


@pytest.mark.parametrize("ahead", [timedelta(days=300), timedelta(hours=-16)])
def test_clock_with_a_wrong_date_has_the_offset_of_the_host(ahead: timedelta) -> None:
    assert nearest_offset(ahead, NOON) == NOON.astimezone().utcoffset()


def test_clock_ahead_of_utc() -> None:
    assert ahead_of_utc(datetime(2026, 11, 21, 13, 5), NOON) == timedelta(hours=1, minutes=5)  # noqa: DTZ001
    assert timedelta(minutes=10) == MAX_ERROR
