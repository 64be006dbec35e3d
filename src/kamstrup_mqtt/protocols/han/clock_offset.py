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

PROOF: Final = 6
STEP: Final = 30.0
"""Seconds by which the host's clock may differ from its monotonic one before that is a step."""

_QUARTER = timedelta(minutes=15)
_FARTHEST = timedelta(hours=15)
"""No zone is farther from UTC: such a clock is wrong, not elsewhere."""


class ClockOffset:
    """The offset of one meter's clock; `remembered` as "+01:00"."""

    def __init__(self, remembered: str | None = None) -> None:
        self.offset = _parse(remembered)
        self._candidate: timedelta | None = None
        self._agreed = 0
        self._doubtful = False  # the last stamp was of another offset
        self._host: float | None = None  # wall time minus monotonic time

    @property
    def text(self) -> str | None:
        """The proven offset as it is remembered: "+01:00"; None: nothing is proven."""
        if self.offset is None:
            return None
        return datetime(2000, 1, 1, tzinfo=timezone(self.offset)).isoformat()[19:]

    def host(self, utc: datetime, monotonic: float) -> float | None:
        """Watch the host's clock. Returns the seconds by which it stepped, None if it did not;
        after a step nothing is proven any more."""
        ahead = utc.timestamp() - monotonic
        before, self._host = self._host, ahead
        if before is None or abs(ahead - before) <= STEP:
            return None
        self.offset = None
        self._agreed = 0
        return ahead - before

    def observe(self, local: datetime, utc: datetime) -> bool:
        """The meter's clock showed `local` (without zone) at `utc`; whether that proved something
        new."""
        difference = local.replace(tzinfo=UTC) - utc
        if abs(difference) > _FARTHEST:
            self._agreed = 0
            self._doubtful = True
            return False
        nearest = round(difference / _QUARTER) * _QUARTER
        self._doubtful = nearest != self.offset
        self._agreed = self._agreed + 1 if nearest == self._candidate else 1
        self._candidate = nearest
        if self._agreed < PROOF or nearest == self.offset:
            return False
        self.offset = nearest
        self._doubtful = False
        return True

    def utc(self, local: datetime) -> datetime | None:
        """The moment at which the meter's clock shows `local`; None while nothing is proven, and
        where the last stamp contradicts it."""
        if self.offset is None or self._doubtful:
            return None
        return local.replace(tzinfo=timezone(self.offset))

    def drift(self, local: datetime, utc: datetime) -> Decimal | None:
        """Seconds that the meter's clock is ahead of the host's, to a tenth; None: not proven."""
        moment = self.utc(local)
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
