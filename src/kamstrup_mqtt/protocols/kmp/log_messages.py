"""Log records: answers of a meter's loggers, and the requests for them.

There are two families. A0..A3: Kamstrup 5512-447 rev M1, 6.3, confirmed by two captured A2 answers
of an electricity meter. B8 of 303, 403 and 603: confirmed by captured answers to B8 05, 06 and 07
with one register each; the requests are those of a published client. The byte order of the time
in A0 and A3 is not known, so these are decoded but never sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kamstrup_mqtt.core.model import DecodedValue, Json
from kamstrup_mqtt.protocols.kmp.values import Coded, decode_value

CID_LOG_LAST = 0xA1
CID_LOG_ID = 0xA2
CIDS_LOG = (0xA0, CID_LOG_LAST, CID_LOG_ID, 0xA3)
CID_LOGGER = 0xB8

CONFIGURATION, ID_PAST, LAST_PAST = 0x05, 0x06, 0x07

LOGGERS = {"year": 2, "month": 3, "day": 4, "hour": 5}
"""Period of the records -> number of the logger in B8."""

CLOCKS = (348, 1049, 1003, 1002)
"""Registers with the time of a record."""

NO_ENTRIES, TRUNCATED, TAIL = 0x0001, 0x0010, 0x0040
"""Bits of INFO in B8."""
EMPTY, OUT_OF_RANGE, MAX_LENGTH, END_OF_LOG = 0x01, 0x04, 0x08, 0x10
"""Bits of INFO in A0..A3."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a log: its number and its values."""

    id: int
    objects: tuple[DecodedValue, ...]

    @property
    def time(self) -> str | None:
        """When the meter wrote the record, on its own clock: ISO 8601 without zone.

        A date alone if the record has no time of day, None if it has neither.
        """
        by_id = {obj.id: obj.value for obj in self.objects}
        for clock in (348, 1049):
            if isinstance(found := by_id.get(clock), str):
                return found
        day, clock_ = by_id.get(1003), by_id.get(1002)
        if not isinstance(day, str):
            return None
        return f"{day}T{clock_}" if isinstance(clock_, str) else day

    @property
    def values(self) -> tuple[DecodedValue, ...]:
        """The objects that are not clocks."""
        return tuple(obj for obj in self.objects if obj.id not in CLOCKS)

    def as_json(self) -> dict[str, Json]:
        """`{"record": 4, "time": ..., "values": {"39": {"value": 2.286, "unit": "kW"}}}`."""
        values: dict[str, Json] = {
            str(obj.id): {"value": obj.value, "unit": obj.unit} for obj in self.objects
        }
        return {"record": self.id, "time": self.time, "values": values}


@dataclass(frozen=True, slots=True)
class LogAnswer:
    """An answer with records, in the order sent.

    newest  number of the newest record in the log
    """

    logger: int
    records: tuple[Record, ...]
    newest: int
    info: int
    last_read: int | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the fields of the answer, for `decode`."""
        fields: dict[str, Json] = {"log_id": self.logger}
        if self.last_read is not None:
            fields["last_read_record"] = self.last_read
        rows: list[Json] = [record.as_json() for record in self.records]
        return {**fields, "newest_record": self.newest, "info": self.info, "records": rows}


@dataclass(frozen=True, slots=True)
class LoggerConfiguration:
    """The registers that a logger of B8 holds, and how many records it keeps."""

    logger: int
    registers: tuple[int, ...]
    depth: int

    def as_json(self) -> dict[str, Json]:
        """Return the fields of the answer, for `decode`."""
        return {"log_id": self.logger, "depth": self.depth, "registers": list(self.registers)}


class _Bytes:
    """Reads the fields of an answer in order. Raises ValueError if it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) < count:
            raise ValueError(f"ends after {len(self._data)} bytes, {count - len(found)} too early")
        self._at += count
        return found

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"goes on with {self._data[self._at :].hex(' ')}")

    @property
    def left(self) -> int:
        return len(self._data) - self._at


@dataclass(frozen=True, slots=True)
class _Column:
    """A register with the coding of its values, which only the first record contains."""

    register: int
    unit: int
    nob: int
    siex: int

    def read(self, data: bytes) -> DecodedValue:
        value = decode_value(Coded(self.unit, self.siex, data))
        return DecodedValue(self.register, value.raw, value.value, value.unit)


def _first_row(data: _Bytes, count: int) -> Iterator[tuple[_Column, DecodedValue]]:
    for _ in range(count):
        register, unit, nob, siex = (data.number(size) for size in (2, 1, 1, 1))
        column = _Column(register, unit, nob, siex)
        yield column, column.read(data.take(nob))


def _row(data: _Bytes, columns: Sequence[_Column]) -> tuple[DecodedValue, ...]:
    return tuple(column.read(data.take(column.nob)) for column in columns)


# | LID | n | RecID, 2 | n × (RID, 2 | unit | NoB | SiEx | value) |
# | RecID, 2 | n × value | ... | last read RecID, 2 | newest RecID, 2 | INFO |    6.3.1..6.3.4
def decode_log(data: bytes) -> LogAnswer:
    """Decode an answer to A0..A3. Raises ValueError."""
    rest = _Bytes(data)
    logger, count = rest.number(1), rest.number(1)
    records: list[Record] = []
    columns: tuple[_Column, ...] = ()
    while rest.left > 5:
        id_ = rest.number(2)
        if records:
            records.append(Record(id_, _row(rest, columns)))
        else:
            pairs = tuple(_first_row(rest, count))
            columns = tuple(column for column, _ in pairs)
            records.append(Record(id_, tuple(obj for _, obj in pairs)))
    last_read, newest, info = rest.number(2), rest.number(2), rest.number(1)
    return LogAnswer(logger, tuple(records), newest, info, last_read)


