"""The spool of the history: one SQLite file in WAL mode, one connection, one call at a time.

    history(id INTEGER PRIMARY KEY, meter TEXT, payload TEXT, size INTEGER, acked REAL)

`id` ascends in the order in which the records were made. `acked` is the UTC time (Unix seconds)
at which the broker acknowledged the record, NULL until then. A commit is on the disk when it
returns (synchronous=FULL), so committed records survive a power cut.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.core.files import make_private, set_aside
from kamstrup_mqtt.core.threads import SerialWorker

if TYPE_CHECKING:
    import sqlite3

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

VERSION = 1
FILE = "history.db"
BUSY_TIMEOUT = 5.0
"""Seconds to wait for a lock held by another program, such as the sqlite3 shell."""
FREE_PAGES = 256
"""Unused pages that the file may keep. Beyond that, this many are released at a time."""
_CORRUPT = frozenset({11, 26})
"""SQLITE_CORRUPT and SQLITE_NOTADB (https://sqlite.org/rescode.html)."""

Row = tuple[int, str, str]
"""id, meter, payload."""


class SpoolError(KamstrupMqttError):
    """The records cannot be written or read now. The message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Contents of the file: number of rows, bytes of payload, and the highest id ever used."""

    rows: int = 0
    size: int = 0
    last_id: int = 0


def _import_sqlite() -> None:
    """Import sqlite3 on first use: it takes a megabyte, and most runs never need the spool."""
    global sqlite3
    import sqlite3


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection whose commits are durable."""
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
    """The SQLite file, for one call at a time. Every method raises SpoolError.

    At most `rows` rows and `size` bytes of payload are kept; the oldest rows are dropped first.
    """

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
        """Delete the rows acknowledged before this Unix time and return what is left.

        If there is no file, it is created by the first `append`; an error is raised now only if
        the directory is not writable.
        """
        if not self._path.exists() and os.access(self._path.parent, os.W_OK | os.X_OK):
            return Inventory()
        return self._attempt(lambda database: self._delete_acked(database, acked_before))

    def append(self, rows: Sequence[Row], acked_through: int) -> tuple[Inventory, int]:
        """Commit the rows in one transaction.

        Returns the contents of the file and the number of unacknowledged rows that were dropped
        to stay within the bounds. Rows up to the id `acked_through` count as acknowledged.
        """
        return self._attempt(lambda database: self._append(database, rows, acked_through))

    def read(self, after: int, limit: int) -> list[Row]:
        """Return up to `limit` rows with an id above `after`, oldest first."""

        def select(database: sqlite3.Connection) -> list[Row]:
            return database.execute(
                "SELECT id, meter, payload FROM history WHERE id > ? ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()

        return self._attempt(select)

    def prune(self, acked_through: int, now: float, delete_through: int) -> Inventory:
        """Mark the rows up to `acked_through` as acknowledged and delete those up to
        `delete_through`, in one transaction. Unused pages are returned to the file system."""
        return self._attempt(
            lambda database: self._prune(database, acked_through, now, delete_through)
        )

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`. If the file is corrupt, set it aside and run `work` on a new file."""
        _import_sqlite()
        try:
            try:
                return work(self._open_database())
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", None) not in _CORRUPT:
                    raise
                self._replace_unusable("corrupt", f"is corrupt ({error})")
                return work(self._open_database())
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                self.close()  # reopen it next time: by then another disk may be mounted
            # the file on a full disk stays open: it can be read, but might not open again
            raise SpoolError(f"{self._path}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        """Describe the error. SQLite hides why it cannot open a file; the system call tells."""
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN:
            try:
                with self._path.open("ab"):
                    pass
            except OSError as why:
                return f"{error} ({why.strerror})"
        return str(error)

    def _open_database(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # SQLite raises a better error below
            make_private(self._path)
        self._database = database = self._connect(self._path)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            self._replace_unusable("newer", f"was written by a newer version ({version})")
            return self._open_database()
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            self._replace_unusable("corrupt", f"is corrupt ({found})")
            return self._open_database()
        database.execute(
            "CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY AUTOINCREMENT,"
            " meter TEXT NOT NULL, payload TEXT NOT NULL, size INTEGER NOT NULL, acked REAL)"
        )
        database.execute(f"PRAGMA user_version={VERSION}")
        self._inventory = _count(database)
        return database

    def _replace_unusable(self, reason: str, description: str) -> None:
        """Keep the file and its journal under another name, so that they can be examined."""
        self.close()
        aside = set_aside(self._path, reason, sidecars=("-wal", "-shm"))
        _LOG.warning(
            "%s %s; set aside as %s, a new one is used", self._path, description, aside.name
        )

    def _delete_acked(self, database: sqlite3.Connection, acked_before: float) -> Inventory:
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
            # a commit that succeeded after its time limit is repeated: ignore the rows it stored
            inserted = database.executemany(
                "INSERT OR IGNORE INTO history (id, meter, payload, size) VALUES (?, ?, ?, ?)",
                sized,
            ).rowcount
            if inserted != len(sized):
                counted = _count(database)
                count, size = counted.rows, counted.size
            while count > self._rows or size > self._size:
                gone, freed, lost = _drop_oldest(database, count - self._rows, acked_through)
                count, size, dropped = count - gone, size - freed, dropped + lost
                if not gone:
                    break
        last_id = max([before.last_id, *(row[0] for row in rows)])
        self._inventory = Inventory(count, size, last_id)
        return self._inventory, dropped

    def _prune(
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
        self._inventory = Inventory(before.rows - rows, before.size - int(size), before.last_id)
        free = database.execute("PRAGMA freelist_count").fetchone()[0]
        if free > FREE_PAGES:
            # do not keep a large file after a backlog was delivered. `execute` would run a single
            # step of the vacuum, which frees one page
            pages = FREE_PAGES if self._inventory.rows else free
            database.executescript(
                f"PRAGMA incremental_vacuum({pages}); PRAGMA wal_checkpoint(TRUNCATE)"
            )
        return self._inventory


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
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
    highest = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'history'").fetchone()
    return Inventory(rows, int(size), highest[0] if highest else 0)


def _drop_oldest(
    database: sqlite3.Connection, surplus: int, acked_through: int
) -> tuple[int, int, int]:
    """Delete the `surplus` oldest rows, at least one.

    Returns how many were deleted, their bytes, and how many of them were not acknowledged.
    """
    oldest = database.execute(
        "SELECT id, size, acked FROM history ORDER BY id LIMIT ?", (max(surplus, 1),)
    ).fetchall()
    if not oldest:
        return 0, 0, 0
    database.execute("DELETE FROM history WHERE id <= ?", (oldest[-1][0],))
    lost = sum(1 for id_, _, acked in oldest if acked is None and id_ > acked_through)
    return len(oldest), sum(size for _, size, _ in oldest), lost


class Spool:
    """The asynchronous side of a SpoolFile: every call runs in a daemonic thread, one at a time."""

    def __init__(self, file: SpoolFile) -> None:
        self._file = file
        self._worker = SerialWorker("kamstrup-spool")

    async def open(self, acked_before: float) -> Inventory:
        return await self._worker.run(lambda: self._file.open(acked_before))

    async def append(self, rows: Sequence[Row], acked_through: int) -> tuple[Inventory, int]:
        return await self._worker.run(lambda: self._file.append(rows, acked_through))

    async def read(self, after: int, limit: int) -> list[Row]:
        return await self._worker.run(lambda: self._file.read(after, limit))

    async def prune(self, acked_through: int, now: float, delete_through: int) -> Inventory:
        return await self._worker.run(lambda: self._file.prune(acked_through, now, delete_through))

    async def close(self) -> None:
        await self._worker.run(self._file.close)
