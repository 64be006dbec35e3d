"""The history queue: no record is lost or changed, and their order is kept."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from pathlib import Path

import pytest

from kamstrup_mqtt.storage.history.buffer import Record
from kamstrup_mqtt.storage.history.queue import MAX_BACKLOG, HistoryQueue
from kamstrup_mqtt.storage.history.settings import (
    DEFAULT_MEGABYTES,
    DEFAULT_RESEND,
    DEFAULT_ROWS,
    SpoolMode,
)
from kamstrup_mqtt.storage.history.spooler import MAX_UNSPOOLED, READ_BATCH, HistoryLimits
from tests.support.broker import eventually
from tests.support.history_queue import (
    QUICK,
    add_records,
    queue_on_disk,
    running,
    stored,
)


def test_defaults() -> None:
    assert (DEFAULT_ROWS, DEFAULT_MEGABYTES, DEFAULT_RESEND) == (100_000, 64, 60.0)
    assert (READ_BATCH, MAX_UNSPOOLED, MAX_BACKLOG) == (100, 400, 100)
    assert HistoryLimits() == HistoryLimits(
        retry=30.0, disk=10.0, prune=1.0, last_commit=1.5, grace=10.0
    )


async def test_offline_mode_stores_nothing_while_the_broker_acknowledges(path: Path) -> None:
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        wanted = add_records(broker.queue, 1, 50)
        assert await broker.receive(50) == wanted
        assert broker.queue.is_drained
    assert list(path.parent.iterdir()) == []


async def test_offline_mode_stores_records_while_the_broker_is_away(path: Path) -> None:
    async with running(queue_on_disk(path)) as broker:
        wanted = add_records(broker.queue, 1, 1234)
        await eventually(lambda: len(stored(path)) == 1234, "on disk")
        assert broker.queue.waiting_count == 1234
        broker.connect()
        wanted += add_records(broker.queue, 1235, 1240)  # while the stored ones are being sent
        assert await broker.receive(1240) == wanted
        assert broker.queue.waiting_count == 0


async def test_offline_mode_stores_unacknowledged_records_before_newer_ones(path: Path) -> None:
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        broker.holds_acks = True
        wanted = add_records(broker.queue, 1, 20)
        await broker.receive(20)
        assert stored(path) == []
        await broker.disconnect()
        wanted += add_records(broker.queue, 21, 22)
        await eventually(lambda: stored(path) == wanted, "on disk, in order")
        broker.holds_acks = False
        broker.connect()
        assert await broker.receive(22) == wanted


async def test_nothing_is_stored_while_the_first_connection_is_expected(path: Path) -> None:
    start = time.monotonic()
    limits = HistoryLimits(retry=0.02, prune=0.01, grace=0.3)
    async with running(queue_on_disk(path, limits=limits)) as broker:
        add_records(broker.queue, 1, 5)
        await eventually(lambda: len(stored(path)) == 5, "on disk without a connection")
        assert time.monotonic() - start >= 0.3
        assert broker.seen == []


async def test_always_mode_stores_a_record_before_it_is_sent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(queue_on_disk(path, "always")) as broker:
        was_stored: list[bool] = []
        acknowledge = broker.queue.acknowledge

        def check(record: Record) -> None:
            was_stored.append(record.payload in stored(path))
            acknowledge(record)

        monkeypatch.setattr(broker.queue, "acknowledge", check)
        broker.connect()
        wanted = add_records(broker.queue, 1, 30)
        assert await broker.receive(30) == wanted
        assert was_stored == [True] * 30


async def test_memory_mode_never_touches_the_disk(path: Path, expected_logs: list[str]) -> None:
    expected_logs.append("history: 3 records were neither delivered nor stored (spool: memory)")
    async with running(queue_on_disk(path, "memory")) as broker:
        broker.connect()
        add_records(broker.queue, 1, 2)
        await broker.receive(2)
        await broker.disconnect()
        add_records(broker.queue, 3, 5)
    assert list(path.parent.iterdir()) == []


async def test_closing_stores_the_undelivered_records_for_the_next_run(path: Path) -> None:
    limits = HistoryLimits(grace=60.0, prune=0.01)
    async with running(queue_on_disk(path, limits=limits)) as broker:
        broker.connect()
        broker.holds_acks = True
        wanted = add_records(broker.queue, 1, 700)
        await broker.receive(20)
    assert stored(path) == wanted
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        assert await broker.receive(700) == wanted


async def test_closing_stores_records_although_a_connection_is_still_expected(path: Path) -> None:
    queue = queue_on_disk(path, limits=HistoryLimits(grace=60.0))
    await queue.open()
    wanted = add_records(queue, 1, 5)
    await queue.close()
    assert stored(path) == wanted


async def test_acknowledgements_out_of_order_deliver_in_order(path: Path) -> None:
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        broker.holds_acks = True
        wanted = add_records(broker.queue, 1, 5)
        await broker.receive(5)
        for index in (4, 1, 2):
            broker.queue.acknowledge(broker.unacked[index])
        assert broker.queue.delivered_count == 0
        broker.queue.acknowledge(broker.unacked[0])
        assert broker.queue.delivered_count == 3
        await broker.disconnect()
        await eventually(lambda: stored(path) == wanted[3:], "the undelivered ones are on disk")
        broker.holds_acks = False
        broker.connect()
        assert await broker.receive(5) == wanted  # the first three were delivered just before


async def test_acknowledgements_of_an_earlier_connection_are_ignored(path: Path) -> None:
    async with running(queue_on_disk(path)) as broker:
        broker.connect()
        broker.holds_acks = True
        add_records(broker.queue, 1, 2)
        await broker.receive(2)
        (first, _) = broker.unacked
        await broker.disconnect()
        broker.queue.begin_connection()
        broker.queue.acknowledge(first)
        assert broker.queue.delivered_count == 0


async def test_drain_waits_until_the_last_record_is_delivered_but_not_forever() -> None:
    queue = HistoryQueue(limits=QUICK)
    queue.begin_connection()
    add_records(queue, 1, 2)
    records = [await queue.next_record(), await queue.next_record()]
    await queue.drain(0.01)
    assert not queue.is_drained
    draining = asyncio.create_task(queue.drain(60))
    for record in records:
        await asyncio.sleep(0)
        assert not draining.done()
        queue.acknowledge(record)
    await asyncio.wait_for(draining, 5)
    assert queue.is_drained
    queue.begin_connection()
    again = await queue.next_record()
    assert not queue.is_drained  # the broker may have forgotten what is sent again
    queue.acknowledge(again)
    assert queue.is_drained


async def test_memory_is_bounded_by_records_and_size(expected_logs: list[str]) -> None:
    expected_logs += ["history is full", "neither delivered nor stored"]
    queue = HistoryQueue("memory", rows=10, limits=QUICK)
    async with running(queue) as broker:
        wanted = add_records(queue, 1, 25)[15:]
        assert queue.dropped_count == 15
        broker.connect()
        assert await broker.receive(10) == wanted
        assert queue.waiting_count == 0
    queue = HistoryQueue("memory", size=100, limits=QUICK)
    async with running(queue) as broker:
        wanted = add_records(queue, 101, 300)[-10:]  # 10 characters each
        assert queue.dropped_count == 190
        broker.connect()
        assert await broker.receive(10) == wanted
        await broker.disconnect()
        queue.add("heat", "too long" * 20)
        assert queue.dropped_count == 191


@pytest.mark.parametrize("mode", ["offline", "memory"])
async def test_memory_does_not_grow_in_a_long_outage(
    path: Path, mode: SpoolMode, expected_logs: list[str]
) -> None:
    expected_logs += ["history is full", "neither delivered nor stored"]
    async with running(queue_on_disk(path, mode, rows=100)) as broker:
        broker.connect()
        await broker.disconnect()
        queue = broker.queue

        async def outage(records: int) -> None:
            for _ in range(records // 500):
                add_records(queue, 1, 500)
                await eventually(lambda: len(queue._buffer) <= 100, "bounded")

        await outage(12_000)  # until the rate limiter keeps as many arrivals as it ever does
        tracemalloc.start()
        await outage(20_000)
        growth, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # 40 bytes for each record would be 800 kB; the arrivals are new objects, as many as before
        assert growth < 600_000


async def test_the_queue_knows_when_it_is_backlogged_and_when_it_replays() -> None:
    queue = HistoryQueue()
    add_records(queue, 1, 300)
    assert not queue.is_backlogged  # no broker is connected that could take them
    queue.begin_connection()
    assert queue.is_backlogged
    assert queue.is_replaying
    for _ in range(120):
        queue.acknowledge(await queue.next_record())
    assert queue.is_backlogged
    assert not queue.is_replaying  # 180 records may have been made at the same moment
    for _ in range(80):
        queue.acknowledge(await queue.next_record())
    assert not queue.is_backlogged
    queue.end_connection()
    queue.begin_connection()
    assert queue.is_replaying  # the 200 delivered ones are sent again
    assert not queue.is_backlogged
    for _ in range(120):
        queue.acknowledge(await queue.next_record())
    assert not queue.is_replaying
    queue.end_connection()
    add_records(queue, 301, 500)
    assert not queue.is_backlogged


async def test_running_ends_when_it_is_cancelled_at_any_moment(path: Path) -> None:
    """asyncio.wait_for before Python 3.12 swallows a cancellation that comes with the result."""
    queue = queue_on_disk(path, "always")
    await queue.open()
    for number in range(300):
        task = asyncio.create_task(queue.run())
        add_records(queue, number, number)
        for _ in range(number % 7):
            await asyncio.sleep(0)
        if number % 2:
            await eventually(lambda: not queue._buffer.unacked_count, "stored", 5)
        task.cancel()
        _, still_running = await asyncio.wait([task], timeout=2)
        assert not still_running
    await queue.close()
