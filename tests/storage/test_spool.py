"""The spool: real SQLite on a real disk; faults by pragmas, flipped bytes and directories."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.storage.spool import (
    BUSY_TIMEOUT,
    FREE_PAGES,
    VERSION,
    Inventory,
    Row,
    Spool,
    SpoolError,
    SpoolFile,
    connect,
)


def rows(first: int, last: int, payload: str = "x" * 10) -> list[Row]:
    return [(id_, "heat", payload) for id_ in range(first, last + 1)]


def make(path: Path, **options: Any) -> SpoolFile:
    return SpoolFile(path, **({"rows": 1000, "size": 1_000_000} | options))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history.db"


def ids(file: SpoolFile, after: int = 0) -> list[int]:
    return [row[0] for row in file.read(after, 10_000)]


def test_constants() -> None:
    assert (VERSION, BUSY_TIMEOUT, FREE_PAGES) == (1, 5.0, 256)


def test_committed_rows_survive_a_kill(path: Path) -> None:
    file = make(path)
    assert file.open(0.0) == Inventory()
    assert file.append(rows(1, 3, "æ"), 0) == (Inventory(3, 6, 3), 0)
    # not closed, as after a kill
    again = make(path)
    assert again.open(0.0) == Inventory(3, 6, 3)
    assert again.read(1, 10) == [(2, "heat", "æ"), (3, "heat", "æ")]
    assert again.read(0, 2) == [(1, "heat", "æ"), (2, "heat", "æ")]
    again.close()
    file.close()


def test_a_commit_is_on_the_disk_when_it_returns(path: Path) -> None:
    path.parent.mkdir()
    database = connect(path)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    database.close()


def test_a_repeated_commit_stores_each_row_once(path: Path) -> None:
    file = make(path)
    file.append(rows(1, 3), 0)
    assert file.append(rows(1, 4), 0) == (Inventory(4, 40, 4), 0)
    assert ids(file) == [1, 2, 3, 4]
    file.close()


def test_the_highest_id_survives_the_deletion_of_all_rows(path: Path) -> None:
    file = make(path)
    file.append(rows(1, 7), 0)
    assert file.prune(7, 1000.0, 7) == Inventory(0, 0, 7)
    file.close()
    again = make(path)
    assert again.open(0.0) == Inventory(0, 0, 7)
    again.close()


def test_opening_deletes_rows_acknowledged_long_ago(path: Path) -> None:
    file = make(path)
    file.append(rows(1, 6), 0)
    file.prune(2, 1000.0, 0)
    file.prune(4, 1050.0, 0)
    file.close()
    again = make(path)
    assert again.open(1001.0) == Inventory(4, 40, 6)
    assert ids(again) == [3, 4, 5, 6]
    again.close()


def test_the_oldest_rows_are_dropped_first(path: Path) -> None:
    file = make(path, rows=5)
    assert file.append(rows(1, 4), 0) == (Inventory(4, 40, 4), 0)
    assert file.append(rows(5, 8), 2) == (Inventory(5, 50, 8), 1)  # 1 and 2 were acknowledged
    assert ids(file) == [4, 5, 6, 7, 8]
    file.close()


def test_the_size_of_the_payloads_is_bounded(path: Path) -> None:
    file = make(path, size=100)
    assert file.append(rows(1, 9), 0) == (Inventory(9, 90, 9), 0)
    assert file.append([(10, "heat", "y" * 45)], 0) == (Inventory(6, 95, 10), 4)
    assert file.append([(11, "heat", "z" * 200)], 0) == (Inventory(0, 0, 11), 7)
    file.close()


def test_a_file_of_a_newer_version_is_set_aside(path: Path, expected_logs: list[str]) -> None:
    expected_logs.append("was written by a newer version (2); set aside as history.db.newer-1")
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=2")
    database.close()
    file = make(path)
    assert file.open(0.0) == Inventory()
    assert path.with_name("history.db.newer-1").exists()
    file.close()


# Bugs reported for other disk buffers, by their number


def test_telegraf_18528_a_corrupt_file_is_set_aside(path: Path, expected_logs: list[str]) -> None:
    """A damaged log made the program panic at each start."""
    expected_logs.append("set aside as history.db.corrupt-")
    for number in (1, 2):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"this is not a database, but it is long enough to be read as one" * 100)
        file = make(path)
        assert file.open(0.0) == Inventory()
        assert file.append(rows(1, 2), 0)[0].rows == 2
        file.close()
        assert path.with_name(f"history.db.corrupt-{number}").exists()


@pytest.mark.parametrize("place", [0, 16, 100, 4096, 5000, 8192, 12_000])
def test_telegraf_18528_flipped_bytes_anywhere_are_noticed(
    path: Path, place: int, expected_logs: list[str]
) -> None:
    expected_logs.append("set aside as history.db.corrupt-1")
    file = make(path)
    file.append(rows(1, 900, "v" * 40), 0)
    file.close()
    content = bytearray(path.read_bytes())
    content[place : place + 64] = bytes(0xFF ^ byte for byte in content[place : place + 64])
    path.write_bytes(content)
    again = make(path)
    again.open(0.0)
    assert again.append(rows(2001, 2002), 0)[0].last_id == 2002
    assert ids(again, 2000) == [2001, 2002]
    again.close()


def test_telegraf_18528_a_file_that_becomes_corrupt_is_set_aside(
    path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("is corrupt (database disk image is malformed); set aside as")

    class Damaged(sqlite3.Connection):
        broken = False

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if self.broken and sql.startswith("SELECT id, meter"):
                error = sqlite3.DatabaseError("database disk image is malformed")
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error
            return super().execute(sql, *args)

    made: list[Damaged] = []

    def connect_damaged(at: Path) -> sqlite3.Connection:
        made.append(
            sqlite3.connect(at, isolation_level=None, check_same_thread=False, factory=Damaged)
        )
        return made[-1]

    file = make(path, connect=connect_damaged)
    file.append(rows(1, 5), 0)
    made[0].broken = True
    assert file.read(0, 10) == []
    assert file.append(rows(6, 7), 0)[0] == Inventory(2, 20, 7)
    file.close()


def test_telegraf_16696_the_file_shrinks_again(path: Path) -> None:
    """The log was never truncated and grew without limit."""
    file = make(path, rows=100_000, size=50_000_000)
    file.append(rows(1, 20_000, "x" * 500), 0)
    large = path.stat().st_size
    assert large > 10_000_000
    file.prune(20_000, 0.0, 20_000)
    file.close()
    assert path.stat().st_size < 100_000


def test_telegraf_16696_a_steady_flow_takes_constant_space(path: Path) -> None:
    file = make(path)
    largest = []
    for n in range(1, 40):
        file.append(rows(100 * n + 1, 100 * n + 100, "x" * 200), 0)
        file.prune(100 * n + 100, 0.0, 100 * n + 50)
        largest.append(path.stat().st_size)
    file.close()
    assert max(largest[20:]) <= max(largest[:20])


def test_thingsboard_1446_a_locked_file_is_an_error_not_a_loop(path: Path) -> None:
    """A second connection with an open transaction caused a flood of "database is locked"."""

    def impatient(at: Path) -> sqlite3.Connection:
        database = connect(at)
        database.execute("PRAGMA busy_timeout=50")
        return database

    file = make(path, connect=impatient)
    file.append(rows(1, 2), 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM history")
    with pytest.raises(SpoolError, match="database is locked"):
        file.append(rows(3, 4), 0)
    other.execute("ROLLBACK")
    other.close()
    assert file.append(rows(3, 4), 0)[0].rows == 4
    file.close()


async def test_thingsboard_1446_one_connection_and_one_call_at_a_time(path: Path) -> None:
    """ "database is locked" came from a second connection of the same program."""
    connections: list[sqlite3.Connection] = []
    in_use = threading.Lock()

    def connect_once(at: Path) -> sqlite3.Connection:
        assert threading.current_thread() is not threading.main_thread()
        connections.append(connect(at))
        return connections[-1]

    class SingleUse(SpoolFile):
        def append(self, *args: Any) -> tuple[Inventory, int]:
            assert in_use.acquire(blocking=False)
            try:
                return super().append(*args)
            finally:
                in_use.release()

    spool = Spool(SingleUse(path, rows=1000, size=1_000_000, connect=connect_once))
    await spool.open(0.0)
    await asyncio.gather(*(spool.append(rows(n, n), 0) for n in range(1, 21)))
    assert [row[0] for row in await spool.read(0, 100)] == list(range(1, 21))
    await spool.prune(20, 0.0, 10)
    assert len(connections) == 1
    await spool.close()
    await spool.close()  # nothing is left to close


def test_a_commit_on_a_full_disk_fails_as_a_whole(path: Path) -> None:
    def small(at: Path) -> sqlite3.Connection:
        database = connect(at)
        database.execute("PRAGMA max_page_count=20")
        return database

    file = make(path, connect=small)
    file.append(rows(1, 2), 0)
    with pytest.raises(SpoolError, match="full"):
        file.append(rows(3, 900, "x" * 1000), 0)
    assert ids(file) == [1, 2]  # all of it, or nothing
    file.close()


def test_the_file_is_reopened_after_a_read_only_disk(path: Path) -> None:
    made: list[sqlite3.Connection] = []

    def connect_and_keep(at: Path) -> sqlite3.Connection:
        made.append(connect(at))
        return made[-1]

    file = make(path, connect=connect_and_keep)
    file.append(rows(1, 2), 0)
    made[0].execute("PRAGMA query_only=1")
    with pytest.raises(SpoolError, match="readonly"):
        file.append(rows(3, 4), 0)
    assert file.append(rows(3, 4), 0)[0].rows == 4  # reopened
    file.close()


def test_a_path_that_cannot_be_a_file_raises_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(SpoolError, match="unable to open database file"):
        make(path).open(0.0)
    path.parent.joinpath("file").write_text("")
    with pytest.raises(SpoolError):
        make(path.parent / "file" / "history.db").open(0.0)


def test_the_first_commit_creates_the_file(path: Path) -> None:
    path.parent.mkdir()
    file = make(path)
    assert file.open(0.0) == Inventory()
    assert not path.exists()
    assert file.append(rows(1, 2), 0)[0].rows == 2
    assert path.exists()
    file.close()


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_file_is_private(path: Path, before: int | None) -> None:
    """Readings show when people are at home. A file of an earlier version is restricted too."""
    if before is not None:
        path.parent.mkdir()
        path.touch(before)
    file = make(path)
    file.append(rows(1, 3), 0)
    for name in ("history.db", "history.db-wal", "history.db-shm"):
        assert stat.S_IMODE(path.with_name(name).stat().st_mode) == 0o600
    file.close()


def test_a_missing_directory_that_cannot_be_created_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()  # a file where the directory should be
    with pytest.raises(SpoolError, match="taken"):
        make(tmp_path / "taken" / "history.db").open(0.0)
