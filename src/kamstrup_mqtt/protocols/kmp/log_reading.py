"""Conversations that read a log back to a date, and that read and set the clock."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.protocols.base import Frame, LogCursor, LogQuery, Pause, Step
from kamstrup_mqtt.protocols.kmp import log_messages
from kamstrup_mqtt.protocols.kmp.codec import KmpCodec
from kamstrup_mqtt.protocols.kmp.framing import encode_frame
from kamstrup_mqtt.protocols.kmp.log_messages import LogAnswer, LoggerConfiguration, Record
from kamstrup_mqtt.protocols.kmp.messages import (
    MAX_REGISTERS,
    decode_message,
    get_register,
    get_serial_no,
    set_clock,
)

T = TypeVar("T")
LogConversation = Generator[Step, Frame | None, Frame]
Records = Generator[Step, Frame | None, "tuple[Record, ...]"]

LONGEST = 200
"""Bytes of an answer that are requested at most."""
MOST_RECORDS = 2000
"""Limit for meters whose record numbers never end."""
HEAT_ENERGY = 60
"""The register that heat meters have and electricity meters lack."""


def inquire(codec: KmpCodec, payload: bytes, expected: int = LONGEST) -> LogConversation:
    """Send a request until it is answered. Raises the MeterError of the last try."""
    send = codec.timings.send(encode_frame("request", payload), expected_bytes=expected)
    left = codec.timings.tries
    while True:
        left -= 1
        try:
            frame = yield send
            if frame is not None and (frame.kind == "ack" or frame.payload[:2] == payload[:2]):
                return frame
            raise MeterError(LinkState.BYTES_NO_FRAMES, "received the answer to another request")
        except MeterError:
            if left < 1:
                raise
        yield Pause(codec.timings.pause)


def _inquire_first(codec: KmpCodec, payload: bytes, lacking: str) -> LogConversation:
    """Send the first request to a log. If it is not answered, find out whether others are."""
    try:
        return (yield from inquire(codec, payload))
    except MeterError as error:
        if error.state not in (LinkState.NO_BYTES, LinkState.ECHO_ONLY):
            raise
        silent = error
    yield Pause(codec.timings.pause)
    try:
        yield from inquire(codec, get_serial_no(codec.address), 10)
    except MeterError:
        raise silent from None
    raise MeterError(
        LinkState.REFUSED,
        f"the meter answers, but not about this log: {lacking} (303, 403 and 603 have loggers of"
        " hours, days, months and years, others logs with numbers)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to read of a log.

    registers  clocks included
    start      how far back: ISO 8601 on the meter's clock, "" for everything
    most       the number of records at most
    """

    registers: tuple[int, ...]
    start: str
    most: int = MOST_RECORDS


