"""What a meter has logged while nobody read it, put into the history afterwards. Experimental.

After a gap between two valid readings - the daemon was down, the meter out of reach - the meter's
own log is read back to where the gap began, one request a turn, so that polls and the other meters
of the port come in between. What fails is said once and left: the next gap gets the next try.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from kamstrup_mqtt.core.errors import KamstrupMqttError, MeterError
from kamstrup_mqtt.core.model import LinkState, LoggedReading
from kamstrup_mqtt.meters.clock_zone import MAX_ERROR, distance, own_offset
from kamstrup_mqtt.meters.plan import map_objects
from kamstrup_mqtt.protocols.base import Frame, Step
from kamstrup_mqtt.protocols.kmp import KmpCodec
from kamstrup_mqtt.protocols.kmp import log_reading as talks
from kamstrup_mqtt.protocols.kmp.log_messages import CLOCKS, LOGGERS, Record
from kamstrup_mqtt.protocols.kmp.messages import MAX_REGISTERS
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.reader_config import BackfillConfig

LogConversation = Generator[Step, Frame | None, None]

PERIODS = {"hour": 3600.0, "day": 86400.0, "month": 28 * 86400.0, "year": 365 * 86400.0}
"""Seconds from one record to the next, at least."""
GAP_FACTOR = 1.5
"""A gap is longer than so many intervals: a poll that came a little late is none."""
MIN_BATTERY_INTERVAL = timedelta(days=1)
"""From one backfill of a battery meter to the next, at least."""
_HEAT = 60
"""The register that heat meters have, and electricity meters have not."""
PAUSE = 1.0
"""Seconds of rest between two requests."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Between two valid readings, UTC."""

    start: datetime
    end: datetime


class Backfill:
    """One meter's. `is_active`: there is a request to be made, by `step`, when the line is free."""

    def __init__(
        self, context: ReaderContext, config: BackfillConfig, codec: KmpCodec, interval: float
    ) -> None:
        self._context = context
        self._config = config
        self._codec = codec
        self._min_gap = max(GAP_FACTOR * interval, PERIODS[config.logger])
        self._last_reading = max(context.state.last_read.values(), default=None)
        self._gap: Gap | None = None
        self._offset = timedelta()
        self._cursor: talks.LogCursor | None = None

    @classmethod
    def of(cls, context: ReaderContext, interval: float) -> Backfill | None:
        """Return the backfill of a meter that is polled every `interval` seconds; None if its
        configuration has none."""
        config = context.config.backfill
        if config is None:
            return None
        # the configuration allows it for this protocol only
        return cls(context, config, cast(KmpCodec, context.config.codec), interval)

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
        last, now = self._last_reading, self._context.clock.now()
        self._last_reading = now or last
        if last is None or now is None or (now - last).total_seconds() <= self._min_gap:
            return
        before = self._context.state.backfilled
        if (
            self._context.config.battery
            and before is not None
            and now - before < MIN_BATTERY_INTERVAL
        ):
            self._context.log.info(
                "the gap since %s is not filled: the battery is spared for a day", last
            )
            return
        self._gap, self._cursor = Gap(last, now), None
        # said before the first byte leaves: what ends the daemon in mid-log is not done again
        self._context.state.backfilled = now
        self._context.state_file.mark_changed(urgent=True)
        self._context.log.info("nothing was read since %s: reading the meter's own log", last)

    def step(self) -> LogConversation:
        """The next request, or the first two. Raises MeterError when it is not answered."""
        assert self._gap is not None
        if self._cursor is None:
            yield from self._start_cursor(self._gap)
        else:
            yield from self._cursor.step()
        if self._cursor is not None and self._cursor.done:
            self._publish(self._gap, self._cursor.records)
            self._gap = None

    def on_error(self, error: KamstrupMqttError) -> None:
        """A request was not answered, or the line is lost: no more tries for this gap."""
        assert self._gap is not None
        self._context.log.warning(
            "the meter's log could not be read, the gap since %s stays: %s", self._gap.start, error
        )
        if self._cursor is not None:
            self._publish(self._gap, self._cursor.records)
        self._gap = None

    def abandon(self) -> None:
        """Leave this gap."""
        self._gap = None

    def _start_cursor(self, gap: Gap) -> LogConversation:
        meter = yield from talks.read_clock(self._codec)
        host = self._context.clock.now() or gap.end
        ahead = distance(meter, host)
        self._offset = own_offset(ahead, host)
        if abs(ahead - self._offset) > MAX_ERROR:
            raise MeterError(
                LinkState.REFUSED,
                f"the meter's clock ({meter}) is wrong by more than {MAX_ERROR.seconds // 60} min,"
                " so that its records belong to no known hour; `kamstrup-mqtt clock` sets it",
            )
        start = (gap.start + self._offset).replace(tzinfo=None).isoformat("T", "seconds")
        missing = (gap.end - gap.start).total_seconds() / PERIODS[self._config.logger]
        most = min(self._config.records, int(missing) + 1)
        if self._config.log_id is not None:
            values = self._totals()
            # a log leaves out what it does not hold: both ways to tell the time are asked for
            dated = 348 if _HEAT in values else 1049
            registers = (dated, 1003, 1002, *values)[:MAX_REGISTERS]
            query = talks.Query(registers=registers, start=start, most=most)
            self._cursor = talks.RecordCursor(self._codec, self._config.log_id, query)
            return
        logger = LOGGERS[self._config.logger]
        held = yield from talks.configuration(self._codec, logger)
        clocks = tuple(clock for clock in CLOCKS if clock in held.registers)
        clocks = (348,) if 348 in clocks else clocks
        values = tuple(source for source in self._totals() if source in held.registers)
        if not clocks or not values:
            raise MeterError(LinkState.REFUSED, "its log holds none of the values that are read")
        query = talks.Query(registers=(*clocks, *values)[:MAX_REGISTERS], start=start, most=most)
        self._cursor = talks.LoggerCursor(self._codec, logger, query)

    def _totals(self) -> tuple[int, ...]:
        """The registers that are read from this meter, totals first."""
        values = sorted(
            self._context.config.plan.values,
            key=lambda v: v.quantity.state_class != "total_increasing",
        )
        return tuple(v.source for v in values if isinstance(v.source, int))

    def _publish(self, gap: Gap, records: tuple[Record, ...]) -> None:
        """Hand over what belongs into the gap, oldest first."""
        now, count = self._context.clock.now(), 0
        for record in reversed(records):
            at = None if record.time is None else self._utc(record.time)
            if at is None or not gap.start < at < gap.end:
                continue
            found = map_objects(self._context.config.plan, talks.values(record.objects))
            values = {k: v for group in found.groups.values() for k, v in group.items()}
            if values:
                self._context.report_queue.put(
                    LoggedReading(
                        meter=self._context.config.id, time=now, measured_at=at, values=values
                    )
                )
                count += 1
        self._context.log.info("%d records of the meter's own log are in the history", count)

    def _utc(self, text: str) -> datetime:
        """The moment of the record's own clock; a date alone is its midnight."""
        return (datetime.fromisoformat(text) - self._offset).replace(tzinfo=UTC)
