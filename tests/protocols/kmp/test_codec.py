"""The conversation with a KMP meter, without a line: who is asked what, and what comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import LinkState, SourceId
from kamstrup_mqtt.protocols.base import (
    Conversation,
    Frame,
    Pause,
    PollRequest,
    PollResponse,
    PollTimings,
    Send,
    Step,
)
from kamstrup_mqtt.protocols.kmp import TIMINGS, KmpCodec
from tests.support.framing import frames_of
from tests.support.kmp_frames import answer, request


def timings(**changes: Any) -> PollTimings:
    return replace(TIMINGS, **changes)


SERIAL = answer("3F02 0001E240")  # 123456
TYPE = answer("3F01 0001 0701")  # a MULTICAL 601, software G1
SILENT = MeterError(LinkState.NO_BYTES, "no answer")
DAMAGED = MeterError(LinkState.CHECKSUM, "wrong checksum")

Meter = Callable[[bytes], bytes | MeterError]


def registers(*ids: int) -> bytes:
    """An answer with each register = its own number, in m³."""
    return answer(bytes.fromhex("3F10") + b"".join(_one(n) for n in ids))


def _one(register: int) -> bytes:
    return register.to_bytes(2, "big") + bytes.fromhex("280200") + register.to_bytes(2, "big")


def ask_registers(*ids: int) -> bytes:
    body = b"".join(n.to_bytes(2, "big") for n in ids)
    return request(bytes.fromhex("3F10") + bytes((len(ids),)) + body)


def frame_of(wire: bytes) -> Frame:
    (frame,) = frames_of(KmpCodec().framer(), [wire])
    return frame


class Line:
    """Carries a conversation out against a meter that is a function of the request."""

    def __init__(self, codec: KmpCodec, meter: Meter) -> None:
        self.codec = codec
        self.meter = meter
        self.sent: list[bytes] = []
        self.pauses: list[float] = []

    def run(self, ask: PollRequest) -> PollResponse:
        return self._carry_out(self.codec.poll(ask))[0]

    def _carry_out(self, conversation: Conversation) -> list[PollResponse]:
        ended: list[PollResponse] = []

        def whole() -> Generator[Step, Frame | None, None]:
            ended.append((yield from conversation))

        outer = whole()
        step = next(outer, None)
        with contextlib.suppress(StopIteration):
            while step is not None:
                step = self._do(outer, step)
        return ended

    def _do(self, conversation: Generator[Step, Frame | None, None], step: Step) -> Step:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            return conversation.send(None)
        assert isinstance(step, Send)
        self.sent.append(step.data)
        said = self.meter(step.data)
        if isinstance(said, MeterError):
            return conversation.throw(said)
        return conversation.send(frame_of(said))


def in_turn(*said: bytes | MeterError) -> Meter:
    replies = iter(said)
    return lambda _request: next(replies)


def line(*said: bytes | MeterError) -> Line:
    return Line(KmpCodec(), in_turn(*said))


def ids(found: PollResponse) -> list[SourceId]:
    return [obj.id for obj in found.objects]


def test_limits_of_the_standard_are_the_defaults() -> None:
    (step,) = [next(KmpCodec().poll(PollRequest(sources=(1002,))))]
    assert step == Send(
        data=bytes.fromhex("803F100103EA4CB70D"),
        response_timeout=1.6,
        inter_byte_timeout=0.5,
        total_timeout=6.0,
        # 40 dst CID, RID unit NoB SiEx and four bytes, CRC 0D, and a stuffed one
        expected_bytes=19,
    )
    codec = KmpCodec()
    assert (codec.address, codec.timings) == (0x3F, TIMINGS)


def test_the_options_are_used() -> None:
    codec = KmpCodec(
        address=0x7F,
        learned={"x": "y"},
        timings=replace(
            TIMINGS, tries=2, response_timeout=1, inter_byte_timeout=2, total_timeout=3, pause=4
        ),
    )
    wire = Line(codec, in_turn(DAMAGED, answer("7F02 00000007")))
    assert next(codec.poll(PollRequest(sources=("serial_no",)))) == Send(
        data=request("7F02"),
        response_timeout=1,
        inter_byte_timeout=2,
        total_timeout=3,
        expected_bytes=10,
    )
    assert wire.run(PollRequest(sources=("serial_no",))).objects[0].value == "7"
    assert wire.pauses == [4]


def test_registers_are_requested_in_chunks_of_eight() -> None:
    wire = line(registers(*range(1, 9)), registers(10, 9))
    found = wire.run(PollRequest(sources=tuple(range(1, 11))))
    assert wire.sent == [ask_registers(*range(1, 9)), ask_registers(9, 10)]
    assert {obj.id: obj.value for obj in found.objects} == {n: Decimal(n) for n in range(1, 11)}
    assert found.unsupported == frozenset()
    assert found.learned == {}


def test_registers_that_are_left_out_are_unsupported() -> None:
    found = line(registers(60, 80)).run(PollRequest(sources=(60, 266, 80)))
    assert ids(found) == [60, 80]
    assert found.unsupported == {266}


def test_an_empty_answer_supports_nothing() -> None:
    found = line(answer("3F10")).run(PollRequest(sources=(60, 266)))
    assert found == PollResponse(objects=(), unsupported=frozenset({60, 266}))


def test_identity_comes_first_and_the_type_last() -> None:
    wire = line(SERIAL, registers(60), TYPE)
    found = wire.run(PollRequest(sources=(60,), identity=("serial_no", 1001)))
    assert wire.sent == [request("3F02"), ask_registers(60), request("3F01")]
    assert ids(found) == ["serial_no", 60, "type", "software"]
    assert found.objects[0].value == "123456"


def test_without_serial_number_register_1001_is_asked() -> None:
    wire = line(SILENT, registers(60, 1001), SILENT)
    found = wire.run(PollRequest(sources=(60,), identity=("serial_no", 1001)))
    assert wire.sent == [request("3F02"), ask_registers(60, 1001), request("3F01")]
    assert ids(found) == [60, 1001]
    assert found.unsupported == frozenset()


def test_register_1001_is_asked_once() -> None:
    wire = line(registers(1001), TYPE)
    wire.run(PollRequest(sources=(1001,), identity=(1001,)))
    assert wire.sent == [ask_registers(1001), request("3F01")]


def test_a_silent_meter_is_asked_three_times_and_given_up() -> None:
    wire = line(SILENT, SILENT, SILENT, SILENT)
    with pytest.raises(MeterError) as caught:
        wire.run(PollRequest(sources=(60, 68)))
    assert caught.value.state is LinkState.NO_BYTES
    # the fourth question is whether it is there at all
    assert wire.sent == [ask_registers(60, 68)] * 3 + [request("3F02")]
    assert wire.pauses == [1.6] * 3


def test_a_silent_meter_with_a_request_for_its_identity_only() -> None:
    for source in ("serial_no", "type"):
        wire = line(SILENT, SILENT, SILENT)
        with pytest.raises(MeterError):
            wire.run(PollRequest(sources=(source,)))
        assert len(wire.sent) == 3


def test_damage_is_repeated_after_a_rest() -> None:
    wire = line(DAMAGED, DAMAGED, registers(60))
    assert ids(wire.run(PollRequest(sources=(60,)))) == [60]
    assert wire.pauses == [1.6, 1.6]


def test_damage_three_times_is_the_end() -> None:
    wire = line(DAMAGED, DAMAGED, DAMAGED)
    with pytest.raises(MeterError) as caught:
        wire.run(PollRequest(sources=(60,)))
    assert caught.value.state is LinkState.CHECKSUM
    assert len(wire.sent) == 3


def test_a_serial_number_that_comes_damaged_is_asked_again() -> None:
    wire = line(DAMAGED, SERIAL, registers(60), TYPE)
    found = wire.run(PollRequest(sources=(60,), identity=("serial_no", 1001)))
    assert ids(found) == ["serial_no", 60, "type", "software"]


@pytest.mark.parametrize(
    "late",
    [
        SERIAL,
        registers(68),
        registers(60, 68),
        answer("7F10" + "003C280200003C"),
        request("3F1001003C"),
        b"\x06",
        answer("3F10 003C 28 04 00 003C"),
    ],
)
def test_an_answer_to_another_request_is_not_ours(late: bytes) -> None:
    wire = line(late, registers(60))
    assert ids(wire.run(PollRequest(sources=(60,)))) == [60]
    assert len(wire.sent) == 2


def test_nothing_at_all_is_no_answer() -> None:
    conversation = KmpCodec(timings=timings(tries=1)).poll(PollRequest(sources=(60,)))
    next(conversation)
    with pytest.raises(MeterError, match="answer to another request: nothing"):
        conversation.send(None)


def test_a_register_that_silences_the_meter_is_found_by_halves() -> None:
    asked = (60, 68, 74, 155, 80)

    def meter(request_: bytes) -> bytes | MeterError:
        if request_ == request("3F02"):
            return SERIAL
        for some in ((60, 68), (74,), (80,)):
            if request_ == ask_registers(*some):
                return registers(*some)
        return SILENT

    wire = Line(KmpCodec(), meter)
    found = wire.run(PollRequest(sources=asked))
    assert ids(found) == [60, 68, 74, 80]
    assert found.unsupported == {155}
    # three tries for all, two for 74 155 80 and for 155 80 and for 155, each time asked whether
    # the meter still answers
    assert wire.sent.count(ask_registers(*asked)) == 3
    assert wire.sent.count(ask_registers(155)) == 2
    assert wire.sent.count(request("3F02")) == 4


@pytest.mark.parametrize(
    ("failure", "tries"),
    [(SILENT, 4), (DAMAGED, 3)],  # silence: is it awake at all?
)
def test_a_failed_request_keeps_the_answers_before_it(failure: MeterError, tries: int) -> None:
    wire = line(SERIAL, registers(*range(1, 8)), *[failure] * tries)
    found = wire.run(PollRequest(sources=(*range(1, 18), "type"), identity=("serial_no",)))
    assert ids(found) == ["serial_no", *range(1, 8)]
    assert found.unsupported == {8}  # that one was left out; of the others nothing is known
    assert found.failed_sources == {*range(9, 18), "type"}
    assert found.error is failure


def test_a_poll_without_any_register_fails() -> None:
    wire = line(SERIAL, registers(), *[DAMAGED] * 3)
    with pytest.raises(MeterError, match="wrong checksum"):
        wire.run(PollRequest(sources=tuple(range(1, 10)), identity=("serial_no",)))


@pytest.mark.parametrize("identity", [(), ("serial_no",)])
def test_a_meter_that_was_mute_is_knocked_at_once(identity: tuple[SourceId, ...]) -> None:
    wire = line(SILENT)
    with pytest.raises(MeterError, match="no answer"):
        wire.run(PollRequest(sources=(60, 68), identity=identity, probe_only=True))
    assert len(wire.sent) == 1
    assert wire.pauses in ([], [1.6])


def test_a_meter_that_answers_the_probe_is_read_as_usual() -> None:
    wire = line(registers(*range(1, 9)), DAMAGED, DAMAGED, registers(9))
    found = wire.run(PollRequest(sources=tuple(range(1, 10)), probe_only=True))
    assert ids(found) == [*range(1, 10)]
    assert found.error is None


def test_decode_is_for_both_directions() -> None:
    codec = KmpCodec()
    assert codec.decode(frame_of(request("3F1001003C"))).header["registers"] == [60]
    assert codec.decode(frame_of(registers(60))).objects[0].id == 60