def rows_that_fit(registers: Sequence[int]) -> int:
    """Return the number of records in an answer of LONGEST bytes, with values of four bytes."""
    count = len(registers)
    return max(1, (LONGEST - 13 - 5 * count) // (4 + 4 * count))


def _reaches_start(records: Sequence[Record], start: str) -> bool:
    return any(record.time is not None and record.time < start for record in records)


def configuration(
    codec: KmpCodec, logger: int
) -> Generator[Step, Frame | None, LoggerConfiguration]:
    """Read what a logger of B8 holds. Raises MeterError, also if the meter has no such logger."""
    payload = log_messages.get_configuration(codec.address, logger)
    frame = yield from _inquire_first(codec, payload, "it does not have this logger")
    found = _read(log_messages.decode_logger, frame)
    if not isinstance(found, LoggerConfiguration):
        raise MeterError(LinkState.BYTES_NO_FRAMES, "the meter did not say what its logger holds")
    return found


class LoggerCursor:
    """Reads a logger of B8 backwards; see `protocols.base.LogCursor`."""

    def __init__(self, codec: KmpCodec, logger: int, query: Query) -> None:
        self.is_done = False
        self._codec = codec
        self._logger = logger
        self._query = query
        self._found: list[Record] = []
        self._count = min(rows_that_fit(query.registers), query.most)
        self._payload = log_messages.get_last_past(
            codec.address, logger, self._count, query.registers
        )

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(self._found)

    def read_next(self) -> Generator[Step, Frame | None, None]:
        frame = yield from inquire(self._codec, self._payload)
        answer = _read(log_messages.decode_logger, frame)
        if not isinstance(answer, LogAnswer):
            raise MeterError(LinkState.BYTES_NO_FRAMES, "the logger did not answer with records")
        known = {record.id for record in self._found}
        fresh = [record for record in answer.records if record.id not in known]
        self._found += fresh
        oldest = min((record.id for record in fresh), default=0)
        left = self._query.most - len(self._found)
        self.is_done = oldest <= 1 or left < 1 or _reaches_start(fresh, self._query.start)
        self._payload = log_messages.get_id_past(
            self._codec.address,
            self._logger,
            max(oldest - 1, 0),
            max(min(self._count, left), 1),
            self._query.registers,
        )


class NumberedLogCursor:
    """Reads a log of A1 and A2 backwards; see `protocols.base.LogCursor`."""

    def __init__(self, codec: KmpCodec, log: int, query: Query) -> None:
        self.is_done = False
        self._codec = codec
        self._request_fields = (codec.address, log, query.registers)
        self._query = query
        self._found: dict[int, Record] = {}
        self._count = min(rows_that_fit(query.registers), query.most)
        self._payload = log_messages.get_log_last(*self._request_fields, self._count, LONGEST)

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(self._found[id_] for id_ in sorted(self._found, reverse=True))

    def read_next(self) -> Generator[Step, Frame | None, None]:
        frame = yield from (
            inquire(self._codec, self._payload)
            if self._found
            else _inquire_first(self._codec, self._payload, "it has none with this number")
        )
        before = min(self._found, default=1 << 16)
        answer = _read(log_messages.decode_log, frame)
        fresh = {record.id: record for record in answer.records if record.id < before}
        self._found |= fresh
        oldest = min(self._found, default=0)
        left = self._query.most - len(self._found)
        reached = _reaches_start([*fresh.values()], self._query.start)
        self.is_done = not fresh or oldest == 0 or left < 1 or reached
        count = max(min(self._count, left, oldest), 1)
        self._payload = log_messages.get_log_id(
            *self._request_fields, count, LONGEST, max(oldest - count, 0)
        )


def _read_all(cursor: LoggerCursor | NumberedLogCursor) -> Records:
    while not cursor.is_done:
        yield from cursor.read_next()
    return cursor.records


def past(codec: KmpCodec, logger: int, query: Query) -> Records:
    """Read the records of a logger of B8, the newest first."""
    return (yield from _read_all(LoggerCursor(codec, logger, query)))


def by_record(codec: KmpCodec, log: int, query: Query) -> Records:
    """Read the records of a log of A1 and A2, the newest first."""
    return (yield from _read_all(NumberedLogCursor(codec, log, query)))


def _read(decode: Callable[[bytes], T], frame: Frame) -> T:
    try:
        return decode(frame.payload[2:])
    except ValueError as error:
        raise MeterError(
            LinkState.BYTES_NO_FRAMES, f"a log answer that cannot be read: {error}"
        ) from error


def read_clock(codec: KmpCodec) -> Generator[Step, Frame | None, datetime]:
    """Read the meter's clock, without zone. Raises MeterError."""
    frame = yield from inquire(codec, get_register(codec.address, (348, 1003, 1002)), 40)
    objects = decode_message(frame).objects
    text = Record(0, objects).time
    if text is None or "T" not in text:
        raise MeterError(LinkState.BYTES_NO_FRAMES, "the meter does not send date and time")
    return datetime.fromisoformat(text)


def write_clock(codec: KmpCodec, at: datetime) -> Generator[Step, Frame | None, None]:
    """Set the meter's clock. The request is not repeated, because the time would be out of date.

    Raises MeterError if the meter does not acknowledge it.
    """
    request = encode_frame("request", set_clock(codec.address, at))
    frame = yield codec.timings.send(request, expected_bytes=1)
    if frame is None or frame.kind != "ack":
        raise MeterError(LinkState.REFUSED, "the meter did not acknowledge the new time")


class KmpLogReader:
    """Reads the log of one KMP meter; see `protocols.base.LogReader`."""

    def __init__(self, codec: KmpCodec) -> None:
        self._codec = codec

    def read_clock(self) -> Generator[Step, Frame | None, datetime]:
        """Return the meter's clock, without zone. Raises MeterError."""
        return (yield from read_clock(self._codec))

    def open_log(self, query: LogQuery) -> Generator[Step, Frame | None, LogCursor]:
        """Return a cursor for the log that `query` names. Raises MeterError.

        A numbered log is not asked what it holds: it leaves out the registers it lacks.
        """
        registers = tuple(source for source in query.sources if isinstance(source, int))
        if isinstance(query.log, int):
            # electricity meters have register 1049 instead of 348
            clock = 348 if HEAT_ENERGY in registers else 1049
            log_query = _query(query, (clock, 1003, 1002), registers)
            return NumberedLogCursor(self._codec, query.log, log_query)
        logger = log_messages.LOGGERS[query.log]
        held = (yield from configuration(self._codec, logger)).registers
        clocks = tuple(clock for clock in log_messages.CLOCKS if clock in held)
        values = tuple(register for register in registers if register in held)
        if not clocks or not values:
            raise MeterError(LinkState.REFUSED, "its log holds none of the values that are read")
        log_query = _query(query, (348,) if 348 in clocks else clocks, values)
        return LoggerCursor(self._codec, logger, log_query)


def _query(query: LogQuery, clocks: tuple[int, ...], values: tuple[int, ...]) -> Query:
    return Query(
        registers=(*clocks, *values)[:MAX_REGISTERS],
        start=query.since.isoformat("T", "seconds"),
        most=query.limit,
    )
