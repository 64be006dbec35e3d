"""IEC 62056-21 at its limits: lines broken off, ends that come at once, what is remembered."""

from __future__ import annotations

import functools
import operator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState
from kamstrup_mqtt.protocols.base import (
    Configure,
    DroppedBytes,
    DropReason,
    Frame,
    Pause,
    PollRequest,
    PollTimings,
    Send,
)
from kamstrup_mqtt.protocols.iec62056_21 import SPEC
from kamstrup_mqtt.protocols.iec62056_21.block_check import BccVote, bcc, matching_rules
from kamstrup_mqtt.protocols.iec62056_21.codec import TIMINGS, IecCodec
from kamstrup_mqtt.protocols.iec62056_21.framing import IecFramer
from tests.protocols.iec62056_21.test_framing import crc_by_bits, cut, data, make, request
from tests.support import iec_recordings
from tests.support.framing import events_of
from tests.support.kmp_ascii_conversation import run_conversation


def timings(**changes: Any) -> PollTimings:
    return replace(TIMINGS, **changes)


CRLF = bytes.fromhex("AF 3F 21 8D 0A")
LF = bytes.fromhex("AF 3F 21 0A")
ASK = PollRequest(sources=("1.20",))
DATA = data(iec_recordings.SEED)
ISKRA = data(iec_recordings.ISKRA)
ISKRA_IDENT = Frame(iec_recordings.ISKRA[:17], iec_recordings.ISKRA[:17], "answer", "ident")


def send(text: bytes, *, answer: bool = True) -> Send:
    return Send(
        data=text,
        response_timeout=3.0,
        inter_byte_timeout=2.0,
        total_timeout=60.0,
        expects_response=answer,
    )


def fault(state: LinkState) -> MeterError:
    return MeterError(state, "as the exchange says")


# lines


def test_a_cr_alone_ends_a_line() -> None:
    assert cut(b"/?!\r" + iec_recordings.OFFICIAL) == [
        request(b"/?!\r"),
        data(iec_recordings.OFFICIAL),
    ]
    with_parity = bytes.fromhex("AF3F218D")
    assert cut(with_parity + iec_recordings.OFFICIAL)[0] == request(with_parity)


def test_a_line_broken_off_by_the_next_one() -> None:
    assert cut(b"/KA" + iec_recordings.SIGN_ON) == [
        DroppedBytes(DropReason.TRUNCATED, b"/KA"),
        request(iec_recordings.SIGN_ON),
    ]
    assert cut(b"/KA" + iec_recordings.ACK_050) == [
        DroppedBytes(DropReason.TRUNCATED, b"/KA"),
        request(iec_recordings.ACK_050, "ack"),
    ]


def test_a_line_is_no_line_at_64_bytes() -> None:
    framer = make()
    assert events_of(framer, [b"/" + b"a" * 62], quiet=False) == []
    assert events_of(framer, [b"a"], quiet=False) == [
        DroppedBytes(DropReason.GARBAGE, b"/" + b"a" * 63)
    ]


def test_an_acknowledgement_broken_off_by_a_sign_on() -> None:
    assert cut(b"\x0605" + iec_recordings.SIGN_ON) == [
        DroppedBytes(DropReason.GARBAGE, b"\x0605"),
        request(iec_recordings.SIGN_ON),
    ]


def test_an_acknowledgement_ends_at_its_lf_or_with_its_sixth_byte() -> None:
    short = b"\x06050\n"
    assert events_of(make(), [short], quiet=False) == [request(short, "ack")]
    assert events_of(make(), [b"\x06050x"], quiet=False) == []
    assert events_of(make(), [b"\x06050xy"], quiet=False) == [
        DroppedBytes(DropReason.GARBAGE, b"\x06050xy")
    ]


# data lines without STX


def test_data_lines_before_an_stx_are_garbage() -> None:
    ident, block = iec_recordings.SEED[:20], iec_recordings.SEED[20:]
    assert block[:1] == b"\x02"
    assert cut(ident + b"1.8" + block) == [
        DroppedBytes(DropReason.GARBAGE, b"1.8"),
        data(iec_recordings.SEED),
    ]


def test_lines_are_too_long_at_16384_bytes() -> None:
    framer = make()
    assert events_of(framer, [iec_recordings.IDENT + b"1" * 16383], quiet=False) == []
    assert events_of(framer, [b"1"], quiet=False) == [
        DroppedBytes(DropReason.LENGTH, iec_recordings.IDENT + b"1" * 16384)
    ]


