"""The disk under the history: one SQLite file in WAL mode, one connection, one thread.

    history(id INTEGER PRIMARY KEY, meter TEXT, payload TEXT, size INTEGER, acked REAL)

`id` ascends in the order in which the records were made; `acked` is the UTC time (Unix seconds)
at which the broker acknowledged the record, NULL until then. A commit is on the disk when it
returns (synchronous=FULL): what was promised survives a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.core.files import make_private, set_aside

if TYPE_CHECKING:
    import sqlite3

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

VERSION = 1
FILE = "history.db"
BUSY_TIMEOUT = 5.0
"""Seconds to wait for a lock: somebody may look into the file with another program."""
FREE_PAGES = 256
"""Unused pages that the file may keep; more are given back, as many at a time."""
_CORRUPT = frozenset({11, 26})
"""SQLITE_CORRUPT and SQLITE_NOTADB (https://sqlite.org/rescode.html)."""

Row = tuple[int, str, str]
"""id, meter, payload."""


class SpoolError(KamstrupMqttError):
    """The disk does not take or give the records now; the message says why."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is in the file: rows, their bytes, the highest id ever used."""

    rows: int = 0
    size: int = 0
    last: int = 0


def _load() -> None:
    """Take sqlite3 in when the disk is used: most runs never do, and it takes a megabyte."""
    global sqlite3
    import sqlite3


def connect(path: Path) -> sqlite3.Connection:
    """The connection, with everything that makes a commit durable."""
    database = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("PRAGMA auto_vacuum=INCREMENTAL")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        database.close()
        raise
    return database


class SpoolFile:
    """The file, for one thread. Every method raises SpoolError. Bounded by `rows` and `size`
    (bytes of payload): the oldest go first."""

    def __init__(
        self,
        path: Path,
        *,
        rows: int,
        size: int,
        connect: Callable[[Path], sqlite3.Connection] = connect,
    ) -> None:
        self._path = path
        self._rows = rows
        self._size = size
        self._connect = connect
        self._database: sqlite3.Connection | None = None
        self._inventory = Inventory()

    def open(self, acked_before: float) -> Inventory:
        """Look into the file. Rows acknowledged before that time (Unix seconds) are deleted. Where
        there is none, and one can be made, that waits until it is needed."""
        if not self._path.exists() and os.access(self._path.parent, os.W_OK | os.X_OK):
            return Inventory()
        return self._attempt(lambda database: self._tidy(database, acked_before))

    def append(self, rows: Sequence[Row], acked_through: int) -> tuple[Inventory, int]:
        """Commit the rows, in one transaction; what is there now, and how many rows that were not
        acknowledged had to go."""
        return self._attempt(lambda database: self._append(database, rows, acked_through))

    def read(self, after: int, limit: int) -> list[Row]:
        """The oldest rows with a higher id."""

        def select(database: sqlite3.Connection) -> list[Row]:
            return database.execute(
                "SELECT id, meter, payload FROM history WHERE id > ? ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()

        return self._attempt(select)

    def settle(self, acked_through: int, now: float, delete_through: int) -> Inventory:
        """Note what was acknowledged, delete what need not be sent again; in one transaction."""
        return self._attempt(
            lambda database: self._settle(database, acked_through, now, delete_through)
        )

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Carry `work` out; a corrupt file is set aside, and the work is for a new one."""
        _load()
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", None) not in _CORRUPT:
                    raise
                self._replace_unusable("corrupt", f"is corrupt ({error})")
                return work(self._opened())
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                self.close()  # opened anew next time: the disk may be another one then
            # a full disk can still be read, but no file on it opened
            raise SpoolError(f"{self._path}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        """SQLite does not tell why it cannot open a file; the system does."""
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN:
            try:
                with self._path.open("ab"):
                    pass
            except OSError as why:
                return f"{error} ({why.strerror})"
        return str(error)

    def _opened(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # SQLite says why
            make_private(self._path)
        self._database = database = self._connect(self._path)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            self._replace_unusable("newer", f"was written by a newer version ({version})")
            return self._opened()
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            self._replace_unusable("corrupt", f"is corrupt ({found})")
            return self._opened()
        database.execute(
            "CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY AUTOINCREMENT,"
            " meter TEXT NOT NULL, payload TEXT NOT NULL, size INTEGER NOT NULL, acked REAL)"
        )
        database.execute(f"PRAGMA user_version={VERSION}")
        self._inventory = _count(database)
        return database

    def _replace_unusable(self, reason: str, description: str) -> None:
        """Keep the file and its journal under another name, for whoever examines them."""
        self.close()
        aside = set_aside(self._path, reason, sidecars=("-wal", "-shm"))
        _LOG.warning(
            "%s %s; set aside as %s, going on with a new one", self._path, description, aside.name
        )

    def _tidy(self, database: sqlite3.Connection, acked_before: float) -> Inventory:
        with _transaction(database):
            database.execute("DELETE FROM history WHERE acked < ?", (acked_before,))
        self._inventory = _count(database)
        return self._inventory

    def _append(
        self, database: sqlite3.Connection, rows: Sequence[Row], acked_through: int
    ) -> tuple[Inventory, int]:
        sized = [(*row, len(row[2].encode())) for row in rows]
        before = self._inventory
        count, size = before.rows + len(sized), before.size + sum(row[3] for row in sized)
        dropped = 0
        with _transaction(database):
            # a commit whose success was not heard of in time is repeated: the same row, once
            known = database.executemany(
                "INSERT OR IGNORE INTO history (id, meter, payload, size) VALUES (?, ?, ?, ?)",
                sized,
            ).rowcount
            if known != len(sized):
                counted = _count(database)
                count, size = counted.rows, counted.size
            while count > self._rows or size > self._size:
                gone, freed, lost = _drop_oldest(database, count - self._rows, acked_through)
                count, size, dropped = count - gone, size - freed, dropped + lost
                if not gone:
                    break
        last = max([before.last, *(row[0] for row in rows)])
        self._inventory = Inventory(count, size, last)
        return self._inventory, dropped

    def _settle(
        self, database: sqlite3.Connection, acked_through: int, now: float, delete_through: int
    ) -> Inventory:
        before = self._inventory
        with _transaction(database):
            database.execute(
                "UPDATE history SET acked = ? WHERE id <= ? AND acked IS NULL", (now, acked_through)
            )
            rows, size = database.execute(
                "SELECT count(*), total(size) FROM history WHERE id <= ?", (delete_through,)
            ).fetchone()
            database.execute("DELETE FROM history WHERE id <= ?", (delete_through,))
        self._inventory = Inventory(before.rows - rows, before.size - int(size), before.last)
        free = database.execute("PRAGMA freelist_count").fetchone()[0]
        if free > FREE_PAGES:
            # a backlog that was delivered leaves no large file behind; a script, because
            # `execute` makes one step only, which is one page
            pages = FREE_PAGES if self._inventory.rows else free
            database.executescript(
                f"PRAGMA incremental_vacuum({pages}); PRAGMA wal_checkpoint(TRUNCATE)"
            )
        return self._inventory


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Any:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def _count(database: sqlite3.Connection) -> Inventory:
    rows, size = database.execute("SELECT count(*), total(size) FROM history").fetchone()
    used = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'history'").fetchone()
    return Inventory(rows, int(size), used[0] if used else 0)


def _drop_oldest(
    database: sqlite3.Connection, surplus: int, acked_through: int
) -> tuple[int, int, int]:
    """Delete at least one of the oldest rows: how many, their bytes, how many were not
    acknowledged."""
    oldest = database.execute(
        "SELECT id, size, acked FROM history ORDER BY id LIMIT ?", (max(surplus, 1),)
    ).fetchall()
    if not oldest:
        return 0, 0, 0
    database.execute("DELETE FROM history WHERE id <= ?", (oldest[-1][0],))
    lost = sum(1 for id_, _, acked in oldest if acked is None and id_ > acked_through)
    return len(oldest), sum(size for _, size, _ in oldest), lost


class Spool:
    """The file from the loop's side: every call runs in the one thread that has the connection.

    The thread is daemonic: a disk that hangs must not hold the end of the program.
    """

    def __init__(self, file: SpoolFile) -> None:
        self._file = file
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def open(self, acked_before: float) -> Inventory:
        return await self._run(lambda: self._file.open(acked_before))

    async def append(self, rows: Sequence[Row], acked_through: int) -> tuple[Inventory, int]:
        return await self._run(lambda: self._file.append(rows, acked_through))

    async def read(self, after: int, limit: int) -> list[Row]:
        return await self._run(lambda: self._file.read(after, limit))

    async def settle(self, acked_through: int, now: float, delete_through: int) -> Inventory:
        return await self._run(lambda: self._file.settle(acked_through, now, delete_through))

    async def close(self) -> None:
        """Close the file and end the thread."""
        if self._thread is not None:
            await self._run(self._file.close)
            self._jobs.put(None)
            self._thread = None

    async def _run(self, work: Callable[[], T]) -> T:
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()

        def job() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                done.set_exception(error)
            else:
                done.set_result(result)

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="kamstrup-spool", daemon=True)
            self._thread.start()
        self._jobs.put(job)
        return await asyncio.wrap_future(done)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
