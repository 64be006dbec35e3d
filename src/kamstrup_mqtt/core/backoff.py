"""Pauses between retries."""

from __future__ import annotations

import random
from dataclasses import dataclass

_MAX_DOUBLINGS = 30


@dataclass(slots=True)
class Backoff:
    """Exponential back-off with jitter.

    The pause starts at `first` seconds and doubles with each failure up to `cap`. With `rng` it is
    shortened at random by up to a half, so that retries of many meters do not coincide.
    """

    first: float
    cap: float
    rng: random.Random | None = None
    failures: int = 0

    def next_pause(self) -> float:
        """Count a failure and return the seconds to wait before the next attempt."""
        pause: float = min(self.cap, self.first * 2 ** min(self.failures, _MAX_DOUBLINGS))
        self.failures += 1
        return pause if self.rng is None else pause * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start over at `first` after a success."""
        self.failures = 0
