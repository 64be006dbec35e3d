"""Every reading as a record of its own, kept until the broker has it.

A record lives in one place: in memory, or in the spool. It is handed out oldest first, several at
a time, and counts as delivered once it and all before it are acknowledged. What was acknowledged
shortly before a connection was lost is sent again on the next: a broker that was killed may have
forgotten it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.storage.rate_limit import RateLimiter
from kamstrup_mqtt.storage.spool import Inventory, Row, Spool, SpoolError

_LOG = logging.getLogger(__name__)

Mode: TypeAlias = Literal["offline", "always", "memory"]

ROWS, MEGABYTES, RESEND = 100_000, 64, 60.0
"""The defaults of the configuration: records and bytes kept, seconds sent again."""
AGAIN = 0.25
"""Seconds that a record which was sent again may still have to be, should this broker fail too."""
BATCH = 100
"""Records read from the spool at once."""
IN_MEMORY = 400
"""Records that may wait in memory while the broker acknowledges; more go to the spool."""
BEHIND = 100
"""Records that may wait while a broker is there that takes them, before the readers are slowed."""
COMMIT = 500
"""Records in one commit."""
READS = 5
"""How often records on a disk that fails are asked for, before they are left for the next run."""


@dataclass(slots=True)
class Record:
    """One record on its way. `acked`: connected seconds at which it was acknowledged."""

    id: int
    meter: str
    payload: str
    acked: float | None = None

    @property
    def row(self) -> Row:
        return self.id, self.meter, self.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds. `retry`: from a disk that fails to the next try; `disk`: for one access;
    `settle`: from one tidying to the next; `last`: for the last commit; `grace`: after the start,
    for the first connection, before the disk is used because there is none."""

    retry: float = 30.0
    disk: float = 10.0
    settle: float = 1.0
    last: float = 1.5
    grace: float = 10.0


