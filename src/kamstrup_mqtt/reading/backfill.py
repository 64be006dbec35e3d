"""What a meter has logged while nobody read it, put into the history afterwards. Experimental.

After a gap between two valid readings - the daemon was down, the meter out of reach - the meter's
own log is read back to where the gap began, one request a turn, so that polls and the other meters
of the port come in between. What fails is said once and left: the next gap gets the next try.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import KamstrupMqttError, MeterError
from kamstrup_mqtt.core.model import LinkState, Logged
from kamstrup_mqtt.core.report_queue import Outbox
from kamstrup_mqtt.meters.clock_zone import MOST, distance, own_offset
from kamstrup_mqtt.meters.plan import Plan, sort_objects
from kamstrup_mqtt.protocols.base import Frame, Step
from kamstrup_mqtt.protocols.kmp import KmpCodec
from kamstrup_mqtt.protocols.kmp import log_reading as talks
from kamstrup_mqtt.protocols.kmp.log_messages import CLOCKS, LOGGERS, Record
from kamstrup_mqtt.protocols.kmp.messages import MAX_REGISTERS
from kamstrup_mqtt.storage.state_file import Memory
from kamstrup_mqtt.storage.state_schema import MeterMemory

Talk = Generator[Step, Frame | None, None]

PERIODS = {"hour": 3600.0, "day": 86400.0, "month": 28 * 86400.0, "year": 365 * 86400.0}
"""Seconds from one record to the next, at least."""
LATE = 1.5
"""A gap is longer than so many intervals: a poll that came a little late is none."""
BATTERY_FLOOR = timedelta(days=1)
"""From one backfill of a battery meter to the next, at least."""
_HEAT = 60
"""The register that heat meters have, and electricity meters have not."""
PAUSE = 1.0
"""Seconds of rest between two requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
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
    """One meter's. `active`: there is a request to be made, by `step`, when the line is free."""

    def __init__(
        self,
        wanted: Wanted,
        codec: KmpCodec,
        plan: Plan,
        *,
        meter: str,
        interval: float,
        battery: bool,
        memory: Memory,
        outbox: Outbox,
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        self._wanted = wanted
        self._codec = codec
        self._plan = plan
        self._meter = meter
        self._shortest = max(LATE * interval, PERIODS[wanted.logger])
        self._battery = battery
        self._memory = memory
        self._mine: MeterMemory = memory.meter(meter)
        self._outbox = outbox
        self._clock = clock
        self._log = log
        times = (reading.time for reading in self._mine.readings.values())
        self._last = max((time for time in times if time is not None), default=None)
        self._gap: Gap | None = None
        self._offset = timedelta()
        self._walk: talks.Walk | None = None

    @property
    def active(self) -> bool:
        """Whether a gap is being filled."""
        return self._gap is not None

    @property
    def pause(self) -> float:
        """Seconds of rest before the next request."""
        return PAUSE

    def read(self) -> None:
        """A valid reading came just now."""
        last, now = self._last, self._clock.now()
        self._last = now or last
        if last is None or now is None or (now - last).total_seconds() <= self._shortest:
            return
        before = self._mine.backfilled
        if self._battery and before is not None and now - before < BATTERY_FLOOR:
            self._log.info("the gap since %s is not filled: the battery is spared for a day", last)
            return
        self._gap, self._walk = Gap(last, now), None
        # said before the first byte leaves: what ends the daemon in mid-log is not done again
        self._mine.backfilled = now
        self._memory.changed(urgent=True)
        self._log.info("nothing was read since %s: reading the meter's own log", last)

    def step(self) -> Talk:
        """The next request, or the first two. Raises MeterError when it is not answered."""
        assert self._gap is not None
        if self._walk is None:
            yield from self._begin(self._gap)
        else:
            yield from self._walk.step()
        if self._walk is not None and self._walk.done:
            self._put(self._gap, self._walk.records)
            self._gap = None

    def failed(self, error: KamstrupMqttError) -> None:
        """A request was not answered, or the line is lost: no more tries for this gap."""
        assert self._gap is not None
        self._log.warning(
            "the meter's log could not be read, the gap since %s stays: %s", self._gap.start, error
        )
        if self._walk is not None:
            self._put(self._gap, self._walk.records)
        self._gap = None

    def abandon(self) -> None:
        """Leave this gap."""
        self._gap = None

    def _begin(self, gap: Gap) -> Talk:
        meter = yield from talks.read_clock(self._codec)
        host = self._clock.now() or gap.end
        ahead = distance(meter, host)
        self._offset = own_offset(ahead, host)
        if abs(ahead - self._offset) > MOST:
            raise MeterError(
                LinkState.REFUSED,
                f"the meter's clock ({meter}) is wrong by more than {MOST.seconds // 60} min, so"
                " that its records belong to no known hour; `kamstrup-mqtt clock` sets it",
            )
        start = (gap.start + self._offset).replace(tzinfo=None).isoformat("T", "seconds")
        missing = (gap.end - gap.start).total_seconds() / PERIODS[self._wanted.logger]
        most = min(self._wanted.records, int(missing) + 1)
        if self._wanted.log_id is not None:
            values = self._totals()
            # a log leaves out what it does not hold: both ways to tell the time are asked for
            dated = 348 if _HEAT in values else 1049
            registers = (dated, 1003, 1002, *values)[:MAX_REGISTERS]
            query = talks.Query(registers=registers, start=start, most=most)
            self._walk = talks.RecordWalk(self._codec, self._wanted.log_id, query)
            return
        logger = LOGGERS[self._wanted.logger]
        held = yield from talks.configuration(self._codec, logger)
        clocks = tuple(clock for clock in CLOCKS if clock in held.registers)
        clocks = (348,) if 348 in clocks else clocks
        values = tuple(source for source in self._totals() if source in held.registers)
        if not clocks or not values:
            raise MeterError(LinkState.REFUSED, "its log holds none of the values that are read")
        query = talks.Query(registers=(*clocks, *values)[:MAX_REGISTERS], start=start, most=most)
        self._walk = talks.PastWalk(self._codec, logger, query)

    def _totals(self) -> tuple[int, ...]:
        """The registers that are read from this meter, totals first."""
        values = sorted(
            self._plan.values, key=lambda v: v.quantity.state_class != "total_increasing"
        )
        return tuple(v.source for v in values if isinstance(v.source, int))

    def _put(self, gap: Gap, records: tuple[Record, ...]) -> None:
        """Hand over what belongs into the gap, oldest first."""
        now, count = self._clock.now(), 0
        for record in reversed(records):
            at = None if record.time is None else self._utc(record.time)
            if at is None or not gap.start < at < gap.end:
                continue
            found = sort_objects(self._plan, talks.values(record.objects))
            values = {k: v for group in found.groups.values() for k, v in group.items()}
            if values:
                self._outbox.put(Logged(meter=self._meter, time=now, at=at, values=values))
                count += 1
        self._log.info("%d records of the meter's own log are in the history", count)

    def _utc(self, text: str) -> datetime:
        """The moment of the record's own clock; a date alone is its midnight."""
        return (datetime.fromisoformat(text) - self._offset).replace(tzinfo=UTC)
