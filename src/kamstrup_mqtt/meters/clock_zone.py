"""The clock of a meter, whose time zone is not known: its offset from UTC, and its error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

MAX_ERROR = timedelta(minutes=10)
"""A larger error may also be another zone, which the user has to specify."""


def offset_of(text: str) -> timedelta:
    """Parse an offset from UTC such as +05:45. Raises ValueError."""
    return datetime.strptime(text, "%z").utcoffset() or timedelta()


_BETWEEN_HOURS = (
    *("-09:30", "-03:30", "-02:30", "+03:30", "+04:30", "+05:30", "+05:45", "+06:30", "+08:45"),
    *("+09:30", "+10:30", "+12:45", "+13:45"),
)
"""Offsets in the tz database that are not whole hours."""

_MAX_OFFSET = timedelta(hours=15)
KEPT_OFFSETS = (*(timedelta(hours=n) for n in range(-12, 15)), *map(offset_of, _BETWEEN_HOURS))
"""Offsets from UTC that are in use."""


def own_offset(distance: timedelta, host: datetime) -> timedelta:
    """Return the offset of a clock that is `distance` ahead of UTC.

    It is the nearest offset that is in use; the rest is an error of the clock. If the date of the
    clock is wrong, it is the offset of the host.
    """
    here = host.astimezone().utcoffset() or timedelta()
    if abs(distance) > _MAX_OFFSET:
        return here
    return min((here, *KEPT_OFFSETS), key=lambda offset: abs(distance - offset))


def distance(meter: datetime, host: datetime) -> timedelta:
    """Return how far the clock of a meter, read at `host` (UTC), is ahead of UTC."""
    return meter.replace(tzinfo=UTC) - host
