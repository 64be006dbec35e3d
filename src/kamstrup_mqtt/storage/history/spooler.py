"""Moves records to the spool and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

from kamstrup_mqtt.storage.history.buffer import DropCounter, Record, RecordBuffer
from kamstrup_mqtt.storage.history.delivery import ConnectionClock, DeliveryWindow
from kamstrup_mqtt.storage.history.settings import SpoolMode
from kamstrup_mqtt.storage.spool import Inventory, Row, Spool, SpoolError

_LOG = logging.getLogger(__package__)
T = TypeVar("T")

DiskState: TypeAlias = Literal["unused", "failing", "ok"]

READ_BATCH = 100
"""Records read from the spool at once."""
COMMIT_BATCH = 500
"""Records in one commit."""
MAX_UNSPOOLED = 400
"""Records that may wait in memory while the broker acknowledges; more go to the spool."""
MAX_FAILED_READS = 5
"""Failed reads in a row after which the records on disk are left for the next run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """Times in seconds.

    retry        from a failed access to the disk to the next one
    disk         for one access to the disk
    prune        from one removal of delivered records to the next
    last_commit  for the last commit before the program ends
    grace        after the start, for the first connection, before records are stored because
                 there is none
    """

    retry: float = 30.0
    disk: float = 10.0
    prune: float = 1.0
    last_commit: float = 1.5
    grace: float = 10.0


class SpoolAccess:
    """A spool with a time limit for each access; reports once that the disk fails.

    Every method raises SpoolError, also when the disk does not respond in time. `on_failure` is
    called before that.
    """

    def __init__(
        self, spool: Spool | None, time_limit: float, on_failure: Callable[[], None]
    ) -> None:
        self.inventory = Inventory()
        self.is_failing = False
        self._spool = spool
        self._time_limit = time_limit
        self._on_failure = on_failure

    @property
    def state(self) -> DiskState:
        if self._spool is None:
            return "unused"
        return "failing" if self.is_failing else "ok"

    async def open(self, acked_before: float) -> None:
        self.inventory = await self._attempt(lambda spool: spool.open(acked_before))

    async def append(self, rows: list[Row], acked_through: int) -> int:
        """Returns how many records were dropped to stay within the bounds of the spool."""
        self.inventory, dropped = await self._attempt(
            lambda spool: spool.append(rows, acked_through)
        )
        self.report_recovery("written")
        return dropped

    async def read(self, after: int) -> list[Row]:
        return await self._attempt(lambda spool: spool.read(after, READ_BATCH))

    async def prune(self, acked_through: int, now: float, delete_through: int) -> None:
        self.inventory = await self._attempt(
            lambda spool: spool.prune(acked_through, now, delete_through)
        )

    async def close(self) -> None:
        if self._spool is not None:
            await self._spool.close()

    def report_recovery(self, access: Literal["read", "written"]) -> None:
        """The disk works again."""
        if self.is_failing:
            self.is_failing = False
            _LOG.info("history: the spool can be %s again", access)

    async def _attempt(self, access: Callable[[Spool], Awaitable[T]]) -> T:
        assert self._spool is not None  # the mode is "memory" without one
        try:
            # not wait_for: before Python 3.12 it may swallow a cancellation that arrives together
            # with the result, and the task would never end
            async with asyncio.timeout(self._time_limit):
                return await access(self._spool)
        except (SpoolError, TimeoutError) as error:
            reason = str(error) or f"the disk did not respond within {self._time_limit:g} s"
            self._report_failure(reason)
            raise SpoolError(reason) from error

    def _report_failure(self, reason: str) -> None:
        if not self.is_failing:
            self.is_failing = True
            _LOG.warning("history continues in memory: %s; free or repair the disk", reason)
        else:
            _LOG.debug("history still continues in memory: %s", reason)
        self._on_failure()


