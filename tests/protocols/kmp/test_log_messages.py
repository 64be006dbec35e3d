"""Logs: the captured answers of kmp.md 5, requests written out by hand from 6.3 of 5512-447 and
from a published client of the newer loggers."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, SourceId
from kamstrup_mqtt.protocols.base import (
    Configure,
    Frame,
    LogCursor,
    LogQuery,
    Pause,
    PollRequest,
    PollTimings,
    Send,
    Step,
)
from kamstrup_mqtt.protocols.kmp import TIMINGS, KmpCodec, log_messages, log_reading
from kamstrup_mqtt.protocols.kmp.log_messages import LogAnswer, LoggerConfiguration, Record
from kamstrup_mqtt.protocols.kmp.log_reading import KmpLogReader
from kamstrup_mqtt.protocols.kmp.values import DATE, encode_value
from tests.support.framing import frames_of
from tests.support.kmp_frames import answer, request


def timings(**changes: Any) -> PollTimings:
    return replace(TIMINGS, **changes)


T = TypeVar("T")

# K-series electricity meter, A2 (AIMIR), without CRC
A2 = bytes.fromhex(
    "0103000404193508008005002D0B1D0A0A0027160443000008EE002B16044300000AA000058004002D13040B0A"
    "000000A000000B4000068002002D0D150C0A000000CC00000C0C000700000000000000000000000000000C0C"
    "0007000700"
)
# a 303 or 603: two years; the hours of a new meter; what the yearly logger holds (jktjkt)
YEARS = bytes.fromhex("0602000201000000020000000200C003EB3004000003F8050003D0F5")
NOTHING = bytes.fromhex("07070001010000000000000000000103EA2F040000000000")
HELD = bytes.fromhex(
    "05020101010100000100010000142B003C003F0061006E00400041016A00440054005501710063007B017F007C"
    "007D0180007E007F0181008000810182008203EC00AF005E003D003E005F006001D901DA004500E000E1004800"
    "4902030152015C03EB03EA"
)
NEW_YEAR = datetime.fromisoformat("2026-01-01T00:00:00")
SILENT = MeterError(LinkState.NO_BYTES, "no answer")


def test_a_captured_log_of_an_electricity_meter() -> None:
    found = log_messages.decode_log(A2)
    assert (found.logger, found.last_read, found.newest, found.info) == (1, 7, 7, 0)
    told = [
        (record.id, record.time, [str(obj.value) for obj in record.objects[1:]])
        for record in found.records
    ]
    assert told == [
        (4, "2010-10-29T11:45:00", ["2.286", "2.720"]),
        (5, "2010-11-04T19:45:00", ["0.160", "2.880"]),
        (6, "2010-12-21T13:45:00", ["0.204", "3.084"]),
        (7, None, ["0.000", "3.084"]),
    ]
    assert [obj.id for obj in found.records[3].objects] == [1049, 39, 43]


def test_captured_logs_of_a_303() -> None:
    years = log_messages.decode_logger(YEARS)
    assert isinstance(years, LogAnswer)
    assert (years.logger, years.newest, years.info) == (2, 2, 0xC0)
    assert [(r.id, r.time) for r in years.records] == [(2, "2026-01-01"), (1, "2025-01-01")]
    empty = log_messages.decode_logger(NOTHING)
    assert isinstance(empty, LogAnswer)
    assert (empty.logger, empty.records, empty.info) == (7, (), 1)
    held = log_messages.decode_logger(HELD)
    assert isinstance(held, LoggerConfiguration)
    assert (held.logger, held.depth, len(held.registers)) == (2, 20, 43)
    assert held.registers[:3] == (60, 63, 97)
    assert held.registers[-3:] == (348, 1003, 1002)
    assert log_messages.decode_logger(bytes.fromhex("0802 00")) is None


@pytest.mark.parametrize("cut", range(1, len(A2)))
def test_a_log_that_ends_too_early(cut: int) -> None:
    with contextlib.suppress(ValueError):
        log_messages.decode_log(A2[:cut])  # a whole record may be missing: the tail looks the same


@pytest.mark.parametrize("data", [YEARS, NOTHING, HELD])
def test_a_newer_log_of_the_wrong_length(data: bytes) -> None:
    for wrong in (*(data[:cut] for cut in range(len(data))), data + b"\0"):
        with pytest.raises(ValueError, match=r"too early|goes on"):
            log_messages.decode_logger(wrong)


def test_frames_are_read_with_the_data_kept() -> None:
    codec = KmpCodec()
    (frame,) = frames_of(codec.framer(), [answer(b"\x3f\xa2" + A2)])
    header = codec.decode(frame).header
    assert header["data"] == A2.hex()
    assert header["newest_record"] == 7
    records = header["records"]
    assert isinstance(records, list)
    assert records[1] == {
        "record": 5,
        "time": "2010-11-04T19:45:00",
        "values": {
            "1049": {"value": "2010-11-04T19:45:00", "unit": None},
            "39": {"value": Decimal("0.160"), "unit": "kW"},
            "43": {"value": Decimal("2.880"), "unit": "kW"},
        },
    }
    (frame,) = frames_of(codec.framer(), [answer(b"\x3f\xb8" + HELD)])
    assert codec.decode(frame).header["depth"] == 20
    (frame,) = frames_of(codec.framer(), [answer("3FB8 0802")])
    assert codec.decode(frame).header["data"] == "0802"
    (frame,) = frames_of(codec.framer(), [answer("3FA1 01")])
    with pytest.raises(MeterError, match="too early"):
        codec.decode(frame)


def test_requests() -> None:
    assert log_messages.get_configuration(0x3F, 2).hex() == "3fb80502"
    # sub 07, logger, offset, records, registers
    assert log_messages.get_last_past(0x3F, 4, 2, (1003, 60)).hex() == "3fb80704000000020203eb003c"
    assert log_messages.get_id_past(0x3F, 4, 258, 2, (60,)).hex() == "3fb8060400000102000201003c"
    # LID, n, registers, records, longest answer, and for A2 the record (6.3.2, 6.3.3)
    assert log_messages.get_log_last(0x7F, 1, (60,), 5, 200).hex() == "7fa10101003c05c8"
    assert log_messages.get_log_id(0x7F, 1, (60,), 5, 200, 300).hex() == "7fa20101003c05c8012c"


def test_answers_are_built_as_captured() -> None:
    # the data of the answer to B8 06 above, encoded again from its values
    rows = [
        (2, [(1003, encode_value(DATE, "2026-01-01", 4))]),
        (1, [(1003, encode_value(DATE, "2025-01-01", 4))]),
    ]
    assert log_messages.past_answer(6, 0x3F, 2, rows, 2, 0xC0) == b"\x3f\xb8" + YEARS
    assert (
        log_messages.past_answer(7, 0x3F, 4, [], 60, 1).hex()
        == "3fb80704000000000000000000003c0001"
    )
    held = log_messages.decode_logger(HELD)
    assert isinstance(held, LoggerConfiguration)
    made = log_messages.configuration_answer(0x3F, 2, 20, held.registers)
    assert made == b"\x3f\xb8" + HELD
    assert log_messages.log_answer(0xA1, 0x3F, 1, [], 9, 4).hex() == "3fa101000000000904"


@pytest.mark.parametrize(
    ("objects", "time"),
    [
        (
            (DecodedValue(348, "", "2026-01-20T00:00:04"), DecodedValue(1003, 0, "2025-01-01")),
            "2026-01-20T00:00:04",
        ),
        (
            (DecodedValue(1003, 0, "2026-01-20"), DecodedValue(1002, 0, "12:30:00")),
            "2026-01-20T12:30:00",
        ),
        ((DecodedValue(1003, 0, "2026-01-20"),), "2026-01-20"),
        ((DecodedValue(1002, 0, "12:30:00"),), None),
        ((DecodedValue(60, 1, Decimal(1)),), None),
    ],
)
def test_when_a_record_was_written(objects: tuple[DecodedValue, ...], time: str | None) -> None:
    assert Record(1, objects).time == time


# Conversations


class Line:
    """A meter that answers in turn; keeps what it was sent."""

    def __init__(self, *said: bytes | MeterError) -> None:
        self.said = iter(said)
        self.sent: list[bytes] = []
        self.steps: list[Step] = []

    def hold(self, conversation: Generator[Step, Frame | None, T]) -> T:
        step: Any = next(conversation)
        try:
            while True:
                self.steps.append(step)
                step = self._do(conversation, step)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _do(self, conversation: Generator[Step, Frame | None, T], step: Step) -> Step:
        if not isinstance(step, Send):
            return conversation.send(None)
        self.sent.append(step.data)
        if not step.expects_response:
            return conversation.send(None)
        said = next(self.said)
        if isinstance(said, MeterError):
            return conversation.throw(said)
        (frame,) = frames_of(KmpCodec().framer(), [said])
        return conversation.send(frame)


SERIAL = answer("3F02 0001E240")
QUERY = log_reading.Query(registers=(1003,), start="")


def row(day: str) -> list[tuple[int, Any]]:
    return [(1003, encode_value(DATE, day, 4))]


def past(sub: int, *days: tuple[int, str], info: int = 0) -> bytes:
    rows = [(id_, row(day)) for id_, day in days]
    return answer(log_messages.past_answer(sub, 0x3F, 4, rows, 3, info))


def test_the_configuration_of_a_logger() -> None:
    line = Line(SILENT, answer("3F02 0001E240"), answer(b"\x3f\xb8" + HELD))
    assert line.hold(log_reading.configuration(KmpCodec(), 2)).depth == 20
    assert line.sent == [request("3FB80502")] * 3
    assert [step.seconds for step in line.steps if isinstance(step, Pause)] == [1.6, 1.6]
    with pytest.raises(MeterError, match="no answer"):
        Line(*[SILENT] * 6).hold(log_reading.configuration(KmpCodec(), 2))
    with pytest.raises(MeterError, match="the meter answers, but not about this log"):
        Line(*[SILENT] * 3, SERIAL).hold(log_reading.configuration(KmpCodec(), 2))
    damaged = MeterError(LinkState.CHECKSUM, "wrong checksum")
    with pytest.raises(MeterError, match="wrong checksum"):
        Line(*[damaged] * 3).hold(log_reading.configuration(KmpCodec(), 2))
    with pytest.raises(MeterError, match="did not say"):
        Line(answer(b"\x3f\xb8" + YEARS)).hold(log_reading.configuration(KmpCodec(), 2))
    with pytest.raises(MeterError, match="cannot be read"):
        Line(answer("3FB805")).hold(log_reading.configuration(KmpCodec(), 2))


def test_back_through_a_newer_log() -> None:
    line = Line(past(7, (3, "2026-01-20"), (2, "2026-01-19")), past(6, (1, "2026-01-18")))
    found = line.hold(log_reading.past(KmpCodec(), 4, QUERY))
    assert [record.id for record in found] == [3, 2, 1]
    # 22 records of one register fit: (200 - 13 - 5) / 8
    assert line.sent[0] == request("3FB80704000000160103EB")
    assert line.sent[1] == request("3FB806040000000100160103EB")
    line = Line(past(7, (3, "2026-01-20"), (2, "2026-01-19")))
    query = log_reading.Query(registers=(1003,), start="2026-01-20")
    assert [r.id for r in line.hold(log_reading.past(KmpCodec(), 4, query))] == [3, 2]
    line = Line(past(7, (3, "2026-01-20")), past(6, info=1))
    assert [r.id for r in line.hold(log_reading.past(KmpCodec(), 4, QUERY))] == [3]
    for other in (HELD, bytes.fromhex("0802 00")):  # found by fuzzing: an answer of another kind
        with pytest.raises(MeterError, match="did not answer with records"):
            Line(answer(b"\x3f\xb8" + other)).hold(log_reading.past(KmpCodec(), 4, QUERY))


def numbered(cid: int, *days: tuple[int, str]) -> bytes:
    return answer(log_messages.log_answer(cid, 0x3F, 1, [(i, row(d)) for i, d in days], 60, 0))


def test_back_through_a_numbered_log() -> None:
    line = Line(
        numbered(0xA1, (59, "2026-01-19"), (60, "2026-01-20")),
        numbered(0xA2, (37, "2026-01-18"), (58, "2026-01-18"), (59, "2026-01-19")),
    )
    query = log_reading.Query(registers=(1003,), start="2026-01-19")
    found = line.hold(log_reading.by_record(KmpCodec(), 1, query))
    assert [record.id for record in found] == [60, 59, 58, 37]
    assert line.sent[1] == request("3FA2 01 01 03EB 16 C8 0025")  # 59 - 22
    line = Line(numbered(0xA1, (0, "2026-01-19")))
    assert len(line.hold(log_reading.by_record(KmpCodec(), 1, QUERY))) == 1
    line = Line(numbered(0xA1, (5, "2026-01-19")), numbered(0xA2))
    assert len(line.hold(log_reading.by_record(KmpCodec(), 1, QUERY))) == 1
    assert Line(numbered(0xA1)).hold(log_reading.by_record(KmpCodec(), 1, QUERY)) == ()
    with pytest.raises(MeterError, match="it has none with this number"):
        Line(*[SILENT] * 3, SERIAL).hold(log_reading.by_record(KmpCodec(), 1, QUERY))
    most = log_reading.Query(registers=(1003,), start="", most=1)
    line = Line(numbered(0xA1, (60, "2026-01-20")))
    assert len(line.hold(log_reading.by_record(KmpCodec(), 1, most))) == 1
    assert line.sent == [request("3FA1 01 01 03EB 01 C8")]
    line = Line(past(7, (3, "2026-01-20")))
    assert len(line.hold(log_reading.past(KmpCodec(), 4, most))) == 1
    assert line.sent == [request("3FB80704 0000 0001 01 03EB")]


def test_the_clock() -> None:
    # 2026-01-20 and 20:02:43, as the emulated meter has them: 260120, 200243
    line = Line(answer("3F10 03EB30040000 03F818 03EA2F0400 00030E33"))
    assert line.hold(log_reading.read_clock(KmpCodec())) == datetime.fromisoformat(
        "2026-01-20T20:02:43"
    )
    assert line.sent == [request("3F10 03 015C 03EB 03EA")]
    with pytest.raises(MeterError, match="does not send date and time"):
        Line(answer("3F10")).hold(log_reading.read_clock(KmpCodec()))


def test_setting_the_clock() -> None:
    line = Line(bytes((0x06,)))
    line.hold(log_reading.write_clock(KmpCodec(), datetime.fromisoformat("2007-07-30T16:15:57")))
    # the standard's example, with the right checksum
    assert line.sent == [bytes.fromhex("803F090001144A00027715774E0D")]
    with pytest.raises(MeterError, match="did not acknowledge"):
        Line(answer("3F09")).hold(log_reading.write_clock(KmpCodec(), NEW_YEAR))
    line = Line(SILENT)
    with pytest.raises(MeterError, match="no answer"):
        line.hold(log_reading.write_clock(KmpCodec(), NEW_YEAR))
    assert len(line.sent) == 1  # a time that has passed is not sent again


def test_values_of_a_record_leave_out_its_clocks() -> None:
    record = Record(1, (DecodedValue(1003, 0, "x"), DecodedValue(60, 1, Decimal(1))))
    assert [obj.id for obj in record.values] == [60]


def query_of(log: str | int, *sources: SourceId) -> LogQuery:
    return LogQuery(
        log=log, sources=sources, since=datetime.fromisoformat("2026-01-19T12:00:00"), limit=5
    )


def holding(*registers: int) -> bytes:
    return answer(log_messages.configuration_answer(0x3F, 4, 20, registers))


def open_and_read(query: LogQuery) -> Generator[Step, Frame | None, LogCursor]:
    cursor = yield from KmpLogReader(KmpCodec()).open_log(query)
    assert (cursor.is_done, list(cursor.records)) == (False, [])
    yield from cursor.read_next()
    return cursor


def test_log_reader_asks_a_logger_for_what_it_holds() -> None:
    line = Line(holding(60, 1003, 348), past(7, (3, "2026-01-20"), (2, "2026-01-19")))
    cursor = line.hold(open_and_read(query_of("day", 60, "live-1", 68)))
    assert cursor.is_done
    assert [record.time for record in cursor.records] == ["2026-01-20", "2026-01-19"]
    # five records at most, of 348 (which makes 1003 needless) and 60
    assert line.sent == [request("3FB80504"), request("3FB80704 0000 0005 02 015C 003C")]


def test_log_reader_asks_a_logger_without_time_stamp_for_date_and_time() -> None:
    line = Line(holding(1002, 60, 1003), past(7, (1, "2026-01-20")))
    line.hold(open_and_read(query_of("day", 60)))
    assert line.sent[1] == request("3FB80704 0000 0005 03 03EB 03EA 003C")


@pytest.mark.parametrize("registers", [(60, 68), (348, 97)])
def test_log_reader_refuses_a_logger_without_clock_or_value(registers: tuple[int, ...]) -> None:
    with pytest.raises(MeterError, match="holds none of the values"):
        Line(holding(*registers)).hold(open_and_read(query_of("day", 60, 68)))


@pytest.mark.parametrize(("value", "clock"), [("003C", "015C"), ("0001", "0419")])
def test_log_reader_asks_a_numbered_log_for_the_clock_of_its_kind(value: str, clock: str) -> None:
    line = Line(numbered(0xA1, (0, "2026-01-20")))
    line.hold(open_and_read(query_of(1, int(value, 16))))
    assert line.sent == [request(f"3FA1 01 04 {clock} 03EB 03EA {value} 05 C8")]


def test_log_reader_reads_the_clock() -> None:
    line = Line(answer("3F10 03EB30040000 03F818 03EA2F0400 00030E33"))
    found = line.hold(KmpLogReader(KmpCodec()).read_clock())
    assert found == datetime.fromisoformat("2026-01-20T20:02:43")


def test_waking_with_zeros() -> None:
    line = Line()
    line.hold(KmpCodec(timings=timings(wake="nul")).wake_up())
    # 2.2 s at 1200 baud, 11 bits: 240 (IEC 62056-21, annex: 2.1 to 2.3 s)
    assert line.sent == [bytes(240)]
    assert [step.seconds for step in line.steps if isinstance(step, Pause)] == [1.6]
    Line().hold(_nothing(KmpCodec()))


def _nothing(codec: KmpCodec) -> Generator[Step, Frame | None, None]:
    yield from codec.wake_up()
    yield Pause(0)


def test_waking_with_an_old_request() -> None:
    line = Line()
    line.hold(KmpCodec(baudrate=9600, timings=timings(wake="ident")).wake_up())
    assert line.sent == [bytes.fromhex("AFA3B1")]  # iec62056_21.md 6
    speeds = [step.baudrate for step in line.steps if isinstance(step, Configure)]
    assert speeds == [300, 9600]


def test_a_bridge_cannot_change_its_speed() -> None:
    conversation = KmpCodec(timings=timings(wake="ident")).wake_up()
    assert next(conversation) == Configure(300)
    step = conversation.throw(MeterError(LinkState.REFUSED, "the bridge's"))
    assert isinstance(step, Send)
    assert step.data == bytes(240)


def test_a_poll_wakes_the_meter_first_and_again_after_silence() -> None:
    line = Line(SILENT, answer("3F10 03EA2F0400 00030E33"))
    line.hold(KmpCodec(timings=timings(wake="nul")).poll(PollRequest(sources=(1002,))))
    ask = request("3F10 01 03EA")
    assert line.sent == [bytes(240), ask, bytes(240), ask]


def test_an_answer_without_a_last_read_record() -> None:
    """B8 (kmp.md 1.4): only A0 to A3 end with LastReadRecID."""
    assert LogAnswer(7, (), 5, 1).as_json() == {
        "log_id": 7,
        "newest_record": 5,
        "info": 1,
        "records": [],
    }
