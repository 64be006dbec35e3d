"""An event loop whose time is the line's: it stands still while anything is done, and goes on at
once to the next moment at which something is due. Sockets are real; threads are not waited for."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

DELIVERY = 0.002
"""Seconds of real time in which the kernel brings bytes from one end of a socket to the other."""


class _Selector(selectors.DefaultSelector):
    pass_: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(DELIVERY)
        if not events:
            self.pass_(timeout)
        return events


class LineTimeLoop(asyncio.SelectorEventLoop):
    """Its `time()` begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        selector = _Selector()
        selector.pass_ = self._pass
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def _pass(self, seconds: float) -> None:
        self._now += seconds
