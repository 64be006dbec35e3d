"""KMP frames: what is a frame, what is not, and that the stream always goes on."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Frame
from kamstrup_mqtt.protocols.kmp.framing import (
    MAX_FRAME,
    MAX_GARBAGE,
    KmpFramer,
    crc,
    encode_frame,
    stuff,
    unstuff,
)
from tests.support.framing import check_framer, drain, events_of, frames_of, single_bytes
from tests.support.kmp_frames import answer, crc16, request, wire

# name: wire, direction, payload (typed from the documents: unstuffed, without the CRC)
WHOLE = {
    # PyKMP's README, get-register --register 1002 (seed 002)
    "1002 asked": ("803F100103EA4CB70D", "request", "3F100103EA"),
    "1002 answered": ("403F1003EA2F040000030E33B2320D", "answer", "3F1003EA2F040000030E33"),
    # Kamstrup 5512-447 rev M1, 6.2.1 and 6.2.2
    "type asked": ("803F01058A0D", "request", "3F01"),
    "type answered, 06 stuffed": ("403F0100041BF90126990D", "answer", "3F0100040601"),
    "serial asked": ("803F0235E90D", "request", "3F02"),
    "serial answered": ("403F0201234567E9560D", "answer", "3F0201234567"),
    # 6.2.4: register 128, its 80 stuffed; the CRC as the text computes it
    "128 asked": ("803F1001001B7FD4080D", "request", "3F10010080"),
    "128 answered": ("403F10001B7F160411012AF02463030D", "answer", "3F100080160411012AF024"),
    # built: a CRC of 402B, its 40 stuffed; a register 003C in GJ with 40 in the value
    "CRC stuffed": ("803F1002015A009A1BBF2B0D", "request", "3F1002015A009A"),
    "value stuffed": ("403F10003C0804420001E21BBF7E4A0D", "answer", "3F10003C0804420001E240"),
    # computed: nothing that was asked for is there
    "empty answer": ("403F10079A0D", "answer", "3F10"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_frame_in_any_split(name: str) -> None:
    sent, direction, payload = WHOLE[name]
    raw, inner = bytes.fromhex(sent), bytes.fromhex(payload)
    # the frame as typed has the checksum that the bit-wise routine finds
    assert wire(sent[:2], inner) == raw
    frame = Frame(raw, inner, "request" if direction == "request" else "answer")
    check_framer(KmpFramer, raw, [frame])


def test_an_echo_differs_from_the_answer() -> None:
    echo, answered = request("3F100103EA"), answer("3F1003EA2F040000030E33")
    frames = frames_of(KmpFramer(), [echo + answered])
    assert [frame.direction for frame in frames] == ["request", "answer"]
    assert [frame.raw for frame in frames] == [echo, answered]


def test_an_acknowledgement_is_a_frame_by_itself() -> None:
    ack = Frame(b"\x06", b"", "answer", "ack")
    assert events_of(KmpFramer(), [request("3F0100") + b"\x06"])[-1] == ack
    # within garbage a 06 is as good as any other byte
    assert events_of(KmpFramer(), [bytes.fromhex("55 06 06")]) == [
        DroppedBytes(DropReason.GARBAGE, bytes.fromhex("55 06 06"))
    ]


def test_a_stray_zero_between_frames_is_nothing() -> None:
    frame = answer("3F10")
    assert len(events_of(KmpFramer(), [b"\0" + frame + b"\0\0" + frame + b"\0"])) == 2


def test_garbage_between_frames_is_one_event_for_each_run() -> None:
    frame = answer("3F10")
    noise = bytes.fromhex("55 AA 0D 1B 7F")
    events = events_of(KmpFramer(), single_bytes(noise + frame + noise))
    assert events == [
        DroppedBytes(DropReason.GARBAGE, noise),
        Frame(frame, bytes.fromhex("3F10"), "answer"),
        DroppedBytes(DropReason.GARBAGE, noise),
    ]


DAMAGED = {
    # 6.2.4 and 6.2.3 as printed, with the wrong checksum
    "403F10001B7F160411012AF024F38A0D": DropReason.CHECKSUM,
    "803F090001144A00027715C34A0D": DropReason.CHECKSUM,
    "403F0201234567E9570D": DropReason.CHECKSUM,
    # 1B FF means nothing; 1B at the end; a 06 that should have been stuffed
    "403F1BFF0D": DropReason.ESCAPE,
    "403F10079A1B0D": DropReason.ESCAPE,
    "403F01000406012699 0D": DropReason.ESCAPE,
    # shorter than dst, CID and CRC
    "400D": DropReason.LENGTH,
    "403F07E70D": DropReason.LENGTH,
    # no end
    "403F1003EA": DropReason.TRUNCATED,
}


@pytest.mark.parametrize("sent", DAMAGED)
def test_damage_is_named_and_the_next_frame_found(sent: str) -> None:
    damaged, good = bytes.fromhex(sent), answer("3F10")
    assert events_of(KmpFramer(), [damaged]) == [DroppedBytes(DAMAGED[sent], damaged)]
    assert events_of(KmpFramer(), [damaged + good]) == [
        DroppedBytes(DAMAGED[sent], damaged),
        Frame(good, bytes.fromhex("3F10"), "answer"),
    ]


@pytest.mark.parametrize("start", ["40", "80"])
def test_a_start_byte_within_a_frame_begins_a_new_one(start: str) -> None:
    cut, good = bytes.fromhex("403F1003EA2F"), wire(start, "3F10")
    events = events_of(KmpFramer(), [cut + good])
    assert events[0] == DroppedBytes(DropReason.TRUNCATED, cut)
    assert isinstance(events[1], Frame)
    assert events[1].raw == good


def test_unstuffing_is_one_pass() -> None:
    # 1BE4 7F is 1B 7F; replacing one escape after the other makes 80 of it
    sent = bytes.fromhex("3FB81BF90443000B1BE47F000B0FC8")
    assert unstuff(sent) == bytes.fromhex("3FB8060443000B1B7F000B0FC8")


@pytest.mark.parametrize("first", [0x1B, 0x80, 0x40, 0x0D, 0x06, 0x7F])
def test_every_pair_of_bytes_survives_stuffing(first: int) -> None:
    for second in range(256):
        pair = bytes((first, second))
        assert unstuff(stuff(pair)) == pair


def test_an_endless_frame_is_cut_and_the_next_one_found() -> None:
    framer, good = KmpFramer(), answer("3F10")
    events = events_of(framer, [b"\x40" + b"\x55" * MAX_FRAME * 2, good])
    assert events[0] == DroppedBytes(DropReason.LENGTH, b"\x40" + b"\x55" * (MAX_FRAME - 1))
    assert events[-1] == Frame(good, bytes.fromhex("3F10"), "answer")


def test_the_longest_answer_of_eight_registers_passes() -> None:
    register = bytes.fromhex("0040") + bytes((0x33, 16, 0)) + b"\x40" * 16
    payload = bytes.fromhex("3F10") + register * 8
    assert [frame.payload for frame in frames_of(KmpFramer(), [answer(payload)])] == [payload]


@pytest.mark.parametrize("byte", [0x55, 0x40, 0x80, 0x0D, 0x06, 0x00, 0x1B])
def test_100_kB_of_rubbish_fill_nothing(byte: int) -> None:
    framer = KmpFramer()
    for _ in range(1000):
        framer.receive_data(bytes((byte,)) * 100)
        assert all(len(getattr(event, "raw", b"")) <= MAX_FRAME for event in drain(framer))
        assert len(framer._frame) + len(framer._garbage) <= MAX_FRAME
    framer.end_burst()
    for _event in drain(framer):
        pass
    good = answer("3F10")
    assert [frame.raw for frame in frames_of(framer, [good])] == [good]


def test_the_bounds() -> None:
    assert (MAX_FRAME, MAX_GARBAGE) == (1024, 256)
    assert KmpFramer().parity_errors == 0


PAYLOADS = st.binary(min_size=2, max_size=200)


@given(PAYLOADS)
def test_the_checksum_is_the_bitwise_one(payload: bytes) -> None:
    assert crc(payload) == crc16(payload).to_bytes(2, "big")


@given(PAYLOADS, st.booleans())
def test_encoded_values_are_decoded(payload: bytes, to_meter: bool) -> None:
    raw = encode_frame("request" if to_meter else "answer", payload)
    assert raw == wire("80" if to_meter else "40", payload)
    assert frames_of(KmpFramer(), [raw]) == [
        Frame(raw, payload, "request" if to_meter else "answer")
    ]


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=6))
def test_any_split_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[a:b] for a, b in itertools.pairwise(places)]
    assert events_of(KmpFramer(), chunks) == events_of(KmpFramer(), [data])


@given(st.binary(max_size=2000), PAYLOADS)
def test_a_good_frame_after_rubbish_is_found(rubbish: bytes, payload: bytes) -> None:
    good = answer(payload)
    assert frames_of(KmpFramer(), [rubbish + good])[-1] == Frame(good, payload, "answer")
