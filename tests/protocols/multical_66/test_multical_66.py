"""MULTICAL 66 and III. The answer to /#1: KenanV/KamstrupMultical66, demo_output; requests with
parity: iec62056_21.md 6."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import ConfigError, MeterError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.protocols.base import (
    Configure,
    DroppedBytes,
    DropReason,
    Frame,
    Pause,
    PollRequest,
    PollResponse,
    PollTimings,
    Send,
)
from kamstrup_mqtt.protocols.multical_66 import SPEC, Multical66Codec
from kamstrup_mqtt.protocols.multical_66.codec import TIMINGS
from kamstrup_mqtt.protocols.multical_66.framing import Multical66Framer
from tests.support.framing import events_of, frames_of, random_splits, single_bytes


def timings(**changes: Any) -> PollTimings:
    return replace(TIMINGS, **changes)


ONE = b"0507109 1296626 0032673 0006811 0003366 0003445 0000031 0000079 0000093 0000000\r"
TWO = b"00002742640 0000000 0000000 0000000 0000000 0000000 0000000 0010423 0000000 0260120\r"
ASK_1, ASK_2 = bytes.fromhex("AFA3B1"), bytes.fromhex("AFA3B2")
SILENT = MeterError(LinkState.NO_BYTES, "no answer")


def even(text: bytes) -> bytes:
    """Even parity, bit by bit."""
    return bytes(c | ((sum(c >> n & 1 for n in range(7)) % 2) << 7) for c in text)


def frame(text: bytes) -> Frame:
    return Frame(even(text), text.rstrip(b"\r"), "answer", "data")


@pytest.mark.parametrize("text", [ONE, TWO, ONE.replace(b"0003445", b"-002735"), b" " + ONE])
def test_answers(text: bytes) -> None:
    wire, expected = even(text), [frame(text)]
    assert events_of(Multical66Framer(), [wire]) == expected
    assert events_of(Multical66Framer(), single_bytes(wire)) == expected
    for seed in range(20):
        assert events_of(Multical66Framer(), random_splits(wire, seed)) == expected
    assert frames_of(Multical66Framer(), [wire + wire]) == expected * 2
    assert frames_of(Multical66Framer(), [b"\x00\xff\x55abc" + wire]) == expected
    bare = Frame(text, text.rstrip(b"\r"), "answer", "data")
    assert events_of(Multical66Framer(), [text]) == [bare]


@pytest.mark.parametrize("cut", range(1, len(ONE)))
def test_an_answer_that_was_cut_off(cut: int) -> None:
    framer = Multical66Framer()
    framer.receive_data(even(ONE)[:cut])
    framer.end_burst()
    assert frames_of(framer, [even(ONE)]) == [frame(ONE)]
    # without a silence the start of the complete one is unknown; nothing wrong is read
    for found in frames_of(Multical66Framer(), [even(ONE)[:cut] + even(ONE)]):
        assert found == frame(ONE) or len(found.payload.split()[0]) == 11


def test_requests_and_lines_that_are_no_requests() -> None:
    asked = Frame(ASK_1, b"/#1", "request", "request")
    assert events_of(Multical66Framer(), [b"\0" * 20 + ASK_1 + even(ONE)]) == [asked, frame(ONE)]
    other = DroppedBytes(DropReason.GARBAGE, b"/?!\n")
    assert events_of(Multical66Framer(), [b"/?!\n" + ASK_1]) == [other, asked]
    damaged = bytearray(even(ONE))
    damaged[3] ^= 1
    framer = Multical66Framer()
    assert events_of(framer, [bytes(damaged)]) == [
        DroppedBytes(DropReason.CHECKSUM, bytes(damaged))
    ]
    assert framer.parity_errors == 1
    assert events_of(Multical66Framer(), [b"abc\r"]) == [DroppedBytes(DropReason.GARBAGE, b"abc\r")]
    (long,) = events_of(Multical66Framer(), [b"a" * 256])
    assert long == DroppedBytes(DropReason.LENGTH, b"a" * 256)
    framer = Multical66Framer()
    framer.receive_data(ONE[:9])
    framer.end_burst()
    framer.end_burst()
    assert framer.next_event() == DroppedBytes(DropReason.TRUNCATED, ONE[:9])
    assert framer.next_event() is None


@given(st.binary(max_size=600))
def test_rubbish(data: bytes) -> None:
    framer = Multical66Framer()
    framer.receive_data(data)
    framer.end_burst()
    while (event := framer.next_event()) is not None:
        assert len(event.raw) <= 256


def test_the_values_of_the_numbers() -> None:
    found = {o.id: o for o in Multical66Codec().decode(frame(ONE)).objects}
    assert found["#1.t1"].value == Decimal("68.11")
    assert (found["#1.diff"].value, found["#1.diff"].unit) == (Decimal("34.45"), "K")
    assert (found["#1.hours"].value, found["#1.hours"].unit) == (Decimal(32673), "h")
    assert (found["#1.energy"].value, found["#1.energy"].unit) == (Decimal(507109), None)
    other = {o.id: o.value for o in Multical66Codec().decode(frame(TWO)).objects}
    assert other["#2.customer"] == "00002742640"
    cold = ONE.replace(b"0003445", b"-000235")
    below = {o.id: o.value for o in Multical66Codec().decode(frame(cold)).objects}
    assert below["#1.diff"] == Decimal("-2.35")
    asked = Multical66Codec().decode(Frame(ASK_1, b"/#1", "request", "request"))
    assert asked.header["text"] == "/#1"
    with pytest.raises(MeterError, match="not the 10 numbers"):
        talk(
            Multical66Codec(timings=timings(tries=1)),
            PollRequest(sources=("#1.t1",)),
            frame(TWO),
        )


def test_names() -> None:
    assert SPEC.key_of("#1.t1") == "temp1"
    assert SPEC.key_of("#1.energy") is None
    assert SPEC.fallback_key("#1.energy") == "register_1_energy"
    assert SPEC.parse_source(" #2.CUSTOMER ") == "#2.customer"
    with pytest.raises(ValueError, match="is no field"):
        SPEC.parse_source("60")


def test_a_codec_makes_its_framer() -> None:
    assert isinstance(SPEC.make_codec().framer(), Multical66Framer)


def talk(codec: Multical66Codec, ask: PollRequest, *said: Any) -> tuple[PollResponse, list[Any]]:
    replies, steps = iter(said), []
    conversation = codec.poll(ask)
    step = next(conversation)
    try:
        while True:
            steps.append(step)
            if isinstance(step, Send) and step.expects_response:
                reply = next(replies)
                failed = isinstance(reply, MeterError)
                step = conversation.throw(reply) if failed else conversation.send(reply)
            else:
                step = conversation.send(None)
    except StopIteration as stop:
        return stop.value, steps


def test_request_at_300_baud_and_answer_at_1200() -> None:
    ask = PollRequest(sources=("#1.t1", "#2.customer", "#9.x"))
    answer, steps = talk(Multical66Codec(), ask, frame(ONE), frame(TWO))
    assert [step.data for step in steps if isinstance(step, Send)] == [ASK_1, b"", ASK_2, b""]
    speeds = [step.baudrate for step in steps if isinstance(step, Configure)]
    assert speeds == [1200, 300, 1200, 300]
    assert [step.seconds for step in steps if isinstance(step, Pause)] == [5.0]
    assert answer.unsupported == {"#9.x"}
    assert len(answer.objects) == 20


def test_again_after_a_failure() -> None:
    answer, steps = talk(Multical66Codec(), PollRequest(sources=()), SILENT, frame(ONE))
    assert len(answer.objects) == 10
    speeds = [step.baudrate for step in steps if isinstance(step, Configure)]
    assert speeds == [1200, 300, 1200, 300]
    with pytest.raises(MeterError, match="no answer"):
        talk(Multical66Codec(), PollRequest(sources=()), SILENT, SILENT)


def test_a_failed_second_answer_keeps_the_first() -> None:
    ask = PollRequest(sources=("#1.t1", "#2.customer"))
    answer, _ = talk(Multical66Codec(), ask, frame(ONE), SILENT, SILENT)
    assert len(answer.objects) == 10
    assert answer.failed_sources == {"#2.customer"}
    assert answer.unsupported == frozenset()
    assert answer.error is SILENT


def test_a_meter_that_was_mute_is_knocked_at_once() -> None:
    with pytest.raises(MeterError, match="no answer"):
        talk(Multical66Codec(), PollRequest(sources=("#1.t1", "#2.date"), probe_only=True), SILENT)
    ask = PollRequest(sources=("#1.t1", "#2.date"), probe_only=True)
    answer, _ = talk(Multical66Codec(), ask, frame(ONE), SILENT, frame(TWO))
    assert len(answer.objects) == 20


@pytest.mark.parametrize(
    ("wake", "data", "rest"),
    # 2.2 s of zeros at 300 baud, eleven bits each; the request /#1, and 5 s as after any request
    [("nul", bytes(60), 1.6), ("ident", ASK_1, 5.0)],
)
def test_the_meter_is_woken_before_the_request(wake: Any, data: bytes, rest: float) -> None:
    _, steps = talk(
        Multical66Codec(timings=timings(wake=wake)),
        PollRequest(sources=("#1.t1",)),
        frame(ONE),
    )
    assert steps[0] == Send(
        data=data, response_timeout=0, inter_byte_timeout=0, total_timeout=0, expects_response=False
    )
    assert steps[1] == Pause(rest)
    assert [step.data for step in steps[2:] if isinstance(step, Send)] == [ASK_1, b""]


def test_an_answer_without_published_meaning_is_returned_as_text() -> None:
    line = b"0000001 0000002 0000003\r"
    assert not frames_of(Multical66Framer(), [even(line)])  # /#1 and /#2 have ten numbers
    codec = Multical66Codec()
    framer = codec.framer()
    answer, steps = talk(codec, PollRequest(sources=("#3",)), frame(line))
    assert steps[0].data == bytes.fromhex("AFA333")  # 33 has four ones
    assert frames_of(framer, [even(line)]) == [frame(line)]
    (found,) = answer.objects
    assert (found.id, found.value) == ("#3", "0000001 0000002 0000003")
    assert SPEC.fallback_key("#3") == "register_3"
    assert SPEC.parse_source("#3") == "#3"
    with pytest.raises(ValueError, match="is no field"):
        SPEC.parse_source("#7")  # the log of 960 hours
    talk(codec, PollRequest(sources=("#1.t1",)), frame(ONE))
    assert not frames_of(framer, [even(line)])


def test_the_emulated_meter() -> None:
    meter: Any = make_emulator("multical_66", "multical-66", {"#1.t1": "7000"})
    speed, reply = meter.receive_data(ASK_1)
    assert (speed.data, speed.baudrate) == (b"", 1200)
    assert (reply.data, reply.baudrate) == (even(ONE.replace(b"0006811", b"0007000")), 300)
    assert meter.receive_data(even(b"/#9")) == []
    assert meter.receive_data(even(b"/#4"))[1].data == even(b"0000041 0000042\r")
    with pytest.raises(ConfigError, match="digits for one of"):
        make_emulator("multical_66", "multical-66", {"temp1": "1"})
