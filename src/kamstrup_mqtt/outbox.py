"""The queue between readers and publisher: bounded, never waited for by a reader."""

from __future__ import annotations

import asyncio
from collections import deque

from kamstrup_mqtt.model import Report

CAPACITY = 10_000


class Outbox:
    """Reports in the order they were made. When it is full the oldest is dropped and counted."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._reports: deque[Report] = deque()
        self._capacity = capacity
        self._arrived = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._reports)

    def put(self, report: Report) -> None:
        """Hand a report over; returns at once."""
        if len(self._reports) >= self._capacity:
            self._reports.popleft()
            self.dropped += 1
        self._reports.append(report)
        self._arrived.set()

    async def get(self) -> Report:
        """The oldest report, when there is one."""
        while not self._reports:
            self._arrived.clear()
            await self._arrived.wait()
        return self._reports.popleft()

    def take_all(self) -> list[Report]:
        """What is there now, oldest first; for the end of the program."""
        reports = list(self._reports)
        self._reports.clear()
        return reports
