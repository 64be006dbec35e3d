"""Deadlines: by when every task will have acted again (docs/operations.md, Liveness)."""

from __future__ import annotations

from collections.abc import Callable

GRACE = 30.0
"""Seconds past its deadline at which a task counts as stuck."""


class Heartbeat:
    """By when its owner will have acted again, sleeping included. Monotonic seconds."""

    __slots__ = ("_monotonic", "name", "next_due")

    def __init__(self, name: str, monotonic: Callable[[], float]) -> None:
        self.name = name
        self._monotonic = monotonic
        self.next_due = monotonic()

    def expect_within(self, seconds: float) -> None:
        """I will act again in at most `seconds`."""
        self.next_due = self._monotonic() + seconds

    def is_late(self, grace: float = GRACE) -> bool:
        """Whether the owner is more than `grace` seconds past its promise."""
        return self._monotonic() > self.next_due + grace
