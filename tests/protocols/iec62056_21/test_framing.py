"""Cutting the stream of an optical eye into frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Event, Frame
from kamstrup_mqtt.protocols.iec62056_21.block_check import BccOption, BccVote
from kamstrup_mqtt.protocols.iec62056_21.framing import IecFramer
from tests.support import iec_recordings
from tests.support.framing import check_framer, events_of, frames_of, single_bytes


def make(bcc: BccOption = "auto", *, early: bool = False) -> IecFramer:
    return IecFramer(BccVote(bcc), early_ident=early)


def cut(*chunks: bytes, bcc: BccOption = "auto", early: bool = False) -> list[Event]:
    return events_of(make(bcc, early=early), chunks)


def data(wire: bytes, payload: bytes | None = None) -> Frame:
    return Frame(wire, wire if payload is None else payload, "answer", "data")


def request(wire: bytes, kind: str = "request") -> Frame:
    return Frame(wire, bytes(byte & 0x7F for byte in wire), "request", kind)


def crc_by_bits(telegram: bytes) -> bytes:
    """CRC-16/ARC, unreflected: register and bits turned round at the end."""
    register = 0
    for byte in telegram:
        for n in range(8):
            top = register >> 15 & 1 ^ byte >> n & 1
            register = (register << 1 & 0xFFFF) ^ (0x8005 if top else 0)
    return f"{int(f'{register:016b}'[::-1], 2):04X}".encode()


P1 = iec_recordings.P1 + crc_by_bits(iec_recordings.P1) + b"\r\n"


@pytest.mark.parametrize(
    ("wire", "frame"),
    [
        (iec_recordings.OFFICIAL, data(iec_recordings.OFFICIAL)),
        (iec_recordings.SEED, data(iec_recordings.SEED)),
        (iec_recordings.OFFICIAL_7E1, data(iec_recordings.OFFICIAL_7E1, iec_recordings.OFFICIAL)),
        (iec_recordings.ISKRA, data(iec_recordings.ISKRA)),
        (iec_recordings.TWO_SETS, data(iec_recordings.TWO_SETS)),
        (iec_recordings.ANSWER, data(iec_recordings.ANSWER)),
        (iec_recordings.BREAK, request(iec_recordings.BREAK, "command")),
        (
            iec_recordings.MODE_D,
            Frame(iec_recordings.MODE_D, iec_recordings.MODE_D, "push", "data"),
        ),
        (P1, Frame(P1, P1, "push", "data")),
        (iec_recordings.SIGN_ON, request(iec_recordings.SIGN_ON)),
        (b"/?!\n", request(b"/?!\n")),
        (b"/?00123!\r\n", request(b"/?00123!\r\n")),
        (bytes.fromhex("AF3F218D0A"), request(bytes.fromhex("AF3F218D0A"))),
        (iec_recordings.ACK_050, request(iec_recordings.ACK_050, "ack")),
        (bytes.fromhex("0630B5308D0A"), request(bytes.fromhex("0630B5308D0A"), "ack")),
    ],
)
def test_a_frame_is_found_in_any_split(wire: bytes, frame: Frame) -> None:
    check_framer(make, wire, [frame])


def test_crc_of_a_recorded_telegram() -> None:
    """The routine above against a published value: "123456789" gives BB3D."""
    assert crc_by_bits(b"123456789") == b"BB3D"


def test_a_recorded_conversation_gives_one_readout() -> None:
    ident, block = iec_recordings.ISKRA[:17], iec_recordings.ISKRA[17:]
    wire = iec_recordings.SIGN_ON + ident + iec_recordings.ACK_050 + block
    assert cut(wire) == [
        request(iec_recordings.SIGN_ON),
        request(iec_recordings.ACK_050, "ack"),
        data(iec_recordings.ISKRA),
    ]


def test_an_identification_alone_is_a_frame_in_silence() -> None:
    frame = Frame(iec_recordings.IDENT, iec_recordings.IDENT, "answer", "ident")
    assert cut(iec_recordings.IDENT) == [frame]
    assert cut(iec_recordings.IDENT[:-1]) == [
        Frame(iec_recordings.IDENT[:-1], iec_recordings.IDENT[:-1], "answer", "ident")
    ]
    assert cut(iec_recordings.IDENT + iec_recordings.SIGN_ON) == [
        frame,
        request(iec_recordings.SIGN_ON),
    ]


def test_modes_b_and_c_return_their_identification_early_in_a_conversation() -> None:
    for ident in (b"/ISk5ME172-0000\r\n", b"/KAM0MC\r\n", b"/ABCAxyz\r\n"):
        framer = make(early=True)
        assert events_of(framer, single_bytes(iec_recordings.SIGN_ON + ident), quiet=False) == [
            request(iec_recordings.SIGN_ON),
            Frame(ident, ident, "answer", "ident"),
        ]
        assert events_of(framer, [b"\x00x"]) == [DroppedBytes(DropReason.GARBAGE, b"x")]
        assert frames_of(framer, [iec_recordings.TWO_SETS]) == [
            data(ident + iec_recordings.TWO_SETS),
        ]
        assert frames_of(framer, [iec_recordings.TWO_SETS]) == [data(iec_recordings.TWO_SETS)]


def test_an_incomplete_readout_in_mode_a_is_dropped_in_a_conversation() -> None:
    assert cut(iec_recordings.OFFICIAL, early=True) == [data(iec_recordings.OFFICIAL)]
    assert cut(iec_recordings.IDENT, early=True) == [
        DroppedBytes(DropReason.TRUNCATED, iec_recordings.IDENT)
    ]
    stx_damaged = iec_recordings.OFFICIAL.replace(b"\x02", b"\x42")
    assert not [e for e in cut(stx_damaged, early=True) if isinstance(e, Frame)]
    mode_d = iec_recordings.MODE_D.replace(b"XYZ3", b"XYZ ")
    assert not [e for e in cut(mode_d, early=True) if isinstance(e, Frame)]


def test_an_early_identification_is_not_used_for_a_later_meter() -> None:
    wire = b"/ISk5ME172-0000\r\n" + iec_recordings.OFFICIAL
    assert cut(wire, early=True)[-1] == data(iec_recordings.OFFICIAL)
    told = b"/ISk5ME172-0000\r\n"
    broken = cut(told + b"\x021.8.0(1)\x03\x7f", early=True)
    assert broken[-1] == DroppedBytes(DropReason.CHECKSUM, b"\x021.8.0(1)\x03\x7f")


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        (b"/KA\x02" + iec_recordings.TWO_SETS, iec_recordings.TWO_SETS),
        (b"/?" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (
            iec_recordings.IDENT + b"1.2(" + iec_recordings.TWO_SETS,
            iec_recordings.IDENT + iec_recordings.TWO_SETS,
        ),
        (b"\x020.0(000" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"\x020.0(000)\r\n1.8" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (iec_recordings.OFFICIAL[:-1] + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"\x06\x06" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"\x060a0\r\n" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"\x06" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"/1234\r\n" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"/" + b"x" * 80 + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"*" * 300 + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"\x02" + b"x" * 17000 + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (iec_recordings.IDENT + b"x" * 17000 + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (iec_recordings.MODE_D[:-6] + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (P1[:-4] + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
        (b"/?!\r" + iec_recordings.OFFICIAL, iec_recordings.OFFICIAL),
    ],
)
def test_the_next_frame_is_found_after_a_broken_one(wire: bytes, kept: bytes) -> None:
    found = frames_of(make(), [wire])
    assert found[-1] == data(kept)
    assert [frame for frame in found[:-1] if frame.kind == "data"] == []


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (iec_recordings.OFFICIAL[:-20], DropReason.TRUNCATED),
        (iec_recordings.OFFICIAL[:-1], DropReason.TRUNCATED),
        (iec_recordings.OFFICIAL[:-1] + b"\x55\x00", DropReason.CHECKSUM),
        (b"/KAM 68", DropReason.TRUNCATED),
        (b"\x0605", DropReason.GARBAGE),
        (b"/KAM 1\r\n1.8.0(1*kWh", DropReason.TRUNCATED),
        (P1[:-6] + b"0000\r\n", DropReason.CHECKSUM),
        (P1[:-6] + b"12", DropReason.CHECKSUM),
        (b"/KAM 1\r\n1.8.0(1*kWh)\r\n!\r\n", DropReason.CHECKSUM),
        (b"/KAM 1\r\n\r\n1.8.0(1*kWh)\r\n!12345678", DropReason.CHECKSUM),
    ],
)
def test_broken_frames_are_dropped_with_the_reason(wire: bytes, reason: DropReason) -> None:
    events = cut(wire)
    assert isinstance(events[0], DroppedBytes)
    assert events[0].reason is reason
    assert not [event for event in events if isinstance(event, Frame)]


def test_a_silence_completes_an_element_without_line_end() -> None:
    assert cut(b"/?!") == [request(b"/?!")]
    assert cut(bytes.fromhex("AFA3B1")) == [request(bytes.fromhex("AFA3B1"))]  # /#1
    assert cut(b"\x06050") == [request(b"\x06050", "ack")]
    (event,) = cut(iec_recordings.MODE_D[:-2])
    assert isinstance(event, Frame)


def test_a_mark_inside_brackets_ends_nothing() -> None:
    wire = b"/XYZ3D\r\n\r\n0.2.2(a!b)\r\n!\r\n"
    assert cut(wire) == [Frame(wire, wire, "push", "data")]


def test_the_options_of_the_check() -> None:
    wrong = iec_recordings.OFFICIAL[:-1] + b"\x12"  # the XOR of the same text
    assert frames_of(make("sum"), [iec_recordings.OFFICIAL, wrong]) == [
        data(iec_recordings.OFFICIAL)
    ]
    assert frames_of(make("xor"), [iec_recordings.OFFICIAL, wrong]) == [data(wrong)]
    nothing = iec_recordings.OFFICIAL[:-1] + b"\x55"
    assert frames_of(make("none"), [nothing]) == [data(nothing)]
    unmarked = b"/KAM 1\r\n1.8.0(1*kWh)\r\n!\r\n"
    assert frames_of(make("none"), [unmarked]) == [Frame(unmarked, unmarked, "push", "data")]


def test_parity_errors_are_counted_and_refused() -> None:
    framer = make()
    damaged = bytearray(iec_recordings.OFFICIAL_7E1)
    damaged[40] ^= 0x80
    assert (
        frames_of(framer, [bytes(damaged)])
        == [Frame(iec_recordings.OFFICIAL_7E1[:20], iec_recordings.IDENT, "answer", "ident")][:0]
    )
    assert framer.parity_errors == 1
    damaged = bytearray(iec_recordings.OFFICIAL_7E1)
    damaged[5] ^= 0x81
    damaged[6] ^= 0x80
    (dropped, frame) = events_of(framer, [bytes(damaged)])
    assert dropped == DroppedBytes(DropReason.CHECKSUM, bytes(damaged[:20]))
    assert isinstance(frame, Frame)
    assert frame.raw == iec_recordings.OFFICIAL_7E1[20:]
    assert framer.parity_errors == 2
    lenient = make("none")
    damaged = bytearray(iec_recordings.OFFICIAL_7E1)
    damaged[40] ^= 0x80
    assert len(frames_of(lenient, [bytes(damaged)])) == 1
    assert lenient.parity_errors == 1


def test_no_single_bit_error_gives_another_value() -> None:
    """The sum catches every one, and over 8N1 the parity bit as well."""
    for wire in (iec_recordings.OFFICIAL, iec_recordings.OFFICIAL_7E1):
        for place in range(20, len(wire)):
            for bit in range(8):
                damaged = bytearray(wire)
                damaged[place] ^= 1 << bit
                frames = [f for f in frames_of(make("sum"), [bytes(damaged)]) if f.kind == "data"]
                assert [f for f in frames if b"(0000053*kWh)" not in f.payload] == []


def test_no_truncated_readout_is_accepted() -> None:
    for end in range(len(iec_recordings.OFFICIAL)):
        assert not [
            f for f in frames_of(make(), [iec_recordings.OFFICIAL[:end]]) if f.kind == "data"
        ]


@pytest.mark.parametrize("filling", [b"x", b"/", b"\x02", b"\x06", b"\n", b"/KAM \r\n", b"\x02(\n"])
def test_100_kb_of_rubbish_are_bounded_and_the_next_frame_found(filling: bytes) -> None:
    framer = make()
    for _ in range(100):
        events_of(framer, [filling * (1000 // len(filling))], quiet=False)
        assert len(framer._raw) + len(framer._garbage) + len(framer._ident) <= 17000
    assert frames_of(framer, [b"\r\n" + iec_recordings.OFFICIAL])[-1] == data(
        iec_recordings.OFFICIAL
    )


PIECES = [
    *(
        iec_recordings.OFFICIAL,
        iec_recordings.IDENT,
        iec_recordings.TWO_SETS,
        iec_recordings.MODE_D,
        P1,
        iec_recordings.ISKRA,
    ),
    *(
        iec_recordings.BREAK,
        iec_recordings.SIGN_ON,
        iec_recordings.ACK_050,
        b"\x02",
        b"\x03",
        b"/",
        b"!",
        b"\r",
        b"\n",
    ),
]


@given(st.binary(max_size=300), st.integers(0, 300), st.booleans())
def test_any_split_of_anything_gives_the_same_events(stream: bytes, at: int, early: bool) -> None:
    assert cut(stream, early=early) == cut(stream[:at], stream[at:], early=early)


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.integers(0, 900), st.booleans())
def test_any_split_of_any_order_gives_the_same_events(
    pieces: list[bytes], at: int, early: bool
) -> None:
    stream = b"".join(pieces)
    assert cut(stream, early=early) == cut(stream[:at], stream[at:], early=early)
