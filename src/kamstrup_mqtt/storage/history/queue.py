"""The queue of records that the broker has not acknowledged yet."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable

from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.storage.history.buffer import DropCounter, Record, RecordBuffer
from kamstrup_mqtt.storage.history.delivery import ConnectionClock, DeliveryWindow
from kamstrup_mqtt.storage.history.rate_limit import RateLimiter
from kamstrup_mqtt.storage.history.settings import (
    DEFAULT_MEGABYTES,
    DEFAULT_RESEND,
    DEFAULT_ROWS,
    SpoolMode,
)
from kamstrup_mqtt.storage.history.spooler import HistoryLimits, Spooler
from kamstrup_mqtt.storage.spool import Spool

_LOG = logging.getLogger(__package__)

MAX_BACKLOG = 100
"""Records that may wait while the broker is connected, before the readers are slowed down."""


class HistoryQueue:
    """Hands out records oldest first until the broker has acknowledged them.

    A record is either in memory or in the spool. Records acknowledged during the last `resend`
    seconds of connection are sent again on the next one: a broker that crashed may have forgotten
    them. At most `rows` records with `size` characters are kept; the oldest are dropped first.
    """

    def __init__(
        self,
        mode: SpoolMode = "memory",
        spool: Spool | None = None,
        *,
        rows: int = DEFAULT_ROWS,
        size: int = DEFAULT_MEGABYTES * 1_000_000,
        resend: float = DEFAULT_RESEND,
        limits: HistoryLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boot_id: str | None = None,
    ) -> None:
        limits = limits or HistoryLimits()
        self.boot_id = boot_id or uuid.uuid4().hex[:16]
        self.rate_limiter = RateLimiter(monotonic)
        self.delivered_count = 0
        self._buffer = RecordBuffer(rows, size)
        self._clock = ConnectionClock(monotonic, limits.grace)
        self._delivery = DeliveryWindow(self._clock, resend)
        self._drops = DropCounter()
        self._send_due = asyncio.Event()  # a record may be ready to send
        self._spooler = Spooler(
            mode,
            spool,
            self._buffer,
            self._delivery,
            self._clock,
            self._drops,
            on_change=self._send_due.set,
            limits=limits,
            wall=wall,
        )
        self._last_id = 0
        self._added_count = 0  # those found in the spool included
        self._unsent: deque[int] = deque()  # ids in memory, not sent on this connection
        self._progress = asyncio.Event()  # a record was delivered

    async def open(self) -> None:
        """Find the records that an earlier run left behind."""
        self._last_id, self._added_count = await self._spooler.open()
        if not self._added_count:
            self._delivery.acked_through = self._last_id

    async def run(self) -> None:
        """Move records to the disk and delete them there, until cancelled."""
        await self._spooler.run()

    async def close(self) -> None:
        """Store what is not delivered. The log says how many records could not be stored."""
        self._clock.end_grace()
        await self._spooler.close()
        if count := self._buffer.unacked_count:
            _LOG.warning(
                "history: %s neither delivered nor stored%s",
                "1 record was" if count == 1 else f"{count} records were",
                " (spool: memory)" if self._spooler.mode == "memory" else "",
            )

    def add(self, meter: str, payload: str) -> None:
        """Add a record without waiting for the disk. Its payload is sent as it is."""
        self._last_id += 1
        self._added_count += 1
        self.rate_limiter.record_arrival()
        self._drops.add(self._buffer.add(Record(self._last_id, meter, payload)))
        if self._clock.is_connected:  # otherwise `begin_connection` finds it
            self._unsent.append(self._last_id)
        self._send_due.set()
        if self._spooler.is_storing:
            self._spooler.check()

    # Sending

    def begin_connection(self) -> None:
        """Start over with the oldest record that has to be sent again on a new connection."""
        self._clock.start()
        self._delivery.restart()
        self._spooler.restart()
        self._unsent = deque(self._buffer.ids_after(self._delivery.sent_through))
        self._send_due.set()
        self._spooler.check()

    def end_connection(self) -> None:
        """Move what was not acknowledged to the spool."""
        self._clock.stop()
        self._spooler.check()

    async def next_record(self) -> Record:
        """Wait for the oldest record that was not sent on this connection, and return it."""
        while True:
            record = await self._take_oldest()
            if record is not None:
                self._delivery.mark_sent(record.id)
                return record
            self._send_due.clear()
            await self._send_due.wait()

    async def _take_oldest(self) -> Record | None:
        stored = await self._spooler.load()
        record = self._oldest_unsent()
        if stored is not None and (record is None or stored.id <= record.id):
            self._spooler.take()
            return stored
        if record is None or not self._spooler.may_send(record):
            return None
        self._unsent.popleft()
        return record

    def _oldest_unsent(self) -> Record | None:
        """Return the oldest record in memory that was not sent. Those that were dropped, or
        stored and sent from there, are skipped."""
        while self._unsent:
            record = self._buffer.get(self._unsent[0])
            if record is not None and record.id > self._delivery.sent_through:
                return record
            self._unsent.popleft()
        return None

    def acknowledge(self, record: Record) -> None:
        """The broker has acknowledged a record of `next_record`."""
        delivered = self._delivery.acknowledge(record.id)
        if not delivered:
            return
        self.delivered_count += len(delivered)
        for id_ in delivered:
            self._buffer.mark_acked(id_)
        self._progress.set()
        if self.is_drained:
            self._drops.end_series()

    async def drain(self, time_limit: float) -> None:
        """Wait until every record is delivered, for at most `time_limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(time_limit):
                while not self.is_drained:
                    self._progress.clear()
                    await self._progress.wait()

    # State

    @property
    def is_drained(self) -> bool:
        """Whether every record is delivered."""
        return self._delivery.acked_through >= self._last_id and self._delivery.is_empty

    @property
    def is_backlogged(self) -> bool:
        """Whether records are added faster than the connected broker acknowledges them."""
        return self._clock.is_connected and self._buffer.unacked_count > MAX_BACKLOG

    @property
    def is_replaying(self) -> bool:
        """Whether old records are being sent, for which the rate limit applies."""
        return self._spooler.has_unsent or len(self._unsent) > 2 * MAX_BACKLOG

    @property
    def waiting_count(self) -> int:
        """Records that are not delivered yet."""
        return max(0, self._added_count - self.delivered_count - self._drops.count)

    @property
    def dropped_count(self) -> int:
        """Records that were dropped undelivered."""
        return self._drops.count

    def info(self) -> Json:
        """Return the counters that `bridge/info` publishes."""
        return {
            "boot": self.boot_id,
            "spool": self._spooler.mode,
            "disk": self._spooler.spool.state,
            "waiting": self.waiting_count,
            "on_disk": self._spooler.spool.inventory.rows,
            "delivered": self.delivered_count,
            "dropped": self._drops.count,
        }
