"""The clock of a recording, for replaying it in the time it was recorded in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from kamstrup_mqtt.core.clock import BUILD_TIME, Clock


class RecordedClock(Clock):
    """The clock of a recording.

    `started` is the wall time that belongs to the present monotonic time. None if the host did not
    know it, then `now` is always None.
    """

    def __init__(self, started: datetime | None, monotonic: Callable[[], float]) -> None:
        wall_start, monotonic_start = (started or BUILD_TIME).timestamp(), monotonic()
        super().__init__(lambda: wall_start + monotonic() - monotonic_start, monotonic)
        self._is_known = started is not None
        # the recording may be older than this version
        self.not_before = datetime.min.replace(tzinfo=UTC)

    def now(self) -> datetime | None:
        return super().now() if self._is_known else None
