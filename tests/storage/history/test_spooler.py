"""The spool under the queue: a disk that fails, hangs and recovers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.storage.history.queue import HistoryQueue
from kamstrup_mqtt.storage.history.settings import DEFAULT_RESEND, SpoolMode
from kamstrup_mqtt.storage.history.spooler import HistoryLimits
from kamstrup_mqtt.storage.spool import Inventory, Row, Spool, SpoolError, SpoolFile
from tests.support.broker import eventually
from tests.support.history_queue import FailingDisk, add_records, queue_on_disk, running, stored


def _on_disk(queue: HistoryQueue) -> int:
    return queue._spooler.spool.inventory.rows


async def test_records_that_wait_behind_stored_ones_are_stored_too(path: Path) -> None:
    """Otherwise they would be lost if the process were killed while it replays."""
    async with running(queue_on_disk(path)) as broker:
        wanted = add_records(broker.queue, 1, 5)
        await eventually(lambda: stored(path) == wanted, "on disk")
        broker.queue.begin_connection()  # but take no records
        wanted += add_records(broker.queue, 6, 7)
        await eventually(lambda: stored(path) == wanted, "on disk behind the others")


async def test_a_new_connection_starts_over_with_records_that_were_read_ahead(path: Path) -> None:
    async with running(queue_on_disk(path)) as broker:
        wanted = add_records(broker.queue, 1, 5)
        await eventually(lambda: _on_disk(broker.queue) == 5, "on disk")
        for _ in range(2):
            broker.queue.begin_connection()
            received = [(await broker.queue.next_record()).payload for _ in range(3)]
            assert received == wanted[:3]
            broker.queue.end_connection()


async def test_closing_marks_delivered_records_for_the_next_run(path: Path) -> None:
    limits = HistoryLimits(prune=60.0, grace=0.0)
    async with running(queue_on_disk(path, "always", limits=limits)) as broker:
        broker.connect()
        add_records(broker.queue, 1, 5)
        await broker.receive(5)
        broker.holds_acks = True
        wanted = add_records(broker.queue, 6, 8)
        await broker.receive(8)
    queue = queue_on_disk(path, wall=lambda: time.time() + DEFAULT_RESEND + 1)
    async with running(queue) as broker:
        broker.connect()
        assert await broker.receive(3) == wanted


async def test_the_disk_is_not_accessed_while_there_is_nothing_to_delete(path: Path) -> None:
    pruned: list[int] = []

    class CountingSpool(Spool):
        async def prune(self, acked_through: int, now: float, delete_through: int) -> Inventory:
            pruned.append(acked_through)
            return await super().prune(acked_through, now, delete_through)

    spool = CountingSpool(SpoolFile(path, rows=100, size=10_000))
    queue = HistoryQueue("always", spool, limits=HistoryLimits(prune=60.0, grace=0.0))
    async with running(queue) as broker:
        broker.connect()
        add_records(queue, 1, 5)
        await broker.receive(5)
        for _ in range(3):
            await queue._spooler.prune()
        assert pruned == [5]


async def test_a_record_that_a_late_commit_stored_is_sent_once(
    path: Path, expected_logs: list[str]
) -> None:
    """Its commit took longer than its time limit, but succeeded: it is in memory and on disk."""
    expected_logs.append("history continues in memory: too late")

    class LateSpool(Spool):
        async def append(self, rows: Sequence[Row], acked_through: int) -> tuple[Inventory, int]:
            result = await super().append(rows, acked_through)
            if len(rows) == 3:
                raise SpoolError("too late")
            return result

    spool = LateSpool(SpoolFile(path, rows=100, size=10_000))
    queue = HistoryQueue("offline", spool, limits=HistoryLimits(retry=60.0, grace=0.0))
    async with running(queue) as broker:
        wanted = add_records(queue, 1, 5)
        await eventually(lambda: _on_disk(queue) == 5, "on disk")
        wanted += add_records(queue, 6, 8)
        await eventually(lambda: len(stored(path)) == 8, "on disk, and still in memory")
        queue._spooler._pruned = (-1, 0)
        await queue._spooler.prune()
        assert _on_disk(queue) == 8
        broker.connect()
        assert await broker.receive(8) == wanted
        wanted += add_records(queue, 9, 9)
        assert await broker.receive(9) == wanted


@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_a_disk_that_fails_and_comes_back(
    path: Path, mode: SpoolMode, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("history continues in memory")
    disk = FailingDisk()
    async with running(queue_on_disk(path, mode, connect=disk.connect)) as broker:
        disk.is_failing = True
        wanted = add_records(broker.queue, 1, 10)
        broker.connect()
        await broker.receive(10)
        await broker.disconnect()
        wanted += add_records(broker.queue, 11, 20)
        await eventually(lambda: bool(logged(30)), "the failure is logged")
        disk.is_failing = False
        await eventually(lambda: stored(path)[-10:] == wanted[10:], "on disk again")
        broker.connect()
        assert await broker.receive(20) == wanted
        assert len(logged(30)) == 1
        assert "history: the spool can be written again" in logged()


async def test_a_disk_that_cannot_be_read_at_the_start(
    path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("history continues in memory")
    async with running(queue_on_disk(path)) as broker:
        old = add_records(broker.queue, 1, 5)
    assert stored(path) == old
    disk = FailingDisk()
    disk.is_failing = True
    async with running(queue_on_disk(path, connect=disk.connect, resend=0.0)) as broker:
        disk.is_failing = False
        new = add_records(broker.queue, 101, 105)
        await eventually(lambda: stored(path) == old + new, "behind the old ones")
        broker.connect()
        assert (await broker.receive(5))[-5:] == new
        await broker.queue._spooler.prune()
    assert stored(path)[:5] == old  # they do not count as delivered
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        assert await broker.receive(10) == old + new


async def test_a_disk_that_cannot_be_read_at_two_starts_in_a_row(
    path: Path, expected_logs: list[str]
) -> None:
    """The second run begins 10 s after the first, which made 50 records."""
    expected_logs.append("history continues in memory")
    disk = FailingDisk()
    async with running(queue_on_disk(path)) as broker:
        wanted = add_records(broker.queue, 0, 0)
    for start, first, last in ((1.7e9, 1, 50), (1.7e9 + 10, 51, 60)):
        disk.is_failing = True
        queue = queue_on_disk(path, connect=disk.connect, wall=lambda start=start: start)
        async with running(queue):
            disk.is_failing = False
            wanted += add_records(queue, first, last)
            await eventually(lambda last=last: len(stored(path)) == last + 1, "all of them")  # type: ignore[misc]
    assert stored(path) == wanted


async def test_stored_records_that_cannot_be_read_for_a_moment_stay_in_order(
    path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("history continues in memory")
    disk = FailingDisk()
    async with running(queue_on_disk(path, connect=disk.connect)) as broker:
        wanted = add_records(broker.queue, 1, 5)
        await eventually(lambda: _on_disk(broker.queue) == 5, "on disk")
        disk.is_failing = True
        broker.connect()
        wanted += add_records(broker.queue, 6, 8)
        await eventually(lambda: bool(logged(30)), "the failure is logged")
        disk.is_failing = False
        assert await broker.receive(8) == wanted
        assert not broker.queue._spooler.spool.is_failing
        assert len(logged(30)) == 1
        assert any(text.endswith("again") for text in logged() if "the spool can be" in text)


async def test_stored_records_that_cannot_be_read_wait_for_the_next_run(
    path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("history continues in memory")
    disk = FailingDisk()
    async with running(queue_on_disk(path, connect=disk.connect, resend=0.0)) as broker:
        old = add_records(broker.queue, 1, 5)
        await eventually(lambda: _on_disk(broker.queue) == 5, "on disk")
        disk.is_failing = True
        broker.connect()
        new = add_records(broker.queue, 6, 8)
        assert await broker.receive(3) == new
        disk.is_failing = False
        await broker.queue._spooler.prune()
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        assert (await broker.receive(5))[:5] == old


async def test_a_disk_that_hangs(path: Path, expected_logs: list[str]) -> None:
    expected_logs.append(
        "history continues in memory: the disk did not respond within 0.1 s; free or repair"
    )
    expected_logs.append("neither delivered nor stored")

    class HangingSpool(Spool):
        async def append(self, *_: Any) -> Any:
            await asyncio.Event().wait()

    spool = HangingSpool(SpoolFile(path, rows=10, size=1000))
    limits = HistoryLimits(retry=0.02, disk=0.1, prune=0.01, last_commit=0.2, grace=0.0)
    async with running(HistoryQueue("always", spool, limits=limits)) as broker:
        broker.connect()
        wanted = add_records(broker.queue, 1, 3)
        assert await broker.receive(3) == wanted
        assert broker.queue._spooler.spool.state == "failing"
        broker.holds_acks = True
        add_records(broker.queue, 4, 4)
