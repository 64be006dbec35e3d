"""An event loop with virtual time, which stands still while tasks run and jumps to the next timer.

Sockets are real. The loop does not wait for threads.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

DELIVERY = 0.002
"""Seconds of real time in which the kernel delivers bytes from one end of a socket to the other."""


class _Selector(selectors.DefaultSelector):
    advance: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(DELIVERY)
        if not events:
            self.advance(timeout)
        return events


class LineTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time that starts at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        selector = _Selector()
        selector.advance = self._advance
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def _advance(self, seconds: float) -> None:
        self._now += seconds
