"""Deadlines by which each task acts again (docs/operations.md, Liveness)."""

from __future__ import annotations

from collections.abc import Callable

GRACE = 30.0
"""Seconds after its deadline at which a task counts as stuck."""


class Heartbeat:
    """The deadline of a task, in monotonic seconds. It includes the time that the task sleeps."""

    __slots__ = ("_monotonic", "name", "next_due")

    def __init__(self, name: str, monotonic: Callable[[], float]) -> None:
        self.name = name
        self._monotonic = monotonic
        self.next_due = monotonic()

    def expect_within(self, seconds: float) -> None:
        """Promise to act again within `seconds`."""
        self.next_due = self._monotonic() + seconds

    def is_late(self, grace: float = GRACE) -> bool:
        """Return whether the task is more than `grace` seconds past its deadline."""
        return self._monotonic() > self.next_due + grace
