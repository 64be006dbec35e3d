"""When to try the broker again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kamstrup_mqtt.mqtt.connection import Trouble

_SLOW = frozenset({Trouble.REFUSED_US, Trouble.TLS})


@dataclass(slots=True)
class Backoff:
    """Seconds to wait, growing to `cap`, with jitter; at least `slow` after a refusal, where
    hurrying does not help and may lock the user out."""

    rng: random.Random
    first: float = 1.0
    cap: float = 60.0
    slow: float = 60.0
    _next: float = 0.0

    def reset(self) -> None:
        """A connection lasted."""
        self._next = 0.0

    def after(self, trouble: Trouble, *, crowded: bool = False) -> float:
        """Seconds to wait now; `crowded`: another daemon has our place."""
        self._next = min(self.cap, max(self.first, 2 * self._next))
        wait = self._next * self.rng.uniform(0.5, 1.0)
        if crowded or trouble in _SLOW:
            return self.slow * self.rng.uniform(1.0, 1.25)
        return wait