class History:
    """The records that are not delivered yet. `add` returns at once; nobody waits for the disk.

    offline  in memory while the broker acknowledges, on disk as soon as it does not
    always   on disk before it is sent
    memory   never on disk
    """

    def __init__(
        self,
        mode: Mode = "memory",
        spool: Spool | None = None,
        *,
        rows: int = ROWS,
        size: int = MEGABYTES * 1_000_000,
        resend: float = RESEND,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boot: str | None = None,
    ) -> None:
        self.boot = boot or uuid.uuid4().hex[:16]
        self.pace = RateLimiter(monotonic)
        self.dropped = 0
        self.delivered = 0
        self._mode: Mode = mode if spool is not None else "memory"
        self._spool = spool
        self._rows, self._size, self._resend = rows, size, resend
        self._limits = limits or Limits()
        self._monotonic, self._wall = monotonic, wall
        self._memory: dict[int, Record] = {}  # ascending
        self._unacked = 0  # of those in memory
        self._bytes = 0
        self._last = 0  # the newest id
        self._stored = Inventory()
        self._failing = False
        self._full = False
        self._unreadable = 0  # reads in a row that failed
        self._unread = False  # records on disk are left for the next run
        self._taken = 0
        self._wake = asyncio.Event()  # something may be sent
        self._progress = asyncio.Event()
        self._store = asyncio.Event()  # something may have to be stored
        # of one connection
        self._connected: float | None = None
        self._started = monotonic()
        self._waiting_for_first = True
        self._before = 0.0  # connected seconds of earlier connections
        self._cursor = 0  # the newest id handed out
        self._unsent: deque[int] = deque()  # ids in memory, not handed out
        self._loaded: deque[Record] = deque()  # from the spool, not handed out
        self._window: dict[int, bool] = {}  # handed out -> acknowledged
        # delivered: id and until when it may have to be sent again; ascending
        self._recent: dict[int, float] = {}
        self._confirmed = 0  # delivered on this connection up to this id
        self._through = 0  # delivered up to this id
        self._expired = 0  # delivered long enough ago up to this id
        self._settled = (0, 0)  # delivered and expired, as the disk knows it

    # Coming in

    def add(self, meter: str, payload: str) -> None:
        """Take a record; its payload is never changed."""
        self._last += 1
        self._taken += 1
        self.pace.record_arrival()
        record = Record(self._last, meter, payload)
        self._memory[record.id] = record
        self._unacked += 1
        self._bytes += len(payload)
        if self._connected is not None:  # else `connected` finds it
            self._unsent.append(record.id)
        self._bound_memory()
        self._wake.set()
        if self._may_be_pending:
            self._store.set()

    def _bound_memory(self) -> None:
        while len(self._memory) > self._rows or self._bytes > self._size:
            record = self._memory[next(iter(self._memory))]
            if record.acked is None:
                self._count_dropped(1)
            self._forget(record)

    def _forget(self, record: Record) -> None:
        del self._memory[record.id]
        self._bytes -= len(record.payload)
        if record.acked is None:
            self._unacked -= 1

    def _count_dropped(self, number: int) -> None:
        self.dropped += number
        if number and not self._full:
            self._full = True
            _LOG.warning(
                "history is full: the oldest records are dropped and counted until the broker"
                " takes them; spool.rows and spool.megabytes allow more"
            )

    # Going out

    def connected(self) -> None:
        """A connection is there: what was delivered last, and then the rest, is sent."""
        self._connected = self._monotonic()
        self._waiting_for_first = False
        self._window.clear()
        self._loaded.clear()
        self._expire()
        self._cursor = next(iter(self._recent)) - 1 if self._recent else self._through
        self._confirmed = self._cursor
        self._unsent = deque(id_ for id_ in self._memory if id_ > self._cursor)
        self._wake.set()
        self._store.set()

    def lost(self) -> None:
        """The connection is gone: what was not acknowledged goes to the spool."""
        self._before = self._clock()
        self._connected = None
        self._waiting_for_first = False
        self._store.set()

    def _clock(self) -> float:
        """Connected seconds: while nobody is there, nothing grows too old to be sent again."""
        if self._connected is None:
            return self._before
        return self._before + self._monotonic() - self._connected

    async def next(self) -> Record:
        """The oldest record that was not handed out on this connection, when there is one."""
        while True:
            record = await self._oldest()
            if record is not None:
                self._cursor = record.id
                self._window[record.id] = False
                return record
            self._wake.clear()
            await self._wake.wait()

    async def _oldest(self) -> Record | None:
        while not self._loaded and self._cursor < self._stored.last:
            await self._load()
        while self._unsent and self._unsent[0] not in self._memory:
            self._unsent.popleft()  # in the spool now, or dropped
        first = self._memory[self._unsent[0]] if self._unsent else None
        if self._loaded and (first is None or self._loaded[0].id < first.id):
            return self._loaded.popleft()
        if first is not None and first.id <= self._cursor:
            self._unsent.popleft()
            return await self._oldest()
        if first is None or not self._may_send(first):
            return None
        self._unsent.popleft()
        return first

    def _may_send(self, record: Record) -> bool:
        return self._mode != "always" or self._failing or record.acked is not None

    async def _load(self) -> None:
        assert self._spool is not None  # something was stored
        last = self._stored.last
        try:
            async with asyncio.timeout(self._limits.disk):
                rows = await self._spool.read(self._cursor, BATCH)
        except (SpoolError, TimeoutError) as error:
            self._say_failing(error)
            self._unreadable += 1
            if self._unreadable < READS:  # a card that is busy; later ones must not overtake them
                await asyncio.sleep(self._limits.retry)
                return
            # they stay there for the next run of the program; what comes goes on
            self._unread = True
            rows = []
        else:
            if self._unreadable and self._failing:
                self._failing = False
                _LOG.info("history: the spool can be read again")
            self._unreadable = 0
        self._loaded.extend(Record(*row) for row in rows if row[0] > self._cursor)
        if not self._loaded and self._stored.last == last:
            # nothing more there: dropped, or deleted
            self._stored = Inventory(self._stored.rows, self._stored.size, self._cursor)

    def acked(self, record: Record) -> None:
        """The broker has it. Delivered in order: one that is not acknowledged yet holds up those
        behind it, and nothing else."""
        if record.id not in self._window:
            return  # of an earlier connection
        self._window[record.id] = True
        while self._window:
            id_ = next(iter(self._window))
            if not self._window[id_]:
                return
            del self._window[id_]
            self._deliver(id_)

    def _deliver(self, id_: int) -> None:
        now = self._clock()
        self._confirmed = id_
        if id_ <= self._through:  # sent again, and this broker may fail as the one before it did
            if id_ in self._recent:
                self._recent[id_] = max(self._recent[id_], now + min(self._resend, AGAIN))
            return
        self._through = id_
        self._recent[id_] = now + self._resend
        self._progress.set()
        self.delivered += 1
        record = self._memory.get(id_)
        if record is not None and record.acked is None:
            record.acked = now
            self._unacked -= 1
        if self._full and self.idle:
            self._full = False
            _LOG.info("history is delivered; %d records were dropped before", self.dropped)

    async def finish(self, limit: float) -> None:
        """Wait until everything is delivered, but not longer than `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not self.idle:
                    self._progress.clear()
                    await self._progress.wait()

    @property
    def idle(self) -> bool:
        """Whether everything that was added is delivered."""
        return self._through >= self._last and not self._window

    @property
    def behind(self) -> bool:
        """Whether records come faster than the broker, which is there, takes them."""
        return self._connected is not None and self._unacked > BEHIND

    @property
    def catching_up(self) -> bool:
        """Whether what is sent now has waited for long, and so is to be sent at a `pace`."""
        return (
            bool(self._loaded)
            or self._cursor < self._stored.last
            or len(self._unsent) > 2 * BEHIND  # what is sent again among them
        )

    @property
    def waiting(self) -> int:
        """Records that are not delivered yet."""
        return max(0, self._taken - self.delivered - self.dropped)

    def info(self) -> Json:
        """For bridge/info."""
        return {
            "boot": self.boot,
            "spool": self._mode,
            "disk": "unused" if self._spool is None else "failing" if self._failing else "ok",
            "waiting": self.waiting,
            "on_disk": self._stored.rows,
            "delivered": self.delivered,
            "dropped": self.dropped,
        }

    # The disk

    async def open(self) -> None:
        """Look at what an earlier run left behind."""
        if self._spool is None:
            return
        try:
            async with asyncio.timeout(self._limits.disk):
                self._stored = await self._spool.open(self._wall() - self._resend)
        except (SpoolError, TimeoutError) as error:
            self._say_failing(error)
            # ids of now must be above those that the file has, should it come back; in ms, for an
            # earlier run that began so may have made many records a second
            self._last = self._through = int(self._wall() * 1000)
            self._unread = True
            return
        self._last = self._stored.last
        self._taken = self._stored.rows
        if not self._taken:
            self._through = self._last
        else:
            _LOG.info("history: %d records of an earlier run will be sent", self._stored.rows)

    async def keep(self) -> None:
        """The task that stores and tidies up; ends by cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_storing())
            group.create_task(self._keep_settling())

    async def close(self) -> None:
        """Store what is not delivered. What cannot be stored is counted in the log."""
        self._waiting_for_first = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.last):
                while self._pending() and await self._commit():
                    pass
                await self._settle()
                if self._spool is not None:
                    await self._spool.close()
        if self._unacked:
            _LOG.warning(
                "history: %d records were neither delivered nor stored%s",
                self._unacked,
                " (spool: memory)" if self._mode == "memory" else "",
            )

    @property
    def _flowing(self) -> bool:
        """Whether the broker takes what comes, so that the disk need not be used."""
        if self._grace > 0:
            return self._unacked <= IN_MEMORY
        return (
            self._connected is not None
            and not self._loaded
            and self._cursor >= self._stored.last
            and self._unacked <= IN_MEMORY
        )

    @property
    def _grace(self) -> float:
        """Seconds that the first connection may still take."""
        if not self._waiting_for_first:
            return 0.0
        return self._started + self._limits.grace - self._monotonic()

    @property
    def _may_be_pending(self) -> bool:
        """Whether records that are not delivered have to be stored now."""
        return self._mode == "always" or (self._mode == "offline" and not self._flowing)

    def _pending(self) -> list[Record]:
        """What has to be stored now, oldest first."""
        if not self._may_be_pending:
            return []
        found = (record for record in self._memory.values() if record.acked is None)
        return [record for record, _ in zip(found, range(COMMIT), strict=False)]

    async def _keep_storing(self) -> None:
        while True:
            self._store.clear()
            if not self._pending():
                grace = self._grace
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(grace, 0.1) if grace > 0 else None):
                        await self._store.wait()
            elif not await self._commit():
                await asyncio.sleep(self._limits.retry)

    async def _commit(self) -> bool:
        """Store a batch; False when the disk failed."""
        assert self._spool is not None  # else the mode is memory
        batch = self._pending()
        try:
            rows = [record.row for record in batch]
            # not wait_for: before Python 3.12 it may swallow a cancellation that comes together
            # with the result, and we would go on for ever
            async with asyncio.timeout(self._limits.disk):
                self._stored, dropped = await self._spool.append(rows, self._through)
        except (SpoolError, TimeoutError) as error:
            self._say_failing(error)
            return False
        if self._failing:
            self._failing = False
            _LOG.info("history: the spool can be written again")
        self._count_dropped(dropped)
        for record in batch:
            if record.id in self._memory:
                self._forget(record)
        self._wake.set()
        return True

    def _say_failing(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            why = str(error) or f"no answer from the disk in {self._limits.disk:g} s"
            _LOG.warning("history goes on in memory: %s; free or repair the disk", why)
        self._wake.set()

    async def _keep_settling(self) -> None:
        while True:
            await asyncio.sleep(max(self._limits.settle, self._rest))
            await self._settle()

    @property
    def _rest(self) -> float:
        """Seconds in which nothing can have been delivered long enough ago: while the disk is
        empty, nothing else has to be tidied up."""
        if self._stored.rows:
            return 0.0
        if not self._recent:
            return self._resend
        return next(iter(self._recent.values())) - self._clock()

    async def _settle(self) -> None:
        """Forget what was delivered long enough ago, here and on disk."""
        self._expire()
        now = (self._through, self._expired)
        if self._spool is None or not self._stored.rows or self._unread or now == self._settled:
            return
        try:
            async with asyncio.timeout(self._limits.disk):
                self._stored = await self._spool.settle(self._through, self._wall(), now[1])
            self._settled = now
        except (SpoolError, TimeoutError) as error:
            self._say_failing(error)

    def _expire(self) -> None:
        """Forget what was delivered long enough ago."""
        now = self._clock()
        while self._recent:
            oldest = next(iter(self._recent))
            # what is still to be sent again on this connection is not too old for it
            if self._recent[oldest] > now or oldest > self._confirmed:
                break
            del self._recent[oldest]
            self._expired = oldest
        while self._memory:
            record = self._memory[next(iter(self._memory))]
            if record.id > self._expired or record.acked is None:
                break
            self._forget(record)
