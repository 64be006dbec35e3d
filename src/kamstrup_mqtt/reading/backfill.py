"""What a meter has logged while nobody read it, put into the history afterwards. Experimental.

After a gap between two valid readings - the daemon was down, the meter out of reach - the meter's
own log is read back to where the gap began, one request a turn, so that polls and the other meters
of the port come in between. What fails is said once and left: the next gap gets the next try.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import KamstrupMqttError, MeterError
from kamstrup_mqtt.core.model import LinkState, LoggedReading, SourceId
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.meters.clock_zone import MAX_ERROR, ahead_of_utc, nearest_offset
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import Frame, LogCursor, LogQuery, LogReader, LogRecord, Step
from kamstrup_mqtt.storage.state_file import StateFile
from kamstrup_mqtt.storage.state_schema import MeterState

LogConversation = Generator[Step, Frame | None, None]

PERIODS = {"hour": 3600.0, "day": 86400.0, "month": 28 * 86400.0, "year": 365 * 86400.0}
"""Seconds from one record to the next, at least."""
GAP_FACTOR = 1.5
"""A gap is longer than so many intervals: a poll that came a little late is none."""
MIN_BATTERY_INTERVAL = timedelta(days=1)
"""From one backfill of a battery meter to the next, at least."""
PAUSE = 1.0
"""Seconds of rest between two requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillConfig:
    """Which log: `logger` of B8, or `log_id` of A1 and A2. After one gap at most `records`."""

    logger: str = "hour"
    log_id: int | None = None
    records: int = 168


@dataclass(frozen=True, slots=True)
class Gap:
    """Between two valid readings, UTC."""

    start: datetime
    end: datetime


class Backfill:
    """One meter's. `is_active`: there is a request to be made, by `step`, when the line is free."""

    def __init__(
        self,
        config: BackfillConfig,
        log_reader: LogReader,
        plan: ReadingPlan,
        *,
        meter: str,
        interval: float,
        battery: bool,
        state_file: StateFile,
        report_queue: ReportQueue,
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        self._config = config
        self._log_reader = log_reader
        self._plan = plan
        self._meter = meter
        self._min_gap = max(GAP_FACTOR * interval, PERIODS[config.logger])
        self._battery = battery
        self._state_file = state_file
        self._meter_state: MeterState = state_file.meter(meter)
        self._report_queue = report_queue
        self._clock = clock
        self._log = log
        times = (reading.time for reading in self._meter_state.readings.values())
        self._last_reading = max((time for time in times if time is not None), default=None)
        self._gap: Gap | None = None
        self._offset = timedelta()
        self._cursor: LogCursor | None = None

    @property
    def is_active(self) -> bool:
        """Whether a gap is being filled."""
        return self._gap is not None

    @property
    def pause(self) -> float:
        """Seconds of rest before the next request."""
        return PAUSE

    def on_reading(self) -> None:
        """A valid reading came just now."""
        last, now = self._last_reading, self._clock.now()
        self._last_reading = now or last
        if last is None or now is None or (now - last).total_seconds() <= self._min_gap:
            return
        before = self._meter_state.backfilled
        if self._battery and before is not None and now - before < MIN_BATTERY_INTERVAL:
            self._log.info("the gap since %s is not filled: the battery is spared for a day", last)
            return
        self._gap, self._cursor = Gap(last, now), None
        # said before the first byte leaves: what ends the daemon in mid-log is not done again
        self._meter_state.backfilled = now
        self._state_file.mark_changed(urgent=True)
        self._log.info("nothing was read since %s: reading the meter's own log", last)

    def step(self) -> LogConversation:
        """The next request, or the first two. Raises MeterError when it is not answered."""
        assert self._gap is not None
        if self._cursor is None:
            yield from self._start_cursor(self._gap)
        else:
            yield from self._cursor.read_next()
        if self._cursor is not None and self._cursor.is_done:
            self._publish(self._gap, self._cursor.records)
            self._gap = None

    def on_error(self, error: KamstrupMqttError) -> None:
        """A request was not answered, or the line is lost: no more tries for this gap."""
        assert self._gap is not None
        self._log.warning(
            "the meter's log could not be read, the gap since %s stays: %s", self._gap.start, error
        )
        if self._cursor is not None:
            self._publish(self._gap, self._cursor.records)
        self._gap = None

    def abandon(self) -> None:
        """Leave this gap."""
        self._gap = None

    def _start_cursor(self, gap: Gap) -> LogConversation:
        meter = yield from self._log_reader.read_clock()
        host = self._clock.now() or gap.end
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
        """The sources that are read from this meter, totals first."""
        values = sorted(
            self._plan.values, key=lambda v: v.quantity.state_class != "total_increasing"
        )
        return tuple(v.source for v in values)

    def _publish(self, gap: Gap, records: Sequence[LogRecord]) -> None:
        """Hand over what belongs into the gap, oldest first."""
        now, count = self._clock.now(), 0
        for record in reversed(records):
            at = None if record.time is None else self._utc(record.time)
            if at is None or not gap.start < at < gap.end:
                continue
            found = map_objects(self._plan, record.values)
            values = {k: v for group in found.groups.values() for k, v in group.items()}
            if values:
                self._report_queue.put(
                    LoggedReading(meter=self._meter, time=now, measured_at=at, values=values)
                )
                count += 1
        self._log.info("%d records of the meter's own log are in the history", count)

    def _utc(self, text: str) -> datetime:
        """The moment of the record's own clock; a date alone is its midnight."""
        return (datetime.fromisoformat(text) - self._offset).replace(tzinfo=UTC)
