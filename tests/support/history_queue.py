"""A history queue on a real disk, a broker for it, and a disk that fails on demand."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from kamstrup_mqtt.storage.history.buffer import Record
from kamstrup_mqtt.storage.history.queue import HistoryQueue
from kamstrup_mqtt.storage.history.settings import SpoolMode
from kamstrup_mqtt.storage.history.spooler import HistoryLimits
from kamstrup_mqtt.storage.spool import Spool, SpoolFile, connect
from tests.support.broker import eventually

QUICK = HistoryLimits(retry=0.02, disk=2.0, prune=0.01, last_commit=1.0, grace=0.0)


class FakeBroker:
    """Takes the records of a queue and acknowledges each at once, unless `holds_acks`.

    seen    payloads received, in order
    unacked  records received and not acknowledged
    """

    def __init__(self, queue: HistoryQueue) -> None:
        self.queue = queue
        self.seen: list[str] = []
        self.unacked: list[Record] = []
        self.holds_acks = False
        self._task: asyncio.Task[None] | None = None

    async def _receive(self) -> None:
        while True:
            record = await self.queue.next_record()
            self.seen.append(record.payload)
            if self.holds_acks:
                self.unacked.append(record)
            else:
                self.queue.acknowledge(record)

    def connect(self) -> None:
        """Begin a connection. What was seen on earlier ones is forgotten."""
        self.seen.clear()
        self.unacked.clear()
        self.queue.begin_connection()
        self._task = asyncio.create_task(self._receive())

    async def disconnect(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self.queue.end_connection()

    async def receive(self, number: int) -> list[str]:
        """Wait for `number` records on this connection and return all that came."""
        await eventually(lambda: len(self.seen) >= number, f"{number} seen, {len(self.seen)} now")
        return self.seen


@contextlib.asynccontextmanager
async def running(queue: HistoryQueue) -> AsyncIterator[FakeBroker]:
    """Open the queue and run it; at the end disconnect its broker and close it."""
    await queue.open()
    task = asyncio.create_task(queue.run())
    broker = FakeBroker(queue)
    try:
        yield broker
    finally:
        await broker.disconnect()
        task.cancel()
        await asyncio.wait([task])
        await queue.close()


def queue_on_disk(
    path: Path,
    mode: SpoolMode = "offline",
    *,
    rows: int = 100_000,
    size: int = 64_000_000,
    connect: Callable[[Path], sqlite3.Connection] = connect,
    limits: HistoryLimits = QUICK,
    **options: Any,
) -> HistoryQueue:
    """Make a queue with its spool in `path`. `connect` replaces how SQLite opens the file."""
    spool = Spool(SpoolFile(path, rows=rows, size=size, connect=connect))
    return HistoryQueue(mode, spool, rows=rows, size=size, limits=limits, **options)


def add_records(queue: HistoryQueue, first: int, last: int) -> list[str]:
    """Add the records with these numbers and return their payloads."""
    payloads = [f"record {number}" for number in range(first, last + 1)]
    for payload in payloads:
        queue.add("heat", payload)
    return payloads


def stored(path: Path) -> list[str]:
    """Return the payloads that another program sees in the file; none if it does not exist yet."""
    if not path.exists():
        return []
    database = sqlite3.connect(path)
    with contextlib.closing(database), contextlib.suppress(sqlite3.OperationalError):
        return [row[0] for row in database.execute("SELECT payload FROM history ORDER BY id")]
    return []  # its table is being created


class FailingDisk:
    """Opens the spool, but fails every access while `is_failing`."""

    def __init__(self) -> None:
        self.is_failing = False

    def connect(self, path: Path) -> sqlite3.Connection:
        if self.is_failing:
            raise sqlite3.OperationalError("disk I/O error")
        database = connect(path)
        database.set_progress_handler(lambda: int(self.is_failing), 1)
        return database
