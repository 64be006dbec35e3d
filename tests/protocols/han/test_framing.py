"""HDLC frames: by length, confirmed by checksum, found again after any damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame
from kamstrup_mqtt.protocols.han import framing
from kamstrup_mqtt.protocols.han.framing import (
    MAX_MESSAGE,
    HdlcFramer,
    encode_frame,
    header_end,
    x25,
)
from tests.support.framing import check_framer, drain, events_of, frames_of, single_bytes
from tests.support.han_recordings import HOURLY_1, LIVE_1, LIVE_2, LIVE_3, SEED, fcs, hdlc


def frame(wire: bytes) -> Frame:
    return Frame(wire, wire[1:-3], "push")


def dropped(events: list[Event]) -> list[tuple[DropReason, bytes]]:
    return [(event.reason, event.raw) for event in events if isinstance(event, DroppedBytes)]


def test_x25() -> None:
    assert x25(b"123456789") == bytes.fromhex("6E90")  # 906E, as the seed's crccalc.com has it
    assert x25(b"") == b"\x00\x00"


@given(st.binary(max_size=300))
def test_x25_is_the_bitwise_one(data: bytes) -> None:
    assert x25(data) == fcs(data)
    assert x25(bytearray(data)) == fcs(data)


@pytest.mark.parametrize("wire", SEED)
def test_the_seeds_checksums(wire: bytes) -> None:
    assert fcs(wire[1:6]) == wire[6:8]
    assert fcs(wire[1:-3]) == wire[-3:-1]


@pytest.mark.parametrize("wire", SEED)
def test_a_frame_of_the_seed_in_any_split(wire: bytes) -> None:
    check_framer(HdlcFramer, wire, [frame(wire)], splits=5)


def test_all_frames_of_the_seed_in_one_burst() -> None:
    assert frames_of(HdlcFramer(), [b"".join(SEED)]) == [frame(wire) for wire in SEED]


def test_one_flag_between_two_frames() -> None:
    check_framer(HdlcFramer, LIVE_2 + HOURLY_1[1:], [frame(LIVE_2), frame(HOURLY_1)], splits=5)


def test_any_number_of_flags_between_two_frames() -> None:
    events = events_of(HdlcFramer(), [b"\x7e" * 50 + LIVE_1 + b"\x7e" * 9 + LIVE_2 + b"\x7e"])
    assert events == [frame(LIVE_1), frame(LIVE_2)]


def test_garbage_between_frames_is_dropped_between_them() -> None:
    events = events_of(HdlcFramer(), [LIVE_1 + b"\x00\xff~zz" + LIVE_3 + b"\x13\x37"])
    assert events == [
        frame(LIVE_1),
        DroppedBytes(DropReason.GARBAGE, b"\x00\xff~zz"),
        frame(LIVE_3),
        DroppedBytes(DropReason.GARBAGE, b"\x13\x37"),
    ]


@pytest.mark.parametrize("at", range(1, len(LIVE_2) - 1))
def test_one_damaged_byte_costs_one_frame(at: int) -> None:
    damaged = LIVE_2[:at] + bytes([LIVE_2[at] ^ 0x10]) + LIVE_2[at + 1 :]
    events = events_of(HdlcFramer(), [LIVE_1 + damaged + LIVE_3])
    assert [event for event in events if isinstance(event, Frame)] == [frame(LIVE_1), frame(LIVE_3)]
    assert len(dropped(events)) >= 1


@pytest.mark.parametrize("at", [2, 8, 120, 226])
def test_one_missing_or_extra_byte_costs_one_frame(at: int) -> None:
    for damaged in (LIVE_1[:at] + LIVE_1[at + 1 :], LIVE_1[:at] + b"\x55" + LIVE_1[at:]):
        for chunks in ([damaged + LIVE_3], single_bytes(damaged + LIVE_3)):
            assert frames_of(HdlcFramer(), chunks) == [frame(LIVE_3)]


def test_a_wrong_length_is_detected_at_the_header() -> None:
    framer = HdlcFramer()
    framer.receive_data(b"\x7e\xa7\xff" + LIVE_1[3:] + LIVE_2)
    assert list(drain(framer)) == [
        DroppedBytes(DropReason.CHECKSUM, b"\x7e\xa7\xff" + LIVE_1[3:]),
        frame(LIVE_2),
    ]


def test_a_damaged_frame_is_dropped_in_one_piece() -> None:
    damaged = LIVE_1[:100] + b"\xff" + LIVE_1[101:]
    expected = DroppedBytes(DropReason.CHECKSUM, damaged)
    assert events_of(HdlcFramer(), [damaged]) == [expected]
    assert events_of(HdlcFramer(), single_bytes(damaged)) == [expected]
    assert events_of(HdlcFramer(), [damaged + LIVE_2]) == [expected, frame(LIVE_2)]


def test_the_header_is_verified_before_the_frame_is_complete() -> None:
    framer = HdlcFramer()
    damaged = LIVE_1[:6] + b"\x24" + LIVE_1[7:10]
    framer.receive_data(damaged)
    assert list(drain(framer)) == []
    framer.receive_data(LIVE_2[:20])  # the start of a good one: what came before is settled
    assert list(drain(framer)) == [DroppedBytes(DropReason.CHECKSUM, damaged)]


def test_silence_gives_up_a_partial_frame() -> None:
    framer = HdlcFramer()
    framer.receive_data(LIVE_1[:100])
    assert list(drain(framer)) == []
    framer.end_burst()
    assert list(drain(framer)) == [DroppedBytes(DropReason.TRUNCATED, LIVE_1[:100])]
    framer.receive_data(LIVE_2)
    assert list(drain(framer)) == [frame(LIVE_2)]


def test_silence_finds_the_good_frames_behind_a_partial_one() -> None:
    framer = HdlcFramer()
    framer.receive_data(HOURLY_1[:60] + LIVE_1)  # 288 bytes: the hourly list would be 302
    assert list(drain(framer)) == []
    framer.end_burst()
    assert list(drain(framer)) == [DroppedBytes(DropReason.TRUNCATED, HOURLY_1[:60]), frame(LIVE_1)]


def test_silence_in_front_of_new_bytes_keeps_the_order() -> None:
    framer = HdlcFramer()
    framer.receive_data(LIVE_1[:100])
    framer.end_burst()
    framer.receive_data(LIVE_2)
    assert list(drain(framer)) == [
        DroppedBytes(DropReason.TRUNCATED, LIVE_1[:100]),
        frame(LIVE_2),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7])
def test_silence_after_a_few_bytes(size: int) -> None:
    expected = [] if size == 1 else [DroppedBytes(DropReason.TRUNCATED, LIVE_1[:size])]
    assert events_of(HdlcFramer(), [LIVE_1[:size]]) == expected
    assert events_of(HdlcFramer(), []) == []


def test_a_frame_without_flags_is_still_a_frame() -> None:
    """Both its checksums are right: `as many come out as are in it with a right FCS`."""
    no_end = Frame(LIVE_1[:-1], LIVE_1[1:-3], "push")
    assert events_of(HdlcFramer(), [LIVE_1[:-1]]) == [no_end]
    events = events_of(HdlcFramer(), [LIVE_1[:-1] + b"\x55" + LIVE_2])
    assert events == [no_end, DroppedBytes(DropReason.GARBAGE, b"\x55"), frame(LIVE_2)]
    no_start = Frame(LIVE_1[1:], LIVE_1[1:-3], "push")
    for chunks in ([LIVE_1[1:]], single_bytes(LIVE_1[1:])):
        assert events_of(HdlcFramer(), chunks) == [no_start]
    neither = LIVE_1[1:-1] + HOURLY_1[1:-1] + LIVE_3[1:-1]
    payloads = [LIVE_1[1:-3], HOURLY_1[1:-3], LIVE_3[1:-3]]
    for chunks in ([neither], single_bytes(neither)):
        assert [found.payload for found in frames_of(HdlcFramer(), chunks)] == payloads


def test_a_closing_flag_is_waited_for() -> None:
    framer = HdlcFramer()
    framer.receive_data(LIVE_1[:-1])
    assert list(drain(framer)) == []
    framer.receive_data(LIVE_1[-1:])
    assert list(drain(framer)) == [frame(LIVE_1)]


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("7E A0 06 2B 21 13 00 00 00", DropReason.LENGTH),  # shorter than any frame
        ("7E A0 08 00 00 01 00 01 13 00 00", DropReason.LENGTH),  # the addresses fill it
        ("7E A0 20 00 00 00 00 01 13 00 00", DropReason.GARBAGE),  # no end of the address
        ("7E 90 20 2B 21 13 00 00", DropReason.GARBAGE),  # not of type A
    ],
)
def test_false_starts(start: str, reason: DropReason) -> None:
    wire = bytes.fromhex(start)
    if reason is DropReason.GARBAGE and wire[1] == 0x90:
        wire = wire[1:]
    events = events_of(HdlcFramer(), [bytes.fromhex(start) + LIVE_1])
    assert events == [DroppedBytes(reason, wire), frame(LIVE_1)]


def test_addresses_of_several_bytes() -> None:
    wire = hdlc(b"\xe6\xe7\x00\x0f", "41 08 83 13")  # Aidon: source 0883
    assert frames_of(HdlcFramer(), [wire]) == [frame(wire)]
    wire = hdlc(b"\xe6\xe7\x00\x0f", "02 04 06 09 02 04 06 09 10")
    check_framer(HdlcFramer, wire, [frame(wire)], splits=5)


def test_a_frame_without_information() -> None:
    body = bytes.fromhex("A0 07 2B 21 13")  # its FCS stands where the HCS would
    wire = b"\x7e" + body + fcs(body) + b"\x7e"
    assert frames_of(HdlcFramer(), [wire]) == [frame(wire)]


LLC = b"\xe6\xe7\x00"


def test_segments_are_put_together() -> None:
    first, second, last = (
        hdlc(LLC + b"\x0fAB", segmented=True),
        hdlc(b"CD~", segmented=True),
        hdlc(b"EF"),
    )
    (found,) = frames_of(HdlcFramer(), [first, second + last])
    assert found.raw == first + second + last
    assert found.payload == first[1:-3] + b"CD~EF"
    assert encode_frame(LLC + b"\x0fAB", b"\x2b", b"\x21", 0x13, segmented=True) == first
    # quiet between them is no loss
    framer = HdlcFramer()
    assert events_of(framer, [first]) == []
    assert [e.payload for e in frames_of(framer, [last])] == [first[1:-3] + b"EF"]


def test_segments_that_lost_one_are_given_up() -> None:
    first, last = hdlc(LLC + b"\x0f", segmented=True), hdlc(b"EF")
    whole = hdlc(LLC + b"\x0fX")
    lost = DroppedBytes(DropReason.TRUNCATED, first)
    assert events_of(HdlcFramer(), [first + whole]) == [lost, frame(whole)]
    assert events_of(HdlcFramer(), [first + first + last])[0] == lost
    damaged = bytearray(last)
    damaged[-2] ^= 1
    assert events_of(HdlcFramer(), [first + bytes(damaged) + whole]) == [
        lost,
        DroppedBytes(DropReason.CHECKSUM, bytes(damaged)),
        frame(whole),
    ]
    other = hdlc(b"EF", "41 03 13")  # from elsewhere
    assert events_of(HdlcFramer(), [first + other]) == [lost, frame(other)]
    middle = hdlc(b"CD", segmented=True)
    assert events_of(HdlcFramer(), [middle]) == [DroppedBytes(DropReason.TRUNCATED, middle)]


def test_a_message_without_end_is_given_up() -> None:
    first, more = hdlc(LLC + bytes(2000), segmented=True), hdlc(bytes(2000), segmented=True)
    found = events_of(HdlcFramer(), [first, *[more] * 8])
    assert [type(event) for event in found] == [DroppedBytes]
    assert len(found[0].raw) > MAX_MESSAGE


def test_the_largest_frame() -> None:
    wire = hdlc(bytes(2047 - 9))
    assert len(wire) == 2049
    assert frames_of(HdlcFramer(), [wire[:1000], wire[1000:]]) == [frame(wire)]
    assert encode_frame(bytes(2047 - 9), b"\x2b", b"\x21", 0x13) == wire
    with pytest.raises(ValueError, match="2048 bytes are more than one HDLC frame holds"):
        encode_frame(bytes(2047 - 8), b"\x2b", b"\x21", 0x13)


@pytest.mark.parametrize(
    "rubbish",
    [b"\x7e\xa7\xff", b"\x7e", b"\xa0", b"\x00\xff", LIVE_1[:100], bytes.fromhex("7EA7FF0101")],
)
def test_a_hundred_kilobytes_of_rubbish_stay_bounded(rubbish: bytes) -> None:
    framer = HdlcFramer()
    stream = rubbish * (100_000 // len(rubbish))
    for start in range(0, len(stream), 1000):
        framer.receive_data(stream[start : start + 1000])
        for event in drain(framer):
            assert isinstance(event, DroppedBytes)
            assert len(event.raw) <= 4096
        assert len(framer._buffer) - framer._position <= framing.MAX_LENGTH + 2
        assert len(framer._garbage) <= 2 * framing.MAX_GARBAGE
    assert framing.MAX_GARBAGE == 1024
    framer.end_burst()
    list(drain(framer))
    framer.receive_data(LIVE_1)
    assert list(drain(framer)) == [frame(LIVE_1)]


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\x7e", *SEED[:2]]), max_size=8))
def test_any_bytes_in_any_split(chunks: list[bytes]) -> None:
    whole = frames_of(HdlcFramer(), [b"".join(chunks)])
    assert frames_of(HdlcFramer(), chunks) == whole
    events = events_of(HdlcFramer(), [*chunks, LIVE_3])
    assert events[-1] == frame(LIVE_3)
    assert sum(len(event.raw) for event in events) <= sum(map(len, chunks)) + len(LIVE_3) + len(
        [event for event in events if isinstance(event, Frame)]
    )


@given(st.binary(max_size=2000))
def test_wrapped_frames_are_found(information: bytes) -> None:
    wire = encode_frame(information, b"\x41", b"\x08\x83", 0x13)
    assert [f.payload[8:] for f in frames_of(HdlcFramer(), [wire])] == [information]
    assert header_end(wire, 1) == 7


def fed(*pieces: bytes) -> HdlcFramer:
    framer = HdlcFramer()
    for piece in pieces:
        framer.receive_data(piece)
        list(drain(framer))
    return framer


@pytest.mark.parametrize("wire", SEED)
def test_bytes_needed_is_the_rest_of_the_frame(wire: bytes) -> None:
    """The length is certain from the checksum of the header (the eighth byte) on."""
    framer = HdlcFramer()
    for at, byte in enumerate(wire, 1):
        framer.receive_data(bytes([byte]))
        assert framer.next_event() == (frame(wire) if at == len(wire) else None)
        assert framer.bytes_needed == (len(wire) - at if at >= 8 else 0)
    assert framer.bytes_needed == 0


def test_no_bytes_are_needed_after_a_wrong_header_or_a_silence() -> None:
    wrong = LIVE_1[:6] + bytes([LIVE_1[6] ^ 1]) + LIVE_1[7:60]
    assert fed(wrong).bytes_needed == 0
    framer = fed(LIVE_1[:60])
    assert framer.bytes_needed == len(LIVE_1) - 60
    framer.end_burst()
    list(drain(framer))
    assert framer.bytes_needed == 0


def test_bytes_needed_of_a_frame_behind_others() -> None:
    assert fed(b"\x00\x01" + LIVE_1 + LIVE_2[1:20]).bytes_needed == len(LIVE_2) - 20


def test_wrong_parity_after_good_frames() -> None:
    """Three bursts alike, none of them a frame, after frames that were right."""
    framer = fed(LIVE_1, LIVE_2, LIVE_3)
    framer.end_burst()
    wrong = bytes.fromhex("7E 55 2B 48 A2") + bytes(80)
    reasons = []
    for _ in range(4):
        framer.receive_data(wrong)
        framer.end_burst()
        reasons += [reason for reason, _ in dropped(list(drain(framer)))]
    assert reasons == [DropReason.GARBAGE] * 2 + [DropReason.PARITY] * 2


def test_a_good_frame_in_a_burst_shows_that_the_parity_is_right() -> None:
    wrong = bytes.fromhex("7E 55 2B 48 A2") + bytes(80)
    for first in (LIVE_2, LIVE_2[:50]):
        framer = fed(LIVE_1)
        reasons = []
        for _ in range(4):
            framer.end_burst()
            framer.receive_data(first)
            framer.receive_data(LIVE_2[len(first) :] + wrong)
            framer.end_burst()
            reasons += [reason for reason, _ in dropped(list(drain(framer)))]
        assert reasons == [DropReason.GARBAGE] * 4
