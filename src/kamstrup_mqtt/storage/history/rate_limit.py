"""Limits how fast waiting records are sent, so that a broker that is back is not flooded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class RateLimiter:
    """Allows max(`min_rate`, 4 times the arrival rate over `span` seconds) records per second."""

    def __init__(
        self, monotonic: Callable[[], float], *, min_rate: float = 50.0, span: float = 10.0
    ) -> None:
        self._monotonic = monotonic
        self._min_rate = min_rate
        self._span = span
        self._arrivals: deque[float] = deque(maxlen=10_000)
        self._next = self._started = monotonic()

    def record_arrival(self) -> None:
        """Count a record that was made now."""
        self._arrivals.append(self._monotonic())

    @property
    def rate(self) -> float:
        """Records per second that may be sent now."""
        now = self._monotonic()
        while self._arrivals and self._arrivals[0] < now - self._span:
            self._arrivals.popleft()
        observed = min(self._span, max(1.0, now - self._started))
        return max(self._min_rate, 4 * len(self._arrivals) / observed)

    def reserve_slot(self) -> float:
        """Reserve the next slot and return the seconds to wait for it."""
        now = self._monotonic()
        slot = max(self._next, now)
        self._next = slot + 1 / self.rate
        return slot - now
