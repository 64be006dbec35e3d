"""The clock of a meter, which names no zone: its distance from UTC, and what it is wrong by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

MAX_ERROR = timedelta(minutes=10)
"""A clock that is wrong by more may as well be in another zone: somebody must say which."""


def offset_of(text: str) -> timedelta:
    """The distance from UTC that is written like +05:45. Raises ValueError."""
    return datetime.strptime(text, "%z").utcoffset() or timedelta()


_BETWEEN_HOURS = (
    *("-09:30", "-03:30", "-02:30", "+03:30", "+04:30", "+05:30", "+05:45", "+06:30", "+08:45"),
    *("+09:30", "+10:30", "+12:45", "+13:45"),
)
"""The zones of the tz database that are not whole hours from UTC."""

_MAX_OFFSET = timedelta(hours=15)
KEPT_OFFSETS = (*(timedelta(hours=n) for n in range(-12, 15)), *map(offset_of, _BETWEEN_HOURS))
"""The quarter hours that clocks keep as their distance from UTC."""


def own_offset(distance: timedelta, host: datetime) -> timedelta:
    """The distance from UTC that a clock keeps which is `distance` ahead of UTC: rounded to the
    quarter hour, among those that some zone has. A quarter hour that none has (+00:15) is a fault
    of the clock, not its distance: the nearest that one has is taken. Where the date is wrong
    there is no telling: this computer's own."""
    here = host.astimezone().utcoffset() or timedelta()
    if abs(distance) > _MAX_OFFSET:
        return here
    return min((here, *KEPT_OFFSETS), key=lambda offset: abs(distance - offset))


def distance(meter: datetime, host: datetime) -> timedelta:
    """How far a meter's clock (without zone) is ahead of UTC."""
    return meter.replace(tzinfo=UTC) - host
