"""The queue between readers and publisher. It is bounded, and a reader never waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from kamstrup_mqtt.core.model import Reading, Report

CAPACITY = 10_000
MAX_BACKPRESSURE = 1.0
"""Seconds that a reader waits at most for a publisher that is behind: what arrives faster than the
broker accepts it stays in the link."""


class ReportQueue:
    """Reports in the order they were put. If the queue is full, the oldest is dropped.

    dropped  the number of reports that were dropped
    """

    def __init__(
        self, capacity: int = CAPACITY, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reports: deque[tuple[Report, float]] = deque()
        self._monotonic = monotonic
        self._capacity = capacity
        self._consumer: Callable[[], None] | None = None
        self._call_scheduled = False
        self._relief = asyncio.Event()
        self._relief.set()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._reports)

    def put(self, report: Report) -> None:
        """Add a report. Never waits."""
        if len(self._reports) >= self._capacity:
            self._reports.popleft()
            self.dropped += 1
        self._reports.append((report, self._monotonic()))
        if self._consumer is not None and not self._call_scheduled:
            self._call_scheduled = True
            asyncio.get_running_loop().call_soon(self._call_consumer)

    def set_consumer(self, consumer: Callable[[], None]) -> None:
        """Call `consumer` in the next iteration of the loop after reports were put."""
        self._consumer = consumer

    def _call_consumer(self) -> None:
        self._call_scheduled = False
        if self._consumer is not None and self._reports:
            self._consumer()

    def set_backpressure(self, is_behind: bool) -> None:
        """Set whether the publisher is behind although it is connected."""
        if is_behind:
            self._relief.clear()
        else:
            self._relief.set()

    async def wait_for_capacity(self) -> None:
        """Let other tasks run, and wait while the publisher is behind, before reading on."""
        await asyncio.sleep(0)
        if not self._relief.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MAX_BACKPRESSURE):
                    await self._relief.wait()

    def take_all(self) -> list[Report]:
        """Remove and return all reports, oldest first."""
        reports = [report for report, _ in self._reports]
        self._reports.clear()
        return reports

    def correct_clock(self, now: datetime, monotonic: float) -> None:
        """Correct the times of waiting readings after the host's clock was set.

        It is `now` at `monotonic`.
        """
        self._reports = deque(
            (
                dataclasses.replace(report, time=now - timedelta(seconds=monotonic - put))
                if isinstance(report, Reading)
                else report,
                put,
            )
            for report, put in self._reports
        )
