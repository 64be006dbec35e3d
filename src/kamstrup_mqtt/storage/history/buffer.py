"""The records of the history that are in memory, within bounds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice

from kamstrup_mqtt.storage.spool import Row

_LOG = logging.getLogger(__package__)


@dataclass(slots=True)
class Record:
    """One record. `is_acked`: the broker has acknowledged it and all before it."""

    id: int
    meter: str
    payload: str
    is_acked: bool = False

    @property
    def row(self) -> Row:
        """The record as the spool stores it."""
        return self.id, self.meter, self.payload


class RecordBuffer:
    """Records by ascending id, at most `max_records` of them with `max_size` characters in all."""

    def __init__(self, max_records: int, max_size: int) -> None:
        self.unacked_count = 0
        self._max_records = max_records
        self._max_size = max_size
        self._size = 0
        self._records: dict[int, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, id_: int) -> Record | None:
        """Return the record unless it was removed."""
        return self._records.get(id_)

    def ids_after(self, id_: int) -> list[int]:
        """Return the ids above `id_`, oldest first."""
        return [other for other in self._records if other > id_]

    def oldest_unacked(self, limit: int) -> list[Record]:
        """Return up to `limit` records that are not acknowledged, oldest first."""
        return list(
            islice((record for record in self._records.values() if not record.is_acked), limit)
        )

    def add(self, record: Record) -> int:
        """Append a record and drop the oldest ones beyond the bounds.

        Returns how many of those dropped were not acknowledged.
        """
        self._records[record.id] = record
        self.unacked_count += 1
        self._size += len(record.payload)
        dropped = 0
        while len(self._records) > self._max_records or self._size > self._max_size:
            oldest = self._oldest()
            dropped += not oldest.is_acked
            self._remove(oldest)
        return dropped

    def mark_acked(self, id_: int) -> None:
        """Mark the record as acknowledged if it is still here."""
        record = self._records.get(id_)
        if record is not None and not record.is_acked:
            record.is_acked = True
            self.unacked_count -= 1

    def remove(self, id_: int) -> None:
        """Remove the record if it is still here."""
        record = self._records.get(id_)
        if record is not None:
            self._remove(record)

    def remove_acked(self, through: int) -> None:
        """Remove the acknowledged records up to the id `through`."""
        while self._records:
            oldest = self._oldest()
            if oldest.id > through or not oldest.is_acked:
                break
            self._remove(oldest)

    def _oldest(self) -> Record:
        return next(iter(self._records.values()))

    def _remove(self, record: Record) -> None:
        del self._records[record.id]
        self._size -= len(record.payload)
        if not record.is_acked:
            self.unacked_count -= 1


class DropCounter:
    """Counts the records that were dropped undelivered and reports the first of a series."""

    def __init__(self) -> None:
        self.count = 0
        self._is_full = False

    def add(self, number: int) -> None:
        """Count dropped records, none included."""
        self.count += number
        if number and not self._is_full:
            self._is_full = True
            _LOG.warning(
                "history is full: the oldest records are dropped and counted until the broker"
                " accepts them; increase spool.rows or spool.megabytes to keep more"
            )

    def end_series(self) -> None:
        """All waiting records are delivered: report that nothing is dropped any more."""
        if self._is_full:
            self._is_full = False
            _LOG.info("history is delivered; %d records were dropped before", self.count)
