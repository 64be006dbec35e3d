"""Cutting and building KMP-ASCII frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame
from kamstrup_mqtt.protocols.kmp_ascii.framing import KmpAsciiFramer, encode, lrc
from tests.support import kmp_ascii_recordings
from tests.support.framing import check_framer


def cut(*parts: bytes, silence: bool = True) -> list[Event]:
    framer = KmpAsciiFramer()
    events: list[Event] = []
    for part in parts:
        framer.receive_data(part)
        while (event := framer.next_event()) is not None:
            events.append(event)
    if silence:
        framer.end_burst()
        while (event := framer.next_event()) is not None:
            events.append(event)
    assert framer.parity_errors == 0
    return events


def frames(events: list[Event]) -> list[bytes]:
    return [event.raw for event in events if isinstance(event, Frame)]


def lrc_by_bits(payload: bytes) -> int:
    """Two's complement of the 8-bit sum, added up bit by bit."""
    total = 0
    for byte in payload:
        carry = byte
        while carry:
            total, carry = (total ^ carry) & 0xFF, ((total & carry) << 1) & 0xFF
    return ((total ^ 0xFF) + 1) & 0xFF


@pytest.mark.parametrize("wire", kmp_ascii_recordings.ALL)
def test_a_recorded_frame_comes_out_however_it_is_split(wire: bytes) -> None:
    payload = bytes.fromhex(wire[1:-3].decode())
    expected = Frame(wire, payload, "request" if wire[:1] == b"@" else "answer")
    check_framer(KmpAsciiFramer, wire, [expected])


@pytest.mark.parametrize("wire", kmp_ascii_recordings.ALL)
def test_a_frame_without_cr_ends_at_a_silence_or_the_next_start(wire: bytes) -> None:
    bare = wire[:-1]
    assert cut(bare, silence=False) == []
    assert frames(cut(bare)) == [bare]
    assert frames(cut(bare + kmp_ascii_recordings.HELLO_REQUEST)) == [
        bare,
        kmp_ascii_recordings.HELLO_REQUEST,
    ]


def test_lower_case_is_understood() -> None:
    (event,) = cut(b"@fe95006d\r")
    assert event == Frame(b"@fe95006d\r", bytes.fromhex("FE9500"), "request")


def test_the_drivers_second_lrc_still_verifies() -> None:
    """The seed's driver appends a second LRC: `@FE907200` (kmp.md 3.1)."""
    (event,) = cut(b"@FE907200\r")
    assert isinstance(event, Frame)
    assert event.payload == bytes.fromhex("FE9072")


def test_echo_and_answer_in_one_burst() -> None:
    events = cut(kmp_ascii_recordings.ENERGY_REQUEST + b"\n" + kmp_ascii_recordings.ENERGY_ANSWER)
    assert [event.direction for event in events if isinstance(event, Frame)] == [
        "request",
        "answer",
    ]
    assert len(events) == 2


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"HFE9000002348FF\r", [DroppedBytes(DropReason.CHECKSUM, b"HFE9000002348FF\r")]),
        (b"HFE9000002348FF", [DroppedBytes(DropReason.CHECKSUM, b"HFE9000002348FF")]),
        (b"HFE9", [DroppedBytes(DropReason.TRUNCATED, b"HFE9")]),
        (b"HFE9\r", [DroppedBytes(DropReason.LENGTH, b"HFE9\r")]),
        (b"HFE900\r", [DroppedBytes(DropReason.LENGTH, b"HFE900\r")]),
        (b"H\r", [DroppedBytes(DropReason.LENGTH, b"H\r")]),
        (b"HFE9x0", [DroppedBytes(DropReason.GARBAGE, b"HFE9x0")]),
        (b"xyz\r", [DroppedBytes(DropReason.GARBAGE, b"xyz\r")]),
        (b"\r\n\x00", []),
    ],
)
def test_bytes_that_are_no_frame_are_dropped_with_the_reason(
    wire: bytes, expected: list[Event]
) -> None:
    assert cut(wire) == expected


def test_a_frame_broken_off_by_the_next_start_is_truncated() -> None:
    events = cut(b"HFE9000" + kmp_ascii_recordings.HELLO_ANSWER)
    assert events[0] == DroppedBytes(DropReason.TRUNCATED, b"HFE9000")
    assert frames(events) == [kmp_ascii_recordings.HELLO_ANSWER]
    assert cut(b"HFE900000" + kmp_ascii_recordings.HELLO_ANSWER)[0] == DroppedBytes(
        DropReason.TRUNCATED, b"HFE900000"
    )


def test_too_long_is_dropped_and_the_next_frame_found() -> None:
    events = cut(b"H" + b"00" * 300 + b"\r" + kmp_ascii_recordings.HELLO_ANSWER)
    assert isinstance(events[0], DroppedBytes)
    assert events[0].reason is DropReason.LENGTH
    assert frames(events) == [kmp_ascii_recordings.HELLO_ANSWER]


@pytest.mark.parametrize("filling", [b"x", b"H", b"H0", b"0", b"\xff"])
def test_100_kb_of_rubbish_are_bounded_and_the_next_frame_found(filling: bytes) -> None:
    framer = KmpAsciiFramer()
    for _ in range(100):
        framer.receive_data(filling * (1000 // len(filling)))
        while framer.next_event() is not None:
            pass
        assert len(framer._frame) + len(framer._garbage) <= 1100
    framer.receive_data(b"\r" + kmp_ascii_recordings.HELLO_ANSWER)
    events = []
    while (event := framer.next_event()) is not None:
        events.append(event)
    assert isinstance(events[-1], Frame)
    assert events[-1].raw == kmp_ascii_recordings.HELLO_ANSWER


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_split_of_anything_gives_the_same_events(data: bytes, at: int) -> None:
    assert cut(data) == cut(data[:at], data[at:])


@given(
    st.lists(
        st.sampled_from([*kmp_ascii_recordings.ALL, b"x", b"\r", b"H", b"@", b"F"]), max_size=12
    )
)
def test_no_byte_is_lost_but_those_between_frames(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    out = b"".join(event.raw for event in cut(stream))
    assert out.replace(b"\r", b"") == stream.replace(b"\r", b"")


@given(st.binary(min_size=2, max_size=258))
def test_built_frames_are_found_again(payload: bytes) -> None:
    wire = encode("@", payload)
    assert wire.upper() == wire
    assert cut(wire) == [Frame(wire, payload, "request")]
    assert lrc(payload) == lrc_by_bits(payload)


@pytest.mark.parametrize(
    ("payload", "check"),
    [("FE00", 0x02), ("FE010001002C", 0xD4), ("FE90", 0x72), ("FE9500", 0x6D), ("FE9200", 0x70)],
)
def test_lrc_as_in_the_driver(payload: str, check: int) -> None:
    """kmp.md 3.2, the table of requests."""
    assert lrc(bytes.fromhex(payload)) == check


@pytest.mark.parametrize("bit", range(8))
def test_no_single_bit_error_gives_another_value(bit: int) -> None:
    for place in range(len(kmp_ascii_recordings.TARIFFS_ANSWER)):
        damaged = bytearray(kmp_ascii_recordings.TARIFFS_ANSWER)
        damaged[place] ^= 1 << bit
        for event in cut(bytes(damaged)):
            if isinstance(event, Frame):  # a letter's case, or the CR
                assert event.payload == bytes.fromhex("FE95 01 00002348 00002347 00000001")
