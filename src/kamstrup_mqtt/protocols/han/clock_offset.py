"""How far a meter's clock is from UTC: learned from the host's clock.

Kamstrup's lists do not tell their zone (deviation 8000), and it is the standard time of the
country all year on some meters and with summer time on others. So the offset is taken from the
difference to the host's clock, to the nearest quarter of an hour. Six stamps in a row that agree
prove it, and six others that agree with each other change it; a stamp that does not agree with what
is proven has no zone (summer time begins on some meters).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

AGREEING_STAMPS: Final = 6
MIN_STEP: Final = 30.0
"""Seconds by which the host's clock may differ from its monotonic one before that is a step."""

_QUARTER = timedelta(minutes=15)
_MAX_OFFSET = timedelta(hours=15)
"""No zone is farther from UTC: such a clock is wrong, not elsewhere."""


class ClockOffset:
    """The offset of one meter's clock; `remembered` as "+01:00"."""

    def __init__(self, remembered: str | None = None) -> None:
        self.offset = _parse(remembered)
        self._candidate: timedelta | None = None
        self._agreeing = 0
        self._is_doubtful = False  # the last stamp was of another offset
        self._host_offset: float | None = None  # wall time minus monotonic time

    @property
    def text(self) -> str | None:
        """The proven offset as it is remembered: "+01:00"; None: nothing is proven."""
        if self.offset is None:
            return None
        return datetime(2000, 1, 1, tzinfo=timezone(self.offset)).isoformat()[19:]

    def observe_host(self, utc: datetime, monotonic: float) -> float | None:
        """Watch the host's clock. Returns the seconds by which it stepped, None if it did not;
        after a step nothing is proven any more."""
        ahead = utc.timestamp() - monotonic
        before, self._host_offset = self._host_offset, ahead
        if before is None or abs(ahead - before) <= MIN_STEP:
            return None
        self.offset = None
        self._agreeing = 0
        return ahead - before

    def observe_meter(self, local: datetime, utc: datetime) -> bool:
        """The meter's clock showed `local` (without zone) at `to_utc`; whether that proved
        something new."""
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
        """The moment at which the meter's clock shows `local`; None while nothing is proven, and
        where the last stamp contradicts it."""
        if self.offset is None or self._is_doubtful:
            return None
        return local.replace(tzinfo=timezone(self.offset))

    def drift(self, local: datetime, utc: datetime) -> Decimal | None:
        """Seconds that the meter's clock is ahead of the host's, to a tenth; None: not proven."""
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
