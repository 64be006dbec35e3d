"""How fast what waited is sent: a broker that is back must not be buried."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class RateLimiter:
    """How fast records are sent: at most max(50/s, 4 × the rate at which they are made)."""

    def __init__(
        self, monotonic: Callable[[], float], *, min_rate: float = 50.0, span: float = 10.0
    ) -> None:
        self._monotonic = monotonic
        self._min_rate = min_rate
        self._span = span
        self._arrivals: deque[float] = deque(maxlen=10_000)
        self._next = self._started = monotonic()

    def record_arrival(self) -> None:
        """A record was made."""
        self._arrivals.append(self._monotonic())

    @property
    def rate(self) -> float:
        """Records a second that may be sent now."""
        now = self._monotonic()
        while self._arrivals and self._arrivals[0] < now - self._span:
            self._arrivals.popleft()
        seen = min(self._span, max(1.0, now - self._started))
        return max(self._min_rate, 4 * len(self._arrivals) / seen)

    def reserve_slot(self) -> float:
        """Seconds until the next may be sent, which counts as sent then."""
        now = self._monotonic()
        self._next = max(self._next, now) + 1 / self.rate
        return max(0.0, self._next - 1 / self.rate - now)
