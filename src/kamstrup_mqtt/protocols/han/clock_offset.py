"""The offset of a meter's clock from UTC, learned from the host's clock.

Kamstrup's lists do not say their zone (deviation 8000). Some meters use standard time all year,
others change to summer time. So the offset is the difference to the host's clock, rounded to a
quarter of an hour. Six time stamps in a row that agree prove it; six that agree on another offset
change it. A stamp that disagrees with the proven offset is given no zone, because summer time may
just have begun.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

AGREEING_STAMPS: Final = 6
"""Time stamps in a row that prove an offset."""
MIN_STEP: Final = 30.0
"""Seconds by which the host's clock must move against its monotonic clock to have stepped."""

_QUARTER = timedelta(minutes=15)
_MAX_OFFSET = timedelta(hours=15)
"""No zone is farther from UTC: a clock that is farther off is wrong."""


class ClockOffset:
    """The offset of one meter's clock.

    remembered  the proven offset from an earlier run, such as "+01:00"
    """

    def __init__(self, remembered: str | None = None) -> None:
        self.offset = _parse(remembered)
        self._candidate: timedelta | None = None
        self._agreeing = 0
        self._is_doubtful = False  # the last stamp was of another offset
        self._host_offset: float | None = None  # wall time minus monotonic time

    @property
    def text(self) -> str | None:
        """The proven offset as text to remember, such as "+01:00". None if none is proven."""
        if self.offset is None:
            return None
        return datetime(2000, 1, 1, tzinfo=timezone(self.offset)).isoformat()[19:]

    def observe_host(self, utc: datetime, monotonic: float) -> float | None:
        """Compare the host's clock with its monotonic clock.

        Returns the seconds by which the clock stepped, None if it did not. A step discards the
        proven offset.
        """
        ahead = utc.timestamp() - monotonic
        before, self._host_offset = self._host_offset, ahead
        if before is None or abs(ahead - before) <= MIN_STEP:
            return None
        self.offset = None
        self._agreeing = 0
        return ahead - before

    def observe_meter(self, local: datetime, utc: datetime) -> bool:
        """Add a time stamp: the meter's clock showed `local` (without zone) at `utc`.

        Returns whether it proved another offset.
        """
        difference = local.replace(tzinfo=UTC) - utc
        if abs(difference) > _MAX_OFFSET:
            self._agreeing = 0
            self._is_doubtful = True
            return False
        nearest = round(difference / _QUARTER) * _QUARTER
        self._is_doubtful = nearest != self.offset
        self._agreeing = self._agreeing + 1 if nearest == self._candidate else 1
        self._candidate = nearest
        if self._agreeing < AGREEING_STAMPS or nearest == self.offset:
            return False
        self.offset = nearest
        self._is_doubtful = False
        return True

    def to_utc(self, local: datetime) -> datetime | None:
        """Return `local` with the proven offset.

        None if none is proven, or if the last time stamp contradicts it.
        """
        if self.offset is None or self._is_doubtful:
            return None
        return local.replace(tzinfo=timezone(self.offset))

    def drift(self, local: datetime, utc: datetime) -> Decimal | None:
        """Return the seconds by which the meter's clock is ahead, in tenths. None if unknown."""
        moment = self.to_utc(local)
        if moment is None:
            return None
        return Decimal(round((moment - utc).total_seconds() * 10)).scaleb(-1)


def _parse(text: str | None) -> timedelta | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(f"2000-01-01T00:00:00{text}").utcoffset()
    except ValueError:
        return None
