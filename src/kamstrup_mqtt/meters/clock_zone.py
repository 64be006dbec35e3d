"""The clock of a meter, whose time zone is not known: its offset from UTC, and its error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

MAX_ERROR = timedelta(minutes=10)
"""A larger error may also be another zone, which the user has to specify."""


def parse_offset(text: str) -> timedelta:
    """Parse an offset from UTC such as +05:45. Raises ValueError."""
    return datetime.strptime(text, "%z").utcoffset() or timedelta()


_FRACTIONAL_OFFSETS = (
    *("-09:30", "-03:30", "-02:30", "+03:30", "+04:30", "+05:30", "+05:45", "+06:30", "+08:45"),
    *("+09:30", "+10:30", "+12:45", "+13:45"),
)
"""Offsets in the tz database that are not whole hours."""

_MAX_OFFSET = timedelta(hours=15)
OFFSETS_IN_USE = (
    *(timedelta(hours=n) for n in range(-12, 15)),
    *map(parse_offset, _FRACTIONAL_OFFSETS),
)
"""Offsets from UTC that are in use."""


def nearest_offset(ahead: timedelta, host: datetime) -> timedelta:
    """Return the offset of a clock that is `ahead` of UTC.

    It is the nearest offset that is in use; the rest is an error of the clock. If the date of the
    clock is wrong, it is the offset of the host.
    """
    host_offset = host.astimezone().utcoffset() or timedelta()
    if abs(ahead) > _MAX_OFFSET:
        return host_offset
    return min((host_offset, *OFFSETS_IN_USE), key=lambda offset: abs(ahead - offset))


def ahead_of_utc(meter: datetime, host: datetime) -> timedelta:
    """Return how far the clock of a meter, read at `host` (UTC), is ahead of UTC."""
    return meter.replace(tzinfo=UTC) - host
