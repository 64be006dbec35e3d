"""Fills a gap in the history from the log that the meter keeps. Experimental.

After a gap between two valid readings (the daemon was stopped, the meter out of reach) the meter's
log is read back to where the gap began, one request at a time, so that polls and the other meters
of the port come in between. A failure is logged and ends the attempt; the next gap gets the next.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kamstrup_mqtt.core.errors import KamstrupMqttError, MeterError
from kamstrup_mqtt.core.model import LinkState, LoggedReading, SourceId
from kamstrup_mqtt.meters.clock_zone import MAX_ERROR, ahead_of_utc, nearest_offset
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.protocols.base import Frame, LogCursor, LogQuery, LogReader, LogRecord, Step
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.reader_config import BackfillConfig

LogConversation = Generator[Step, Frame | None, None]

PERIODS = {"hour": 3600.0, "day": 86400.0, "month": 28 * 86400.0, "year": 365 * 86400.0}
"""Seconds from one record to the next, at least."""
GAP_FACTOR = 1.5
"""A gap is longer than this many intervals: a poll that is a little late is not a gap."""
MIN_BATTERY_INTERVAL = timedelta(days=1)
"""From one backfill of a battery meter to the next, at least."""
PAUSE = 1.0
"""Seconds of rest between two requests."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between two valid readings, in UTC."""

    start: datetime
    end: datetime


class Backfill:
    """Fills the gaps of one meter, which is polled every `interval` seconds."""

    def __init__(
        self,
        context: ReaderContext,
        config: BackfillConfig,
        log_reader: LogReader,
        interval: float,
    ) -> None:
        self._context = context
        self._config = config
        self._log_reader = log_reader
        self._min_gap = max(GAP_FACTOR * interval, PERIODS[config.logger])
        self._last_reading = max(context.state.last_read.values(), default=None)
        self._gap: Gap | None = None
        self._offset = timedelta()
        self._cursor: LogCursor | None = None

    @classmethod
    def of(cls, context: ReaderContext, interval: float) -> Backfill | None:
        """Return the backfill of a meter; None if it is not configured, or if the protocol cannot
        read logs."""
        config = context.config
        if config.backfill is None or config.spec.log_reader is None:
            return None
        return cls(context, config.backfill, config.spec.log_reader(config.codec), interval)

    @property
    def is_active(self) -> bool:
        """Whether a gap is being filled: `step` has a request to send when the line is free."""
        return self._gap is not None

    @property
    def pause(self) -> float:
        """Seconds of rest before the next request."""
        return PAUSE

    def on_reading(self) -> None:
        """Start to fill the gap between the last valid reading and the one that came now."""
        context = self._context
        last, now = self._last_reading, context.clock.now()
        self._last_reading = now or last
        if last is None or now is None or (now - last).total_seconds() <= self._min_gap:
            return
        before = context.state.backfilled
        is_recent = before is not None and now - before < MIN_BATTERY_INTERVAL
        if context.config.battery and is_recent:
            context.log.info(
                "the gap since %s is not filled: the battery is spared for a day", last
            )
            return
        self._gap, self._cursor = Gap(last, now), None
        # recorded before the first byte is sent: a crash in mid-log is not repeated
        context.state.backfilled = now
        context.state_file.mark_changed(urgent=True)
        context.log.info("nothing was read since %s: reading the meter's own log", last)

    def step(self) -> LogConversation:
        """Send the next request, or the first two. Raises MeterError if it is not answered."""
        assert self._gap is not None
        if self._cursor is None:
            yield from self._start_cursor(self._gap)
        else:
            yield from self._cursor.read_next()
        if self._cursor is not None and self._cursor.is_done:
            self._publish(self._gap, self._cursor.records)
            self._gap = None

    def on_error(self, error: KamstrupMqttError) -> None:
        """Give up this gap: a request was not answered, or the line is lost."""
        assert self._gap is not None
        self._context.log.warning(
            "the meter's log could not be read, the gap since %s stays: %s", self._gap.start, error
        )
        if self._cursor is not None:
            self._publish(self._gap, self._cursor.records)
        self._gap = None

    def abandon(self) -> None:
        """Give up this gap without a log message."""
        self._gap = None

    def _start_cursor(self, gap: Gap) -> LogConversation:
        meter = yield from self._log_reader.read_clock()
        host = self._context.clock.now() or gap.end
        ahead = ahead_of_utc(meter, host)
        self._offset = nearest_offset(ahead, host)
        if abs(ahead - self._offset) > MAX_ERROR:
            raise MeterError(
                LinkState.REFUSED,
                f"the meter's clock ({meter}) is wrong by more than {MAX_ERROR.seconds // 60} min,"
                " so that its records belong to no known hour; `kamstrup-mqtt clock` sets it",
            )
        missing = (gap.end - gap.start).total_seconds() / PERIODS[self._config.logger]
        log_id = self._config.log_id
        query = LogQuery(
            log=self._config.logger if log_id is None else log_id,
            sources=self._sources(),
            since=(gap.start + self._offset).replace(tzinfo=None),
            limit=min(self._config.records, int(missing) + 1),
        )
        self._cursor = yield from self._log_reader.open_log(query)

    def _sources(self) -> tuple[SourceId, ...]:
        """Return the sources that are read from this meter, totals first."""
        values = sorted(
            self._context.config.plan.values,
            key=lambda value: value.quantity.state_class != "total_increasing",
        )
        return tuple(value.source for value in values)

    def _publish(self, gap: Gap, records: Sequence[LogRecord]) -> None:
        """Put the records of the gap into the queue, oldest first."""
        context, count = self._context, 0
        now = context.clock.now()
        for record in reversed(records):
            at = None if record.time is None else self._utc(record.time)
            if at is None or not gap.start < at < gap.end:
                continue
            mapped = map_objects(context.config.plan, record.values)
            values = {k: v for group in mapped.groups.values() for k, v in group.items()}
            if values:
                context.report_queue.put(
                    LoggedReading(meter=context.config.id, time=now, measured_at=at, values=values)
                )
                count += 1
        context.log.info("%d records of the meter's own log are in the history", count)

    def _utc(self, text: str) -> datetime:
        """Return the time of a record in UTC; a date without time is its midnight."""
        return (datetime.fromisoformat(text) - self._offset).replace(tzinfo=UTC)
