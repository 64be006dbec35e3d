"""Bugs that were reported for the disk buffers of Telegraf and of ThingsBoard's gateway.

Each test has the number of the issue in its name and the bug in its docstring.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kamstrup_mqtt.storage import spool
from kamstrup_mqtt.storage.history.spooler import READ_BATCH, HistoryLimits
from tests.support.broker import eventually
from tests.support.history_queue import add_records, queue_on_disk, running, stored


async def test_telegraf_5536_drops_are_counted_and_logged_once(
    path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    """Records were dropped silently."""
    expected_logs.append("history is full: the oldest records are dropped and counted")
    async with running(queue_on_disk(path, rows=100)) as broker:
        for number in range(10):
            add_records(broker.queue, 50 * number + 1, 50 * number + 50)
            await eventually(lambda: not broker.queue._buffer.unacked_count, "stored")
        assert broker.queue.dropped_count == 400
        broker.connect()
        assert await broker.receive(100) == [f"record {n}" for n in range(401, 501)]
        assert broker.queue.info()["dropped"] == 400  # type: ignore[index, call-overload]
        assert broker.queue.waiting_count == 0
    assert len([line for line in logged() if "history is full" in line]) == 1
    assert "history is delivered; 400 records were dropped before" in logged()


async def test_telegraf_17200_records_in_flight_are_not_the_ones_that_overflow(
    path: Path, expected_logs: list[str]
) -> None:
    """While a batch was being sent the buffer overflowed, and newer records were dropped."""
    expected_logs.append("history is full")
    async with running(queue_on_disk(path, rows=100)) as broker:
        broker.connect()
        broker.holds_acks = True
        add_records(broker.queue, 1, 100)
        await broker.receive(100)
        add_records(broker.queue, 101, 110)
        for record in broker.unacked:
            broker.queue.acknowledge(record)
        broker.holds_acks = False
        await broker.receive(110)
        assert broker.seen[-10:] == [f"record {n}" for n in range(101, 111)]


async def test_telegraf_16615_a_full_buffer_is_sent_when_the_broker_is_back(
    path: Path, expected_logs: list[str]
) -> None:
    """After an outage that filled it, the buffer was not flushed until a restart."""
    expected_logs.append("history is full")
    async with running(queue_on_disk(path, rows=10, resend=0.0)) as broker:
        for outage in range(1, 4):
            wanted = add_records(broker.queue, 100 * outage + 1, 100 * outage + 25)[-10:]
            await eventually(lambda wanted=wanted: stored(path) == wanted, "the newest")  # type: ignore[misc]
            broker.connect()
            await broker.receive(10)
            wanted += add_records(broker.queue, 100 * outage + 26, 100 * outage + 30)
            assert await broker.receive(15) == wanted
            assert broker.queue.dropped_count == 15 * outage
            await eventually(lambda: stored(path) == [], "delivered")
            await broker.disconnect()


async def test_telegraf_802_waiting_records_outlive_the_process_and_delay_no_reader(
    path: Path,
) -> None:
    """Records that an output did not take were in memory only and died with the process."""
    wanted: list[str] = []
    for run in range(5):
        async with running(queue_on_disk(path)) as broker:
            start = time.monotonic()
            wanted += add_records(broker.queue, 1000 * run + 1, 1000 * run + 200)
            assert time.monotonic() - start < 1.0  # no reader waits for the disk
            if run % 2:  # else they are stored at the end of the run
                await eventually(lambda run=run: len(stored(path)) == 200 * (run + 1), "on disk")  # type: ignore[misc]
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        assert await broker.receive(1000) == wanted


async def test_telegraf_16500_only_undelivered_records_are_sent_after_a_restart(
    path: Path,
) -> None:
    """The whole log was sent again at each start."""
    async with running(queue_on_disk(path, "always", resend=0.01)) as broker:
        broker.connect()
        add_records(broker.queue, 1, 300)
        await broker.receive(300)
        broker.holds_acks = True
        wanted = add_records(broker.queue, 301, 305)
        await broker.receive(305)
        await eventually(lambda: stored(path) == wanted, "the delivered ones are deleted")
    async with running(queue_on_disk(path, "always", resend=0.01)) as broker:
        broker.connect()
        await broker.receive(5)
        wanted += add_records(broker.queue, 306, 306)
        assert await broker.receive(6) == wanted


async def test_telegraf_16314_the_spool_works_after_a_hundred_outages(path: Path) -> None:
    """The disk buffer stopped after a while. Here nothing is left behind either."""
    async with running(queue_on_disk(path, resend=0.0)) as broker:
        for outage in range(100):
            wanted = add_records(broker.queue, 7 * outage + 1, 7 * outage + 7)
            broker.connect()
            wanted += add_records(broker.queue, 10_000 + outage, 10_000 + outage)
            assert await broker.receive(8) == wanted
            await broker.disconnect()
        broker.connect()
        await eventually(lambda: stored(path) == [], "nothing is left")


async def test_thingsboard_2098_reading_ahead_makes_no_duplicates(path: Path) -> None:
    """The next batch was read before the one that was sent was deleted."""
    async with running(queue_on_disk(path, resend=0.0)) as broker:
        wanted = add_records(broker.queue, 1, 5 * READ_BATCH)
        await eventually(lambda: len(stored(path)) == 5 * READ_BATCH, "on disk")
        broker.connect()
        for number in range(5 * READ_BATCH + 1, 5 * READ_BATCH + 200):
            wanted += add_records(broker.queue, number, number)
            await asyncio.sleep(0)
        await broker.receive(len(wanted))
        wanted += add_records(broker.queue, 1000, 1000)
        assert await broker.receive(len(wanted)) == wanted


async def test_thingsboard_2124_reconnecting_keeps_the_file(path: Path) -> None:
    """The storage was created again on each reconnect, and its contents were lost."""
    async with running(queue_on_disk(path)) as broker:
        wanted = add_records(broker.queue, 1, 300)
        await eventually(lambda: len(stored(path)) == 300, "on disk")
        inode = os.stat(path).st_ino
        broker.holds_acks = True
        for _ in range(10):
            broker.connect()
            await broker.receive(1)
            await broker.disconnect()
        assert os.stat(path).st_ino == inode
        assert stored(path) == wanted
        broker.holds_acks = False
        broker.connect()
        assert await broker.receive(300) == wanted


async def test_thingsboard_1446_a_locked_file_does_not_flood_the_log(
    path: Path,
    expected_logs: list[str],
    logged: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ "database is locked" was logged again and again."""
    expected_logs.append("history continues in memory")
    monkeypatch.setattr(spool, "BUSY_TIMEOUT", 0.005)
    attempts: list[Path] = []

    def connect(at: Path) -> sqlite3.Connection:
        attempts.append(at)
        return spool.connect(at)

    async with running(queue_on_disk(path, connect=connect)) as broker:
        wanted = add_records(broker.queue, 1, 5)
        await eventually(lambda: len(stored(path)) == 5, "on disk")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM history")
        wanted += add_records(broker.queue, 6, 10)
        # each failed attempt closes the file
        await eventually(lambda: len(attempts) >= 5, "tried several times")
        assert broker.queue.info()["disk"] == "failing"  # type: ignore[index, call-overload]
        other.execute("ROLLBACK")
        other.close()
        await eventually(lambda: stored(path) == wanted, "all on disk")
        assert [line for line in logged(30) if "in memory" in line] == [
            f"history continues in memory: {path}: database is locked; free or repair the disk"
        ]
        broker.connect()
        assert await broker.receive(10) == wanted


