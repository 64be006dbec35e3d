"""Records on their way to the broker: none lost, none changed, in order."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.storage.history import (
    BATCH,
    BEHIND,
    IN_MEMORY,
    MEGABYTES,
    RESEND,
    ROWS,
    History,
    Limits,
    Record,
)
from kamstrup_mqtt.storage.rate_limit import RateLimiter
from kamstrup_mqtt.storage.spool import Spool, SpoolError, SpoolFile, connect
from tests.support.broker import eventually

QUICK = Limits(retry=0.02, disk=2.0, settle=0.01, last=1.0, grace=0.0)


class Broker:
    """Takes records; what it has taken, in order. `hold`: takes them, and acknowledges nothing."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.seen: list[str] = []
        self.held: list[Record] = []
        self.hold = False
        self._task: asyncio.Task[None] | None = None

    async def _take(self) -> None:
        while True:
            record = await self.history.next()
            self.seen.append(record.payload)
            if self.hold:
                self.held.append(record)
            else:
                self.history.acked(record)

    def connect(self) -> None:
        self.history.connected()
        self._task = asyncio.create_task(self._take())

    async def disconnect(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self.history.lost()

    async def until(self, number: int) -> None:
        await eventually(lambda: len(self.seen) >= number, f"{number} seen, {len(self.seen)} now")


Run = Callable[..., contextlib.AbstractAsyncContextManager[Broker]]


@contextlib.asynccontextmanager
async def running(history: History) -> AsyncIterator[Broker]:
    await history.open()
    keeping = asyncio.create_task(history.keep())
    broker = Broker(history)
    try:
        yield broker
    finally:
        await broker.disconnect()
        keeping.cancel()
        await asyncio.wait([keeping])
        await history.close()


def inode(path: Path) -> int:
    return path.stat().st_ino


def on(path: Path, mode: Any = "offline", **options: Any) -> History:
    bounds = {name: options.pop(name) for name in ("rows", "size") if name in options}
    file = {name: options.pop(name) for name in ("connect",) if name in options}
    spool = Spool(SpoolFile(path, **({"rows": 100_000, "size": 64_000_000} | bounds), **file))
    return History(mode, spool, **({"limits": QUICK} | options), **bounds)


def add(history: History, first: int, last: int) -> list[str]:
    payloads = [f"record {n}" for n in range(first, last + 1)]
    for payload in payloads:
        history.add("heat", payload)
    return payloads


def stored(path: Path) -> list[str]:
    """What another program sees in the file, which is made when it is needed."""
    if not path.exists():
        return []
    database = sqlite3.connect(path)
    with contextlib.closing(database), contextlib.suppress(sqlite3.OperationalError):
        return [row[0] for row in database.execute("SELECT payload FROM history ORDER BY id")]
    return []  # it is being made now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def test_the_defaults() -> None:
    assert (ROWS, MEGABYTES, RESEND, BATCH, IN_MEMORY) == (100_000, 64, 60.0, 100, 400)
    assert Limits() == Limits(retry=30.0, disk=10.0, settle=1.0, last=1.5, grace=10.0)


async def test_offline_nothing_is_on_disk_while_all_is_well(path: Path) -> None:
    async with running(on(path)) as broker:
        broker.connect()
        wanted = add(broker.history, 1, 50)
        await broker.until(50)
        assert broker.seen == wanted
        assert broker.history.idle
        assert stored(path) == []


async def test_offline_what_comes_while_the_broker_is_away_is_on_disk(path: Path) -> None:
    async with running(on(path)) as broker:
        wanted = add(broker.history, 1, 1234)
        await eventually(lambda: len(stored(path)) == 1234, "on disk")
        assert broker.history.waiting == 1234
        broker.connect()
        wanted += add(broker.history, 1235, 1240)  # while the others are still being sent
        await broker.until(1240)
        assert broker.seen == wanted
        assert broker.history.waiting == 0


async def test_offline_what_was_not_acknowledged_is_on_disk_first(path: Path) -> None:
    async with running(on(path)) as broker:
        broker.connect()
        broker.hold = True
        wanted = add(broker.history, 1, 20)
        await broker.until(20)
        assert stored(path) == []
        await broker.disconnect()
        wanted += add(broker.history, 21, 22)
        await eventually(lambda: stored(path) == wanted, "on disk, in order")
        broker.seen.clear()
        broker.hold = False
        broker.connect()
        await broker.until(22)
        assert broker.seen == wanted


async def test_at_the_start_the_disk_waits_for_the_first_connection(path: Path) -> None:
    history = on(path, limits=Limits(retry=0.02, settle=0.01, grace=0.3))
    async with running(history) as broker:
        add(history, 1, 5)
        await asyncio.sleep(0.05)
        assert stored(path) == []
        await eventually(lambda: len(stored(path)) == 5, "on disk when none came")
        assert broker.seen == []


async def test_always_a_record_is_on_disk_before_it_is_sent(path: Path) -> None:
    async with running(on(path, "always")) as broker:
        on_disk: list[bool] = []
        take = broker.history.acked

        def acked(record: Record) -> None:
            on_disk.append(record.payload in stored(path))
            take(record)

        broker.history.acked = acked  # type: ignore[method-assign]
        broker.connect()
        wanted = add(broker.history, 1, 30)
        await broker.until(30)
        assert broker.seen == wanted
        assert on_disk == [True] * 30


async def test_memory_never_touches_the_disk(path: Path, expected_logs: list[str]) -> None:
    expected_logs.append("history: 3 records were neither delivered nor stored (spool: memory)")
    async with running(History("memory", limits=QUICK)) as broker:
        add(broker.history, 1, 3)
        await asyncio.sleep(0.05)
        assert list(path.parent.iterdir()) == []


async def test_the_end_stores_what_is_not_delivered(path: Path) -> None:
    async with running(on(path, limits=Limits(grace=60.0, settle=0.01))) as broker:
        broker.connect()
        broker.hold = True
        wanted = add(broker.history, 1, 700)
        await broker.until(20)
    assert stored(path) == wanted
    async with running(on(path)) as broker:
        broker.connect()
        await broker.until(700)
        assert broker.seen == wanted


async def test_delivered_in_order_though_acknowledged_out_of_order(path: Path) -> None:
    async with running(on(path)) as broker:
        broker.connect()
        broker.hold = True
        wanted = add(broker.history, 1, 5)
        await broker.until(5)
        for index in (4, 1, 2):
            broker.history.acked(broker.held[index])
        assert broker.history.delivered == 0
        broker.history.acked(broker.held[0])
        assert broker.history.delivered == 3
        await broker.disconnect()
        await eventually(lambda: len(stored(path)) == 2, "on disk")
        broker.seen.clear()
        broker.hold = False
        broker.connect()
        await broker.until(5)
        assert broker.seen == wanted  # the first three once more: they were delivered just now


async def test_an_acknowledgement_of_an_earlier_connection_counts_no_more(path: Path) -> None:
    async with running(on(path)) as broker:
        broker.connect()
        broker.hold = True
        add(broker.history, 1, 2)
        await broker.until(2)
        await broker.disconnect()
        broker.history.connected()
        broker.history.acked(broker.held[0])
        assert broker.history.delivered == 0


@pytest.mark.parametrize("mode", ["offline", "always", "memory"])
async def test_what_was_delivered_lately_is_sent_again(path: Path, mode: str) -> None:
    now = [1000.0]
    history = on(path, mode, monotonic=lambda: now[0], resend=60.0)
    async with running(history) as broker:
        broker.connect()
        add(history, 1, 3)
        await broker.until(3)
        now[0] += 30
        again = add(history, 4, 6)
        await broker.until(6)
        now[0] += 31
        await asyncio.sleep(0.05)
        await broker.disconnect()
        now[0] += 3600  # an outage does not make them older
        broker.seen.clear()
        broker.connect()
        await broker.until(3)
        assert broker.seen == again
        now[0] += 30
        await asyncio.sleep(0.05)
        await broker.disconnect()
        broker.seen.clear()
        broker.connect()
        wanted = add(history, 7, 7)
        await broker.until(1)
        assert broker.seen == wanted  # sent again only for the 60 s after the first time
        assert history.delivered == 7


@pytest.mark.parametrize("mode", ["offline", "always", "memory"])
async def test_what_was_not_yet_sent_again_does_not_grow_too_old_for_it(
    path: Path, mode: str
) -> None:
    """A broker that dies again and again: found by killing it 200 times."""
    now = [1000.0]
    history = on(path, mode, monotonic=lambda: now[0], resend=60.0)
    async with running(history) as broker:
        broker.connect()
        wanted = add(history, 1, 3)
        await broker.until(3)
        now[0] += 59
        await broker.disconnect()
        broker.hold = True
        for _ in range(3):  # connections on which nothing is acknowledged, or only the first
            broker.seen.clear()
            broker.held.clear()
            broker.connect()
            await broker.until(3)
            assert broker.seen == wanted
            history.acked(broker.held[0])
            now[0] += 30
            await asyncio.sleep(0.05)
            await broker.disconnect()
            wanted = wanted[1:] + add(history, 0, 0)  # the first is old enough now
        broker.seen.clear()
        broker.hold = False
        broker.connect()
        await broker.until(3)
        assert broker.seen == wanted
        now[0] += 0.2  # this broker may fail as well
        await broker.disconnect()
        broker.seen.clear()
        broker.connect()
        await broker.until(3)
        assert broker.seen == wanted
        now[0] += 61
        await asyncio.sleep(0.05)
        await broker.disconnect()
        broker.seen.clear()
        broker.connect()
        last = add(history, 7, 7)
        await broker.until(1)
        assert broker.seen == last


async def test_bounds_in_memory(expected_logs: list[str]) -> None:
    expected_logs.append("history is full")
    expected_logs.append("neither delivered nor stored")
    history = History("memory", rows=10, limits=QUICK)
    async with running(history) as broker:
        wanted = add(history, 1, 25)[15:]
        assert history.dropped == 15
        broker.connect()
        await broker.until(10)
        assert broker.seen == wanted
        assert history.waiting == 0
    history = History("memory", size=100, limits=QUICK)
    async with running(history) as broker:
        add(history, 1, 200)
        assert history.dropped > 180


@pytest.mark.parametrize("mode", ["offline", "memory"])
async def test_a_long_outage_takes_no_memory_for_what_is_not_kept(
    path: Path, mode: str, expected_logs: list[str]
) -> None:
    expected_logs += ["history is full", "neither delivered nor stored"]
    async with running(on(path, mode, rows=100)) as broker:
        broker.connect()
        await broker.disconnect()
        history = broker.history

        async def outage(records: int) -> None:
            for _ in range(records // 500):
                add(history, 1, 500)
                await eventually(lambda: len(history._memory) <= 100, "bounded")

        await outage(12_000)  # until the pace remembers as many arrivals as it ever does
        tracemalloc.start()
        await outage(20_000)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # 40 bytes for each would be 800 kB; the arrivals are new objects, as many as before
        assert grown < 600_000


async def test_telegraf_5536_drops_are_counted_and_said_once(
    path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    """Records were dropped without a word."""
    expected_logs.append("history is full: the oldest records are dropped and counted")
    async with running(on(path, rows=100)) as broker:
        for n in range(10):
            add(broker.history, 50 * n + 1, 50 * n + 50)
            await eventually(lambda: not broker.history._pending(), "stored")
        assert broker.history.dropped == 400
        broker.connect()
        await broker.until(100)
        assert broker.seen == [f"record {n}" for n in range(401, 501)]
        assert broker.history.info()["dropped"] == 400  # type: ignore[index, call-overload]
        assert broker.history.waiting == 0
    assert len([line for line in logged() if "history is full" in line]) == 1
    assert "history is delivered; 400 records were dropped before" in logged()


async def test_telegraf_17200_what_is_being_sent_is_not_what_overflows(
    path: Path, expected_logs: list[str]
) -> None:
    """While a batch was on its way the buffer overflowed, and newer records were dropped."""
    expected_logs.append("history is full")
    async with running(on(path, rows=100)) as broker:
        broker.connect()
        broker.hold = True
        add(broker.history, 1, 100)
        await broker.until(100)
        add(broker.history, 101, 110)
        for record in broker.held:
            broker.history.acked(record)
        broker.hold = False
        await broker.until(110)
        assert broker.seen[-10:] == [f"record {n}" for n in range(101, 111)]


async def test_telegraf_16615_a_buffer_that_was_full_is_sent_when_the_broker_is_back(
    path: Path, expected_logs: list[str]
) -> None:
    """After a downtime that filled it, the buffer was not flushed until a restart."""
    expected_logs.append("history is full")
    async with running(on(path, rows=10, resend=0.0)) as broker:
        for outage in range(1, 4):
            wanted = add(broker.history, 100 * outage + 1, 100 * outage + 25)[-10:]
            await eventually(lambda wanted=wanted: stored(path) == wanted, "the newest")  # type: ignore[misc]
            broker.seen.clear()
            broker.connect()
            await broker.until(10)
            wanted += add(broker.history, 100 * outage + 26, 100 * outage + 30)
            await broker.until(15)
            assert broker.seen == wanted
            assert broker.history.dropped == 15 * outage
            await eventually(lambda: stored(path) == [], "delivered")
            await broker.disconnect()


async def test_telegraf_802_what_waits_outlives_the_process_and_holds_nobody_up(
    path: Path,
) -> None:
    """What an output did not take was in memory only: gone with the process."""
    wanted: list[str] = []
    for run in range(5):
        async with running(on(path)) as broker:
            start = time.monotonic()
            wanted += add(broker.history, 1000 * run + 1, 1000 * run + 200)
            assert time.monotonic() - start < 1.0  # returned at once: no reader waits
            await asyncio.sleep(0.01)
    async with running(on(path)) as broker:
        broker.connect()
        await broker.until(1000)
        assert broker.seen == wanted


async def test_telegraf_16500_only_what_is_not_delivered_is_sent_after_a_restart(
    path: Path,
) -> None:
    """The whole log was sent again at each start."""
    async with running(on(path, "always", resend=0.01)) as broker:
        broker.connect()
        add(broker.history, 1, 300)
        await broker.until(300)
        broker.hold = True
        wanted = add(broker.history, 301, 305)
        await broker.until(305)
        await eventually(lambda: stored(path) == wanted, "the others are deleted")
    async with running(on(path, "always", resend=0.01)) as broker:
        broker.connect()
        await broker.until(5)
        await asyncio.sleep(0.05)
        assert broker.seen == wanted


async def test_telegraf_16314_it_goes_on_for_ever(path: Path) -> None:
    """The disk buffer stopped after a while: a hundred outages, and nothing is left behind."""
    async with running(on(path, resend=0.0)) as broker:
        wanted: list[str] = []
        for n in range(100):
            wanted += add(broker.history, 7 * n + 1, 7 * n + 7)
            broker.connect()
            wanted += add(broker.history, 10_000 + n, 10_000 + n)
            await broker.until(len(wanted))
            await broker.disconnect()
        assert broker.seen == wanted
        broker.connect()
        await eventually(lambda: stored(path) == [], "nothing is left")


async def test_thingsboard_2098_no_duplicates_by_reading_ahead(path: Path) -> None:
    """The next batch was read before the one that was sent was deleted."""
    async with running(on(path, resend=0.0)) as broker:
        wanted = add(broker.history, 1, 5 * BATCH)
        await eventually(lambda: len(stored(path)) == 5 * BATCH, "on disk")
        broker.connect()
        for n in range(5 * BATCH + 1, 5 * BATCH + 200):
            wanted += add(broker.history, n, n)
            await asyncio.sleep(0)
        await broker.until(len(wanted))
        await asyncio.sleep(0.05)
        assert broker.seen == wanted


async def test_thingsboard_2124_the_file_outlives_reconnects(path: Path) -> None:
    """The storage was made anew on each reconnect, with what was in it."""
    async with running(on(path)) as broker:
        wanted = add(broker.history, 1, 300)
        await eventually(lambda: len(stored(path)) == 300, "on disk")
        node = inode(path)
        broker.hold = True
        for _ in range(10):
            broker.connect()
            await asyncio.sleep(0.01)
            await broker.disconnect()
        assert inode(path) == node
        assert stored(path) == wanted
        broker.seen.clear()
        broker.hold = False
        broker.connect()
        await broker.until(300)
        assert broker.seen == wanted


async def test_thingsboard_1446_a_locked_file_does_not_flood(
    path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("history goes on in memory")

    def impatient(at: Path) -> sqlite3.Connection:
        database = connect(at)
        database.execute("PRAGMA busy_timeout=5")
        return database

    async with running(on(path, connect=impatient)) as broker:
        wanted = add(broker.history, 1, 5)
        await eventually(lambda: len(stored(path)) == 5, "on disk")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM history")
        wanted += add(broker.history, 6, 10)
        await eventually(lambda: broker.history.info()["disk"] == "failing", "said")  # type: ignore[index, call-overload]
        await asyncio.sleep(0.2)
        other.execute("ROLLBACK")
        other.close()
        await eventually(lambda: stored(path) == wanted, "all on disk")
        assert [line for line in logged(30) if "in memory" in line] == [
            f"history goes on in memory: {path}: database is locked; free or repair the disk"
        ]
        broker.connect()
        await broker.until(10)
        assert broker.seen == wanted


async def test_thingsboard_6880_ten_messages_a_second_all_survive(path: Path) -> None:
    """Of 10 messages a second only 40 % survived SQLite: here a thousand a second do."""
    async with running(on(path)) as broker:
        wanted = []
        for n in range(0, 3000, 10):
            wanted += add(broker.history, n + 1, n + 10)
            await asyncio.sleep(0.001)
        await eventually(lambda: stored(path) == wanted, "all on disk")
    async with running(on(path)) as broker:
        broker.connect()
        await broker.until(3000)
        assert broker.seen == wanted


async def test_thingsboard_7060_long_payloads_survive_too(path: Path) -> None:
    """SQLite got 40 % of 10 small payloads a second; of 3000 characters each, still fewer."""
    async with running(on(path, "always", resend=0.0)) as broker:
        wanted = [f"{n} " + "x" * 3000 for n in range(500)]
        broker.connect()
        for payload in wanted:
            broker.history.add("heat", payload)
            await asyncio.sleep(0.002)
        await broker.until(500)
        assert broker.seen == wanted
        assert broker.history.dropped == 0


@pytest.mark.parametrize("backlog", [0, 10])
async def test_thingsboard_2155_waiting_costs_nothing(path: Path, backlog: int) -> None:
    """An idle storage took 100 % of a core."""
    async with running(on(path, limits=Limits(grace=0.0))) as broker:
        add(broker.history, 1, backlog)
        if not backlog:
            broker.connect()
        await asyncio.sleep(0.1)
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic()
        await asyncio.sleep(0.5)
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert used < 0.2 * (time.monotonic() - start)


async def test_thingsboard_2122_memory_while_connected_disk_while_not(path: Path) -> None:
    """What users asked for there is the default here."""
    async with running(on(path, resend=0.0)) as broker:
        broker.connect()
        add(broker.history, 1, 5)
        await broker.until(5)
        assert stored(path) == []
        await broker.disconnect()
        add(broker.history, 6, 8)
        await eventually(lambda: len(stored(path)) == 3, "on disk")
        broker.connect()
        await broker.until(8)
        await eventually(lambda: stored(path) == [], "not any more")
        add(broker.history, 9, 12)
        await broker.until(12)
        assert stored(path) == []


async def test_keeping_ends_when_it_is_cancelled_at_any_moment(path: Path) -> None:
    """asyncio.wait_for before Python 3.12 swallows a cancellation that comes with the result."""
    history = on(path, "always")
    await history.open()
    for n in range(300):
        keeping = asyncio.create_task(history.keep())
        add(history, n, n)
        for _ in range(n % 7):
            await asyncio.sleep(0)
        if n % 2:
            await eventually(lambda: not history._pending(), "stored", 5)
        keeping.cancel()
        _, running = await asyncio.wait([keeping], timeout=2)
        assert not running
    await history.close()


class Disk:
    """A disk that fails when told to."""

    def __init__(self) -> None:
        self.fails = False

    def connect(self, at: Path) -> sqlite3.Connection:
        if self.fails:
            raise sqlite3.OperationalError("disk I/O error")
        database = connect(at)
        database.set_progress_handler(lambda: int(self.fails), 1)
        return database


@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_a_disk_that_fails_and_comes_back(
    path: Path, mode: str, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("history goes on in memory")
    disk = Disk()
    async with running(on(path, mode, connect=disk.connect)) as broker:
        disk.fails = True
        wanted = add(broker.history, 1, 10)
        broker.connect()
        await broker.until(10)
        await broker.disconnect()
        wanted += add(broker.history, 11, 20)
        await eventually(lambda: bool(logged(30)), "said")
        disk.fails = False
        await eventually(lambda: stored(path)[-10:] == wanted[10:], "on disk again")
        broker.connect()
        broker.seen.clear()
        await broker.until(20)
        assert broker.seen == wanted
        assert len(logged(30)) == 1
        assert "history: the spool can be written again" in logged()


async def test_a_disk_that_cannot_be_read_when_the_program_starts(
    path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("history goes on in memory")
    async with running(on(path)) as broker:
        old = add(broker.history, 1, 5)
    assert stored(path) == old
    disk = Disk()
    disk.fails = True
    async with running(on(path, connect=disk.connect)) as broker:
        disk.fails = False
        new = [f"new {n}" for n in range(5)]
        for payload in new:
            broker.history.add("heat", payload)
        await eventually(lambda: stored(path) == old + new, "behind the others")
        broker.connect()
        await broker.until(5)
        assert broker.seen[-5:] == new
    assert stored(path)[:5] == old  # nothing is taken for delivered that was not
    async with running(on(path)) as broker:
        broker.connect()
        await broker.until(10)
        assert broker.seen == old + new


async def test_records_on_disk_that_cannot_be_read_for_a_moment_come_in_order(
    path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("history goes on in memory")
    disk = Disk()
    async with running(on(path, connect=disk.connect)) as broker:
        wanted = add(broker.history, 1, 5)
        await eventually(lambda: broker.history.info()["on_disk"] == 5, "on disk, and known to be")
        disk.fails = True
        broker.connect()
        wanted += add(broker.history, 6, 8)
        await eventually(lambda: bool(logged(30)), "said")
        disk.fails = False
        await broker.until(8)
        assert broker.seen == wanted
        assert broker.history.info()["disk"] == "ok"
        assert len(logged(30)) == 1
        assert any(text.endswith("again") for text in logged() if "the spool can be" in text)


async def test_a_disk_that_cannot_be_read_at_two_starts_in_a_row(
    path: Path, expected_logs: list[str]
) -> None:
    """The second run begins 10 s after the first, which made 50 records."""
    expected_logs.append("history goes on in memory")
    disk = Disk()
    async with running(on(path)) as broker:
        wanted = add(broker.history, 0, 0)
    for start, first, last in ((1.7e9, 1, 50), (1.7e9 + 10, 51, 60)):
        disk.fails = True
        history = on(path, connect=disk.connect, wall=lambda start=start: start)
        async with running(history) as broker:
            disk.fails = False
            wanted += add(broker.history, first, last)
            await eventually(lambda: len(stored(path)) >= last + 1, "all of them")  # noqa: B023
    assert stored(path) == wanted


async def test_records_on_disk_that_cannot_be_read_wait_for_the_next_run(
    path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("history goes on in memory")
    disk = Disk()
    async with running(on(path, connect=disk.connect)) as broker:
        old = add(broker.history, 1, 5)
        await eventually(lambda: broker.history.info()["on_disk"] == 5, "on disk, and known to be")
        disk.fails = True
        broker.connect()
        new = add(broker.history, 6, 8)
        await broker.until(3)
        assert broker.seen == new
        disk.fails = False
    async with running(on(path)) as broker:
        broker.connect()
        await broker.until(5)
        assert broker.seen[:5] == old


async def test_a_disk_that_hangs(path: Path, expected_logs: list[str]) -> None:
    expected_logs.append("history goes on in memory: no answer from the disk in 0.1 s")
    expected_logs.append("neither delivered nor stored")

    class Stuck(Spool):
        async def append(self, *_: Any) -> Any:
            await asyncio.Event().wait()

    spool = Stuck(SpoolFile(path, rows=10, size=1000))
    limits = Limits(retry=0.02, disk=0.1, settle=0.01, last=0.2, grace=0.0)
    async with running(History("always", spool, limits=limits)) as broker:
        broker.connect()
        wanted = add(broker.history, 1, 3)
        await broker.until(3)
        assert broker.seen == wanted
        broker.hold = True
        add(broker.history, 4, 4)


def test_the_pace() -> None:
    now = [0.0]
    pace = RateLimiter(lambda: now[0])
    assert pace.rate == 50.0
    waits = []
    for _ in range(100):
        waits.append(pace.reserve_slot())
        now[0] += waits[-1]
    assert now[0] == pytest.approx(99 / 50)
    for _ in range(40):
        pace.record_arrival()
    assert pace.rate == pytest.approx(4 * 40 / now[0])  # since the start
    now[0] += 9
    for _ in range(360):
        pace.record_arrival()
    assert pace.rate == 160.0  # 4 × 40/s over the last 10 s
    now[0] += 11
    assert pace.rate == 50.0
    assert pace.reserve_slot() == 0.0


async def test_spool_errors_name_the_file(path: Path) -> None:
    path = path.parent  # a folder
    with pytest.raises(SpoolError, match=str(path)):
        await Spool(SpoolFile(path, rows=1, size=1)).open(0.0)


async def test_behind_and_catching_up() -> None:
    history = History()
    assert BEHIND == 100
    add(history, 1, 300)
    assert not history.behind  # nobody is there who could take them
    history.connected()
    assert history.behind
    assert history.catching_up
    for _ in range(120):
        history.acked(await history.next())
    assert history.behind
    assert not history.catching_up  # 180 records are what a moment brings
    for _ in range(80):
        history.acked(await history.next())
    assert not history.behind
    history.lost()
    history.connected()
    assert history.catching_up  # all 200 and more are sent again
    assert not history.behind
    for _ in range(120):
        history.acked(await history.next())
    assert not history.catching_up
    history.lost()
    add(history, 301, 500)
    assert not history.behind