# | sub | logger | m, 2 | n | newest of these, 4 | newest, 4 | INFO, 2 |
# | n × (RID, 2 | unit | NoB | SiEx | value) | n × value | ... |                 B8 06, B8 07
def _decode_past(data: _Bytes, logger: int) -> LogAnswer:
    rows, count = data.number(2), data.number(1)
    first, newest, info = data.number(4), data.number(4), data.number(2)
    records: list[Record] = []
    columns: tuple[_Column, ...] = ()
    for n in range(rows):
        if n:
            records.append(Record(first - n, _row(data, columns)))
        else:
            pairs = tuple(_first_row(data, count))
            columns = tuple(column for column, _ in pairs)
            records.append(Record(first, tuple(obj for _, obj in pairs)))
    data.end()
    if info & NO_ENTRIES:
        records.clear()  # the answer has a record of zeros in this case
    return LogAnswer(logger, tuple(records), newest, info)


# | sub | logger | two dates, 3 each | records in an interval, 2 | interval, 2 | depth, 2 |
# | n | n × RID, 2 |                                                             B8 05
def _decode_configuration(data: _Bytes, logger: int) -> LoggerConfiguration:
    data.take(10)
    depth, count = data.number(2), data.number(1)
    registers = tuple(data.number(2) for _ in range(count))
    data.end()
    return LoggerConfiguration(logger, registers, depth)


def decode_logger(data: bytes) -> LogAnswer | LoggerConfiguration | None:
    """Decode an answer to B8. None for an unknown sub-command. Raises ValueError."""
    rest = _Bytes(data)
    sub, logger = rest.number(1), rest.number(1)
    if sub == CONFIGURATION:
        return _decode_configuration(rest, logger)
    return _decode_past(rest, logger) if sub in (ID_PAST, LAST_PAST) else None


def _ids(registers: Sequence[int]) -> bytes:
    return bytes((len(registers),)) + b"".join(r.to_bytes(2, "big") for r in registers)


def get_configuration(destination: int, logger: int) -> bytes:
    """Encode B8 05: the request for the configuration of a logger."""
    return bytes((destination, CID_LOGGER, CONFIGURATION, logger))


def get_last_past(destination: int, logger: int, count: int, registers: Sequence[int]) -> bytes:
    """Encode B8 07: the request for the newest `count` records, backwards."""
    head = bytes((destination, CID_LOGGER, LAST_PAST, logger)) + bytes(2)
    return head + count.to_bytes(2, "big") + _ids(registers)


def get_id_past(
    destination: int, logger: int, record: int, count: int, registers: Sequence[int]
) -> bytes:
    """Encode B8 06: the request for `count` records, backwards from `record`."""
    head = bytes((destination, CID_LOGGER, ID_PAST, logger)) + record.to_bytes(4, "big")
    return head + count.to_bytes(2, "big") + _ids(registers)


def get_log_last(
    destination: int, log: int, registers: Sequence[int], count: int, longest: int
) -> bytes:
    """Encode A1: the request for the last `count` records in at most `longest` bytes."""
    return bytes((destination, CID_LOG_LAST, log)) + _ids(registers) + bytes((count, longest))


def get_log_id(
    destination: int, log: int, registers: Sequence[int], count: int, longest: int, record: int
) -> bytes:
    """Encode A2: the request for `count` records from `record` on."""
    body = _ids(registers) + bytes((count, longest)) + record.to_bytes(2, "big")
    return bytes((destination, CID_LOG_ID, log)) + body


def log_answer(
    cid: int,
    destination: int,
    log: int,
    rows: Sequence[tuple[int, Sequence[tuple[int, Coded]]]],
    newest: int,
    info: int,
) -> bytes:
    """Encode an answer to A0..A3."""
    body = bytes((len(rows[0][1]) if rows else 0,))
    for n, (record, values) in enumerate(rows):
        body += record.to_bytes(2, "big") + _values(values, written_out=not n)
    last = rows[-1][0] if rows else 0
    tail = last.to_bytes(2, "big") + newest.to_bytes(2, "big") + bytes((info,))
    return bytes((destination, cid, log)) + body + tail


def past_answer(
    sub: int,
    destination: int,
    logger: int,
    rows: Sequence[tuple[int, Sequence[tuple[int, Coded]]]],
    newest: int,
    info: int,
) -> bytes:
    """Encode an answer to B8 06 or 07."""
    first = rows[0][0] if rows else 0
    body = len(rows).to_bytes(2, "big") + bytes((len(rows[0][1]) if rows else 0,))
    body += first.to_bytes(4, "big") + newest.to_bytes(4, "big") + info.to_bytes(2, "big")
    for n, (_, values) in enumerate(rows):
        body += _values(values, written_out=not n)
    return bytes((destination, CID_LOGGER, sub, logger)) + body


def configuration_answer(
    destination: int, logger: int, depth: int, registers: Sequence[int]
) -> bytes:
    """Encode an answer to B8 05."""
    # as captured for a yearly logger: first of January, one record a year
    form = bytes.fromhex("01 0101 01 0000 01 00 01 00") + depth.to_bytes(2, "big")
    return bytes((destination, CID_LOGGER, CONFIGURATION, logger)) + form + _ids(registers)


def _values(values: Sequence[tuple[int, Coded]], *, written_out: bool) -> bytes:
    out = b""
    for register, coded in values:
        if written_out:
            out += register.to_bytes(2, "big") + bytes((coded.unit, len(coded.data), coded.siex))
        out += coded.data
    return out
