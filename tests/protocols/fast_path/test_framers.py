"""A frame that is received in one piece may be taken in one step: the events are the same.

Each stream of good, damaged, cut and foreign pieces is received piece by piece and byte by byte,
by the reference framer too.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Event, Frame, Framer
from kamstrup_mqtt.protocols.fast_path.iec62056_21 import ReadoutTemplate, make_template
from kamstrup_mqtt.protocols.fast_path.layout import LayoutCache
from kamstrup_mqtt.protocols.han import HdlcFramer
from kamstrup_mqtt.protocols.iec62056_21.block_check import BccOption, BccVote
from kamstrup_mqtt.protocols.iec62056_21.codec import IecCodec
from kamstrup_mqtt.protocols.iec62056_21.framing import IecFramer
from kamstrup_mqtt.protocols.kmp.framing import KmpFramer
from tests.support import iec_recordings
from tests.support.framing import drain, single_bytes
from tests.support.han_recordings import HOURLY_1, LIVE_1, LIVE_2, hdlc
from tests.support.kmp_frames import answer, request

KMP = (
    answer("3F10 003C 02 04 42 0001E240 0044 28 04 42 801B4006"),
    answer("3F02 0001E240"),
    request("3F10 01 003C"),
    b"\x06",
    b"\x40\x0d",
    b"\x40\x3f\x0d",
    b"\x0d",
    b"\x00",
)
OTHER_METER = b"/ISk5ME172-0000\r\n\x021.8.0(0014830.986*kWh)\r\n!\r\n\x03"


def iec(text: bytes, *rules: str) -> list[bytes]:
    """A readout up to its ETX, with a check character by each rule."""
    block = text[text.index(b"\x02") + 1 :]
    checks = {"sum": sum(block) % 128, "xor": functools.reduce(operator.xor, block)}
    return [text + bytes((checks[rule],)) for rule in rules]


def even(text: bytes) -> bytes:
    """With even parity in bit 7."""
    return bytes(byte | (byte.bit_count() % 2) << 7 for byte in text)


OTHER_DIGITS = (
    iec_recordings.OFFICIAL[:-1].replace(b"0000053", b"9876543").replace(b"000018,3", b"740951,2")
)
MODE_C = b"/KAM5685\r\n\x021.8.0(0012*kWh)2.8.0(34)\r\n!\r\n\x03"
IEC = (
    *iec(OTHER_DIGITS, "sum", "xor"),
    *map(even, iec(OTHER_DIGITS, "sum", "xor")),
    *iec(MODE_C, "sum", "xor"),
    *map(even, iec(MODE_C, "xor")),
    # texts that can have a template, but are not one single readout
    *iec(MODE_C.replace(b"\r\n\x02", b"\n\x02"), "sum"),
    *iec(MODE_C.replace(b"\r\n\x02", b"\r\n\r\n\x02"), "sum"),
    *iec(MODE_C.replace(b"(34)", b"(3/4)"), "sum"),
    *iec(MODE_C.replace(b"\x03", b"\x04"), "sum"),
    *iec(MODE_C.replace(b"(34)", b"(34)\x01"), "sum"),
    *iec(MODE_C.replace(b"(34)", b"(34)\x02"), "sum"),
    iec_recordings.OFFICIAL,
    iec_recordings.SEED,
    iec_recordings.OFFICIAL_7E1,
    iec_recordings.ISKRA,
    iec_recordings.MODE_D,
    iec_recordings.SIGN_ON,
    iec_recordings.IDENT,
    iec_recordings.TWO_SETS,
    iec_recordings.BREAK,
    OTHER_METER,  # its check character is lost
    b"/KAM 685\r\n\x02",
    b"\r\n",
    b"x",
)
# a frame whose format field is no HDLC's but whose checksums are right, one of segments, a list
HAN = (
    LIVE_1,
    LIVE_2,
    HOURLY_1,
    LIVE_1[1:],
    hdlc(bytes.fromhex("E6E700 0F 00000000 00 0201 0600000001")),
    b"\x7e\x00\x00\x7e",
    b"\x7e",
    b"\xa0",
)


def events(framer: Framer, pieces: list[bytes]) -> list[Event]:
    found: list[Event] = []
    for piece in pieces:
        if piece:
            framer.receive_data(piece)
        else:
            framer.end_burst()
        found += drain(framer)
    return found


def check(make: Callable[[], Framer], reference: Callable[[], Framer], pieces: list[bytes]) -> None:
    """An empty piece is a silence. The last one always is."""
    pieces = [*pieces, b""]
    single = [byte for piece in pieces for byte in (single_bytes(piece) or [b""])]
    whole, bytewise, plain = make(), make(), reference()
    found = events(whole, pieces)
    assert found == events(bytewise, single)
    assert found == events(plain, pieces)
    assert whole.parity_errors == bytewise.parity_errors == plain.parity_errors


def check_han(pieces: list[bytes]) -> None:
    check(HdlcFramer, lambda: HdlcFramer(fast_path=False), pieces)


def check_iec(bcc: BccOption, early: bool, known: Iterable[bytes], pieces: list[bytes]) -> None:
    check(
        lambda: LearningFramer(bcc, early=early, known=known),
        lambda: IecFramer(BccVote(bcc), early_ident=early),
        pieces,
    )


def pieces_of(good: tuple[bytes, ...]) -> st.SearchStrategy[list[bytes]]:
    """Mostly good frames, some of them damaged or cut, and silences."""

    @st.composite
    def piece(draw: st.DrawFn) -> bytes:
        wire = draw(st.sampled_from((*good, b"")))
        what = draw(st.sampled_from(("good", "good", "good", "damaged", "cut", "twice")))
        rng = random.Random(draw(st.integers(0, 2**16)))
        if what == "damaged" and wire:
            at = rng.randrange(len(wire))
            return wire[:at] + bytes((rng.randrange(256),)) + wire[at + 1 :]
        if what == "cut":
            return wire[rng.randint(0, len(wire)) :][: rng.randint(0, len(wire))]
        return wire + wire if what == "twice" else wire

    return st.lists(piece(), min_size=1, max_size=6)


@settings(max_examples=300)
@given(pieces=pieces_of(KMP))
def test_kmp(pieces: list[bytes]) -> None:
    check(KmpFramer, KmpFramer, pieces)


@settings(max_examples=300)
@given(pieces=pieces_of(HAN))
@example(pieces=[LIVE_1, LIVE_1[1:]])  # one flag closes a frame and opens the next
@example(pieces=[LIVE_1, b"", LIVE_1[1:]])
@example(pieces=[LIVE_1, LIVE_1, LIVE_1[1:]])
@example(pieces=[b"\x7e", LIVE_1, b"\xa0", LIVE_1])
# too short for a frame, and an address without an end
@example(pieces=[LIVE_1, bytes.fromhex("A0 02 0800FF 06000000 00 0906")])
def test_han(pieces: list[bytes]) -> None:
    check_han(pieces)


class LearningFramer(IecFramer):
    """Makes a template of every readout, as a codec does."""

    def __init__(self, bcc: BccOption, *, early: bool, known: Iterable[bytes] = ()) -> None:
        self.templates: LayoutCache[ReadoutTemplate] = LayoutCache()
        super().__init__(BccVote(bcc), templates=self.templates, early_ident=early)
        for payload in known:
            self.learn(Frame(payload, payload, "answer", "data"))

    def learn(self, frame: Frame) -> None:
        with contextlib.suppress(MeterError):  # it has no values
            template = make_template(frame, IecCodec(fast_path=False).decode(frame))
            if template is not None:
                self.templates.add(len(frame.payload), template)

    def next_event(self) -> Event | None:
        event = super().next_event()
        if isinstance(event, Frame):
            self.learn(event)
        return event


LEARNED = (
    iec_recordings.ISKRA,
    iec_recordings.TWO_SETS,
    iec_recordings.OFFICIAL,
    MODE_C + b"\x00",
)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("bcc", ["auto", "sum", "xor", "none"])
@settings(max_examples=120)
@given(pieces=pieces_of(IEC))
@example(pieces=[iec_recordings.ISKRA, iec_recordings.ISKRA])
@example(pieces=[iec_recordings.OFFICIAL_7E1, iec_recordings.OFFICIAL_7E1])
@example(pieces=[iec_recordings.IDENT, iec_recordings.OFFICIAL])
@example(pieces=[b"x", iec_recordings.OFFICIAL])
@example(pieces=[OTHER_METER + b"/", iec_recordings.OFFICIAL])
@example(pieces=[iec_recordings.TWO_SETS] * 2 + [iec_recordings.OFFICIAL] * 3)
def test_iec(pieces: list[bytes], bcc: BccOption, early: bool) -> None:
    check_iec(bcc, early, LEARNED, pieces)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("bcc", ["auto", "sum", "xor", "none"])
@pytest.mark.parametrize("wire", IEC)
def test_iec_with_a_template_of_the_same_readout(wire: bytes, bcc: BccOption, early: bool) -> None:
    check_iec(bcc, early, (), [wire] * 5)
    # with its template, whether or not a line can bring it
    payload = bytes(byte & 0x7F for byte in wire)
    known = [payload] if b"\x02" in payload else []
    check_iec(bcc, early, known, [wire, wire[:-1] + b"/", wire])


def test_iec_readout_of_a_known_layout_is_taken_in_one_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    framer = LearningFramer("auto", early=True, known=LEARNED)
    monkeypatch.setattr(framer, "_receive_byte", lambda _: pytest.fail("character by character"))
    wires = [*iec(OTHER_DIGITS, "sum"), *map(even, iec(OTHER_DIGITS, "sum"))]
    assert events(framer, wires) == [Frame(wire, wires[0], "answer", "data") for wire in wires]


@pytest.mark.parametrize("size", [16384, 16385, 16400, 16450])
def test_iec_longest_readout(size: int) -> None:
    start, end = b"/KAM 685\r\n\x021.8.0(1)2.8.0(", b")\r\n!\r\n\x03"
    (wire,) = iec(start + b"7" * (size - len(start + end) - 1) + end, "sum")
    assert len(wire) == size
    check_iec("auto", False, [wire], [wire])


def test_han_frame_with_a_wrong_format_field() -> None:
    """The format field of HDLC begins with A, or the bytes are no frame whatever their checksum."""
    body = bytes.fromhex("0009 2B21 13 0000")
    assert events(HdlcFramer(), [b"\x7e" + body + fcs(body) + b"\x7e", b""]) != []
    check_han([b"\x7e" + body + fcs(body) + b"\x7e"])


def fcs(data: bytes) -> bytes:
    """CRC-16/X-25 bit by bit, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return (crc ^ 0xFFFF).to_bytes(2, "little")
