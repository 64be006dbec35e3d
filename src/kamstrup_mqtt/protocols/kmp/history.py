"""The conversation that reads a log back to a date, and the one that reads and sets the clock."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from kamstrup_mqtt.errors import MeterError
from kamstrup_mqtt.model import LinkState, Object
from kamstrup_mqtt.protocols.base import Frame, Pause, Send, Step
from kamstrup_mqtt.protocols.kmp import logs
from kamstrup_mqtt.protocols.kmp.codec import KmpCodec
from kamstrup_mqtt.protocols.kmp.framing import encode_frame
from kamstrup_mqtt.protocols.kmp.logs import LogAnswer, LoggerConfiguration, Record
from kamstrup_mqtt.protocols.kmp.messages import decode_message, get_register, set_clock

T = TypeVar("T")
Talk = Generator[Step, Frame | None, Frame]
Records = Generator[Step, Frame | None, "tuple[Record, ...]"]

LONGEST = 200
"""Bytes of an answer that are asked for at most."""
MOST_RECORDS = 2000
"""A bound, should a meter's record numbers never end."""


def inquire(codec: KmpCodec, payload: bytes, expected: int = LONGEST) -> Talk:
    """Send a request until its answer comes. Raises the MeterError of the last try."""
    send = Send(
        data=encode_frame("request", payload),
        first_byte=codec.first_byte,
        between=codec.between,
        total=codec.total,
        expected=expected,
    )
    left = codec.tries
    while True:
        left -= 1
        try:
            frame = yield send
            if frame is not None and (frame.kind == "ack" or frame.payload[:2] == payload[:2]):
                return frame
            raise MeterError(LinkState.BYTES_NO_FRAMES, "an answer to another request came")
        except MeterError:
            if left < 1:
                raise
        yield Pause(codec.pause)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is wanted of a log: `registers` (clocks included), back to `start` (ISO 8601, the
    meter's own time, "" for all)."""

    registers: tuple[int, ...]
    start: str


def rows_that_fit(registers: Sequence[int]) -> int:
    """How many records one answer of LONGEST bytes holds, values of four bytes assumed."""
    count = len(registers)
    return max(1, (LONGEST - 13 - 5 * count) // (4 + 4 * count))


def _reaches(records: Sequence[Record], start: str) -> bool:
    return any(record.time is not None and record.time < start for record in records)


def configuration(
    codec: KmpCodec, logger: int
) -> Generator[Step, Frame | None, LoggerConfiguration]:
    """What a logger of B8 holds. Raises MeterError, also where the meter has none."""
    frame = yield from inquire(codec, logs.get_configuration(codec.address, logger))
    found = _read(logs.decode_logger, frame)
    if not isinstance(found, LoggerConfiguration):
        raise MeterError(LinkState.BYTES_NO_FRAMES, "the meter did not tell what its logger holds")
    return found


def past(codec: KmpCodec, logger: int, query: Query) -> Records:
    """The records of a logger of B8, the newest first."""
    count = rows_that_fit(query.registers)
    payload = logs.get_last_past(codec.address, logger, count, query.registers)
    found: list[Record] = []
    while True:
        frame = yield from inquire(codec, payload)
        answer = _read(logs.decode_logger, frame)
        if not isinstance(answer, LogAnswer):
            raise MeterError(LinkState.BYTES_NO_FRAMES, "the logger did not answer with records")
        known = {record.id for record in found}
        fresh = [record for record in answer.records if record.id not in known]
        found += fresh
        oldest = min((record.id for record in fresh), default=0)
        ended = oldest <= 1 or len(found) >= MOST_RECORDS
        if ended or _reaches(fresh, query.start):
            return tuple(found)
        payload = logs.get_id_past(codec.address, logger, oldest - 1, count, query.registers)


def by_record(codec: KmpCodec, log: int, query: Query) -> Records:
    """The records of a log of A1 and A2, the newest first."""
    count = rows_that_fit(query.registers)
    asked = (codec.address, log, query.registers)
    frame = yield from inquire(codec, logs.get_log_last(*asked, count, LONGEST))
    answer = _read(logs.decode_log, frame)
    found = {record.id: record for record in answer.records}
    while found and len(found) < MOST_RECORDS and not _reaches([*found.values()], query.start):
        oldest = min(found)
        first = max(0, oldest - count)
        if first == oldest:
            break
        frame = yield from inquire(codec, logs.get_log_id(*asked, count, LONGEST, first))
        more = _read(logs.decode_log, frame).records
        fresh = {record.id: record for record in more if record.id < oldest}
        if not fresh:
            break
        found |= fresh
    return tuple(found[id_] for id_ in sorted(found, reverse=True))


def _read(decode: Callable[[bytes], T], frame: Frame) -> T:
    try:
        return decode(frame.payload[2:])
    except ValueError as error:
        raise MeterError(
            LinkState.BYTES_NO_FRAMES, f"a log answer that cannot be read: {error}"
        ) from error


def read_clock(codec: KmpCodec) -> Generator[Step, Frame | None, datetime]:
    """The meter's clock, its own time without zone. Raises MeterError."""
    frame = yield from inquire(codec, get_register(codec.address, (348, 1003, 1002)), 40)
    objects = decode_message(frame).objects
    text = Record(0, objects).time
    if text is None or "T" not in text:
        raise MeterError(LinkState.BYTES_NO_FRAMES, "the meter does not tell date and time")
    return datetime.fromisoformat(text)


def write_clock(codec: KmpCodec, at: datetime) -> Generator[Step, Frame | None, None]:
    """Set the meter's clock, once: nothing is repeated, lest it be set to a time that has passed.

    Raises MeterError when the meter did not acknowledge it.
    """
    frame = yield Send(
        data=encode_frame("request", set_clock(codec.address, at)),
        first_byte=codec.first_byte,
        between=codec.between,
        total=codec.total,
        expected=1,
    )
    if frame is None or frame.kind != "ack":
        raise MeterError(LinkState.REFUSED, "the meter did not acknowledge the new time")


def values(objects: Sequence[Object]) -> tuple[Object, ...]:
    """The objects of a record that are no clock."""
    return tuple(obj for obj in objects if obj.id not in logs.CLOCKS)