class Spooler:
    """Stores records, reads them back in order, and deletes those that were delivered.

    offline  records are stored while the broker does not acknowledge
    always   each record is stored before it is sent
    memory   records are never stored

    `on_change` is called when a record may have become ready to send.
    """

    def __init__(
        self,
        mode: SpoolMode,
        spool: Spool | None,
        buffer: RecordBuffer,
        delivery: DeliveryWindow,
        clock: ConnectionClock,
        drops: DropCounter,
        *,
        on_change: Callable[[], None],
        limits: HistoryLimits,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.mode: SpoolMode = mode if spool is not None else "memory"
        self.spool = SpoolAccess(spool, limits.disk, on_change)
        self._buffer = buffer
        self._delivery = delivery
        self._clock = clock
        self._drops = drops
        self._on_change = on_change
        self._limits = limits
        self._wall = wall
        self._check_due = asyncio.Event()  # records may have to be stored
        self._loaded: deque[Record] = deque()  # read from the spool, not sent
        self._failed_reads = 0  # in a row
        self._has_unreadable = False  # records on disk are left for the next run
        self._pruned = (0, 0)  # acked_through and expired_through as the disk knows them

    async def open(self) -> tuple[int, int]:
        """Open the spool that an earlier run left behind.

        Returns the id above which new records are numbered, and how many stored records wait.
        """
        if self.spool.state == "unused":
            return 0, 0
        try:
            await self.spool.open(self._wall() - self._delivery.resend)
        except SpoolError:
            self._has_unreadable = True
            # ids must be above those in the file, in case it can be read later. Milliseconds,
            # because an earlier run that also began so may have made many records per second
            return int(self._wall() * 1000), 0
        stored = self.spool.inventory
        if stored.rows:
            _LOG.info("history: %d records of an earlier run will be sent", stored.rows)
        return stored.last_id, stored.rows

    async def run(self) -> None:
        """Store and delete records until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_storing())
            group.create_task(self._run_pruning())

    async def close(self) -> None:
        """Store what is not delivered, within the time limit, and close the spool."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.last_commit):
                while self._unstored() and await self._commit():
                    pass
                await self.prune()
                await self.spool.close()

    def check(self) -> None:
        """Check whether records have to be stored now."""
        self._check_due.set()

    @property
    def is_storing(self) -> bool:
        """Whether undelivered records have to be stored now."""
        return self.mode == "always" or (self.mode == "offline" and not self._is_flowing)

    @property
    def _is_flowing(self) -> bool:
        """Whether the broker keeps up, so that nothing needs to be stored."""
        if self._buffer.unacked_count > MAX_UNSPOOLED:
            return False
        return self._clock.grace > 0 or (self._clock.is_connected and not self.has_unsent)

    def may_send(self, record: Record) -> bool:
        """Whether a record in memory may be sent before it is stored."""
        return self.mode != "always" or self.spool.is_failing or record.is_acked

    # Reading back

    @property
    def has_unsent(self) -> bool:
        """Whether stored records have not been sent on this connection."""
        return self._delivery.sent_through < self.spool.inventory.last_id

    def restart(self) -> None:
        """A connection begins: forget what was read for the one before."""
        self._loaded.clear()

    async def load(self) -> Record | None:
        """Return the oldest stored record that was not sent on this connection, without taking
        it. None if there is none."""
        while not self._loaded and self.has_unsent:
            await self._read_batch()
        return self._loaded[0] if self._loaded else None

    def take(self) -> None:
        """Take the record that `load` returned."""
        self._loaded.popleft()

    async def _read_batch(self) -> None:
        after = self._delivery.sent_through
        last_id = self.spool.inventory.last_id
        try:
            rows = await self.spool.read(after)
        except SpoolError:
            self._failed_reads += 1
            if self._failed_reads < MAX_FAILED_READS:
                # the card may be busy, and newer records must not overtake the stored ones
                await asyncio.sleep(self._limits.retry)
                return
            self._has_unreadable = True  # leave them for the next run and send the newer ones
            rows = []
        else:
            if self._failed_reads:
                self.spool.report_recovery("read")
            self._failed_reads = 0
        self._loaded.extend(Record(*row) for row in rows)
        if not rows and self.spool.inventory.last_id == last_id:
            # the rest was dropped or deleted
            self.spool.inventory = replace(self.spool.inventory, last_id=after)

    # Storing

    def _unstored(self) -> list[Record]:
        """Return the next batch of records that have to be stored now, oldest first."""
        return self._buffer.oldest_unacked(COMMIT_BATCH) if self.is_storing else []

    async def _run_storing(self) -> None:
        while True:
            self._check_due.clear()
            if not self._unstored():
                grace = self._clock.grace
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(grace, 0.1) if grace > 0 else None):
                        await self._check_due.wait()
            elif not await self._commit():
                await asyncio.sleep(self._limits.retry)

    async def _commit(self) -> bool:
        """Store a batch. Returns False if the disk fails."""
        batch = self._unstored()
        rows = [record.row for record in batch]
        try:
            dropped = await self.spool.append(rows, self._delivery.acked_through)
        except SpoolError:
            return False
        self._drops.add(dropped)
        for record in batch:
            self._buffer.remove(record.id)
        self._on_change()
        return True

    # Deleting

    async def _run_pruning(self) -> None:
        while True:
            # an empty spool needs no pruning, and nothing else expires before that
            pause = 0.0 if self.spool.inventory.rows else self._delivery.seconds_to_expiry
            await asyncio.sleep(max(self._limits.prune, pause))
            await self.prune()

    async def prune(self) -> None:
        """Remove records that need not be sent again, from memory and from the disk."""
        self._delivery.expire()
        acked, expired = self._delivery.acked_through, self._delivery.expired_through
        self._buffer.remove_acked(expired)
        if (
            not self.spool.inventory.rows
            or self._has_unreadable
            or (acked, expired) == self._pruned
        ):
            return
        with contextlib.suppress(SpoolError):
            await self.spool.prune(acked, self._wall(), expired)
            self._pruned = acked, expired