async def test_thingsboard_6880_a_flood_of_small_messages_survives(path: Path) -> None:
    """Of 10 messages a second only 40 % survived SQLite."""
    async with running(queue_on_disk(path)) as broker:
        wanted = []
        for number in range(0, 3000, 10):
            wanted += add_records(broker.queue, number + 1, number + 10)
            await asyncio.sleep(0)
        await eventually(lambda: stored(path) == wanted, "all on disk")
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        assert await broker.receive(3000) == wanted


async def test_thingsboard_7060_a_flood_of_long_messages_survives(path: Path) -> None:
    """Of 10 messages of 3000 characters a second, still fewer survived."""
    async with running(queue_on_disk(path, "always", resend=0.0)) as broker:
        wanted = [f"{number} " + "x" * 3000 for number in range(500)]
        broker.connect()
        for payload in wanted:
            broker.queue.add("heat", payload)
            await asyncio.sleep(0)
        assert await broker.receive(500) == wanted
        assert broker.queue.dropped_count == 0


@pytest.mark.parametrize("backlog", [0, 10])
async def test_thingsboard_2155_waiting_takes_no_processor_time(path: Path, backlog: int) -> None:
    """An idle storage took 100 % of a core."""
    async with running(queue_on_disk(path, limits=HistoryLimits(grace=0.0))) as broker:
        add_records(broker.queue, 1, backlog)
        await eventually(lambda: len(stored(path)) == backlog, "on disk")
        if not backlog:
            broker.connect()
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic()
        await asyncio.sleep(0.5)  # the span that is measured
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert used < 0.2 * (time.monotonic() - start)


async def test_thingsboard_2122_memory_while_connected_disk_while_not(path: Path) -> None:
    """Users asked for it there; it is the default here."""
    async with running(queue_on_disk(path, resend=0.0)) as broker:
        broker.connect()
        add_records(broker.queue, 1, 5)
        await broker.receive(5)
        assert stored(path) == []
        await broker.disconnect()
        add_records(broker.queue, 6, 8)
        await eventually(lambda: len(stored(path)) == 3, "on disk")
        broker.connect()
        await broker.receive(3)
        await eventually(lambda: stored(path) == [], "deleted")
        add_records(broker.queue, 9, 12)
        await broker.receive(7)
        assert stored(path) == []