def test_a_telegram_ends_at_once() -> None:
    wire = iec_recordings.P1 + crc_by_bits(iec_recordings.P1) + b"\r\n"
    assert events_of(make(), [wire], quiet=False) == [Frame(wire, wire, "push", "data")]


def test_behind_the_end_of_the_lines_eight_bytes_are_too_many() -> None:
    framer, wire = make(), b"/XYZ3D-METER\r\n\r\n1.8.0(1)\r\n!ABCDEF"
    assert events_of(framer, [wire], quiet=False) == []
    assert events_of(framer, [b"G"], quiet=False) == [
        DroppedBytes(DropReason.CHECKSUM, wire + b"G")
    ]


def test_a_bang_within_brackets_ends_nothing() -> None:
    telegram = b"/KAM5\r\n\r\n0-0:1.0.0(2)\r\n0-0:96.13.0(a!b)\r\n!"
    wire = telegram + crc_by_bits(telegram) + b"\r\n"
    assert events_of(make(), [wire], quiet=False) == [Frame(wire, wire, "push", "data")]


def test_lines_without_any_brackets_end_too() -> None:
    wire = b"/XYZ3D-METER\r\n\r\nx\r\n!\r\n"
    assert events_of(make(), [wire], quiet=False) == [Frame(wire, wire, "push", "data")]


@pytest.mark.parametrize("tail", [b"! \r\n", b"!X\r\n", b"!\x7e\r\n"])
def test_more_than_a_line_end_behind_the_end_is_damage(tail: bytes) -> None:
    wire = b"/XYZ3D-METER\r\n\r\n1.8.0(1)\r\n" + tail
    assert cut(wire) == [DroppedBytes(DropReason.CHECKSUM, wire)]


# check characters


def test_a_check_character_that_was_lost_costs_one_readout() -> None:
    without = iec_recordings.SEED[:-1]
    assert cut(without + iec_recordings.SIGN_ON) == [
        DroppedBytes(DropReason.CHECKSUM, without),
        request(iec_recordings.SIGN_ON),
    ]


def test_no_check_of_readouts_is_still_one_of_commands() -> None:
    damaged = iec_recordings.BREAK[:-1] + b"\x70"
    assert cut(damaged, bcc="none") == [DroppedBytes(DropReason.CHECKSUM, damaged)]


def test_one_frame_of_a_kamstrup_in_mode_c_decides_nothing() -> None:
    """Which rule these follow is not documented; A(B) has a sum of 57 [test_codec]."""
    vote = BccVote("auto")
    wire = b"/KAM5MC\r\n\x02A(B)\x03\x57"
    assert events_of(IecFramer(vote), [wire]) == [data(wire)]
    assert vote.learned is None


# messages


def test_maker_and_model_are_in_the_identification() -> None:
    assert IecCodec().decode(ISKRA_IDENT).objects == (
        DecodedValue("manufacturer", "ISk", "ISk"),
        DecodedValue("ident", "ME172-0000", "ME172-0000"),
    )


@pytest.mark.parametrize(
    ("wire", "kind", "text"),
    [
        (b"\x01R1\x02C001()\x03\x00", "command", "R1 C001()"),
        (b"/# \r\n", "request", "/# "),
        (b"/#X\r\n", "request", "/#X"),
    ],
)
def test_the_text_of_a_request(wire: bytes, kind: str, text: str) -> None:
    assert IecCodec().decode(request(wire, kind)).header["text"] == text


def test_addresses_in_capitals_and_small_letters() -> None:
    assert SPEC.parse_source(" C.1.0 ") == "C.1.0"
    assert SPEC.parse_source("c.1.0") == "c.1.0"
    with pytest.raises(ValueError, match="not an address") as caught:
        SPEC.parse_source("1 8")
    assert (
        str(caught.value) == "1 8: not an address; write it as the meter sends it, such as 1.20.1"
    )


def test_a_readout_without_values_is_a_fault_of_the_line() -> None:
    block = b"\x02!\r\n\x03"
    with pytest.raises(MeterError, match="no values") as caught:
        IecCodec().decode(data(block + b"\x00"))
    assert caught.value.state is LinkState.BYTES_NO_FRAMES


# conversation


def test_the_rest_after_a_failure_is_as_long_as_the_documents_say() -> None:
    steps, _ = run_conversation(IecCodec().poll(ASK), [fault(LinkState.CHECKSUM), None, DATA])
    assert steps == [send(CRLF), Pause(1.6), send(CRLF)]


@pytest.mark.parametrize(("known", "sign_on"), [("lf", LF), ("crlf", CRLF)])
def test_learned_facts_are_kept(known: str, sign_on: bytes) -> None:
    codec = IecCodec(learned={"sign_on": known})
    steps, answer = run_conversation(codec.poll(ASK), [fault(LinkState.CHECKSUM), None, DATA])
    assert steps == [send(sign_on), Pause(1.6), send(sign_on)]
    assert answer.learned == {"sign_on": known}
    # nothing is learned where nothing was tried
    assert run_conversation(IecCodec().poll(ASK), [DATA])[1].learned == {}


def test_a_newly_opened_line_may_change_its_speed() -> None:
    codec = IecCodec()
    run_conversation(codec.poll(ASK), [ISKRA_IDENT, None, fault(LinkState.BUSY), ISKRA])
    codec.framer()
    steps, _ = run_conversation(codec.poll(ASK), [ISKRA_IDENT, None, None, None, None, ISKRA, None])
    assert Configure(9600) in steps


def test_something_else_than_a_readout_is_a_fault_of_the_line() -> None:
    with pytest.raises(MeterError, match="instead of a readout") as caught:
        run_conversation(
            IecCodec(timings=timings(tries=1)).poll(ASK),
            [request(iec_recordings.ACK_050, "ack")],
        )
    assert caught.value.state is LinkState.BYTES_NO_FRAMES


# the last byte


def test_garbage_is_reported_as_soon_as_there_are_256_bytes_of_it() -> None:
    framer = make()
    assert events_of(framer, [b"U" * 255], quiet=False) == []
    assert events_of(framer, [b"U"], quiet=False) == [DroppedBytes(DropReason.GARBAGE, b"U" * 256)]


def test_blank_lines_are_kept_up_to_64_bytes() -> None:
    kept = iec_recordings.IDENT + b"\r\n" * 22
    assert len(kept) == 64
    assert cut(kept + b"\r\n") == [Frame(kept, kept, "answer", "ident")]


def test_a_data_line_may_begin_with_a_blank() -> None:
    wire = b"/XYZ3D-METER\r\n\r\n 1.8.0(1)\r\n!\r\n"
    assert cut(wire) == [Frame(wire, wire, "push", "data")]


def test_a_block_is_too_long_at_16384_bytes() -> None:
    framer = make()
    block = b"\x02" + b"1" * 16382
    assert events_of(framer, [iec_recordings.IDENT + block], quiet=False) == []
    assert events_of(framer, [b"1"], quiet=False) == [
        DroppedBytes(DropReason.LENGTH, iec_recordings.IDENT + block + b"1")
    ]


def test_a_block_broken_off_by_a_command_or_a_line() -> None:
    begun = iec_recordings.IDENT + b"\x021.8.0(1)"
    assert cut(begun + iec_recordings.BREAK) == [
        DroppedBytes(DropReason.TRUNCATED, begun),
        request(iec_recordings.BREAK, "command"),
    ]
    assert cut(begun + b"\r\n" + iec_recordings.SIGN_ON) == [
        DroppedBytes(DropReason.TRUNCATED, begun + b"\r\n"),
        request(iec_recordings.SIGN_ON),
    ]


@pytest.mark.parametrize("line", [b"/# \r\n", b"/#X\r\n"])
def test_a_short_request_may_have_any_character(line: bytes) -> None:
    assert cut(line) == [request(line)]


def test_a_complete_line_without_meaning_is_garbage() -> None:
    assert cut(b"/1 x\r\n") == [DroppedBytes(DropReason.GARBAGE, b"/1 x\r\n")]
    assert cut(b"/1 x") == [DroppedBytes(DropReason.TRUNCATED, b"/1 x")]


@pytest.mark.parametrize("ident", [b"/KAM \r\n", b"/KAMX\r\n"])
def test_one_frame_of_a_kamstrup_in_mode_a_decides(ident: bytes) -> None:
    """382 interface specification 040611, p. 3: the sum; the shortest identification there is."""
    vote = BccVote("auto")
    wire = ident + b"\x02A(B)\x03\x57"
    assert events_of(IecFramer(vote), [wire]) == [data(wire)]
    assert vote.learned == "sum"


def test_no_check_character_is_right_by_no_rule() -> None:
    assert matching_rules(b"") == ()


@given(st.binary(max_size=700) | st.builds(bytes.__mul__, st.binary(max_size=3), st.just(9000)))
def test_check_characters_of_any_length(text: bytes) -> None:
    assert bcc("sum", text) == sum(text) % 128
    assert bcc("xor", text) == functools.reduce(operator.xor, text, 0) % 128
