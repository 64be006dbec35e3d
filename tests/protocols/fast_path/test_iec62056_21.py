"""Templates for IEC 62056-21 readouts, and how the framer uses them."""

from __future__ import annotations

import functools
import operator
import random
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.iec62056_21 import BlockCheck, ReadoutTemplate, make_template
from kamstrup_mqtt.protocols.fast_path.layout import MAX_LAYOUTS, TemplateDecoder
from kamstrup_mqtt.protocols.iec62056_21.block_check import KINDS, matching_rules
from kamstrup_mqtt.protocols.iec62056_21.codec import IecCodec
from tests.support import iec_recordings
from tests.support.decoded import decode_outcome, with_changed_bytes
from tests.support.framing import frames_of
from tests.support.parsers import ParserPair
from tests.support.shared_vectors import Vector, shared_vectors

ODD = (
    b"/KAM 685\r\n\x020.0( 0012 )\r\n1.8.0(-00.50*m3)(+,5)\r\n0.9.1(12:30:59)\r\n2.0()\r\n"
    b"3.0(..)\r\n4.0(1.2.3)5.0(7 *W)(8)\r\n!\r\n\x03A"
)
"""Spaces, signs, a value without address, digits in units and texts, an empty value."""
RECORDED = (
    iec_recordings.OFFICIAL,
    iec_recordings.SEED,
    iec_recordings.ISKRA,
    iec_recordings.TWO_SETS,
    iec_recordings.ANSWER,
    iec_recordings.MODE_D,
    ODD,
)


def frame_of(payload: bytes) -> Frame:
    """A frame like those of the framer, with any check character."""
    return Frame(payload, payload, "answer" if b"\x02" in payload else "push", "data")


def parse(frame: Frame) -> Message:
    return IecCodec(fast_path=False).decode(frame)


def agree(frames: list[Frame]) -> None:
    ParserPair("iec62056-21", bcc="none").check_frames(frames)


def template_of(payload: bytes) -> ReadoutTemplate | None:
    frame = frame_of(payload)
    return make_template(frame, parse(frame))


def read(learned: bytes, other: bytes) -> Message | None:
    """`other`, read by a template made of `learned`."""
    template = template_of(learned)
    assert template is not None
    return template.read(frame_of(other))


def test_other_digits_in_a_known_layout() -> None:
    """The values of the seed in the layout of the printed example."""
    other = iec_recordings.SEED.replace(b"OK-10", b"OK-15")
    message = read(iec_recordings.OFFICIAL, other)
    assert message is not None
    assert [(obj.id, obj.raw, str(obj.value), obj.unit) for obj in message.objects] == [
        ("manufacturer", "KAM", "KAM", None),
        ("ident", "685-382-OK-15", "685-382-OK-15", None),
        ("0.0", "10865272", "10865272", None),
        ("1.20", "0009032", "9032", "kWh"),
        ("1.20.1", "0009031", "9031", "kWh"),
        ("1.20.2", "0000001", "1", "kWh"),
        ("1.31", "0057392", "57392", "h"),
        ("1.26", "0000000", "0", None),
        ("1.6", "000001,5", "1.5", "kW"),
        ("1.6*1", "000002,8", "2.8", "kW"),
    ]
    assert isinstance(message.objects[2].value, str)
    # the check character is that of the block alone
    assert (message.header["bcc"], message.header["bcc_ok"]) == ("sum", True)


def test_two_values_are_worth_a_template() -> None:
    message = read(iec_recordings.TWO_SETS, iec_recordings.TWO_SETS)
    assert message is not None
    assert [(obj.id, obj.raw, obj.value, obj.unit) for obj in message.objects] == [
        ("3:14", "314", 314, "kWh"),
        ("4:15", "415", 415, "kWh"),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.20(", b"1.21("),  # an address
        (b"kWh", b"MWh"),
        (b"(0000053", b"(000005:"),  # behind 9 in ASCII
        (b"(0000053", b"(000005/"),  # before 0
        (b"(0000053", b"(00000.5"),
        (b"000018,3", b"0000018,"),
        (b"OK-15", b"OK-16"),
        (b"!\r\n", b"!\n\r"),
    ],
)
def test_another_layout_of_the_same_size_is_parsed(old: bytes, new: bytes) -> None:
    other = iec_recordings.OFFICIAL.replace(old, new, 1)
    assert len(other) == len(iec_recordings.OFFICIAL)
    assert read(iec_recordings.OFFICIAL, other) is None
    agree([frame_of(iec_recordings.OFFICIAL), frame_of(other), frame_of(iec_recordings.OFFICIAL)])


@pytest.mark.parametrize("check", range(0x80))
def test_the_check_character_is_verified_each_time(check: int) -> None:
    agree([frame_of(iec_recordings.SEED), frame_of(iec_recordings.SEED[:-1] + bytes((check,)))])


@pytest.mark.parametrize(
    "payload", [iec_recordings.ANSWER, iec_recordings.MODE_D, b"\x021.0(A)2.0(B)\r\n!\r\n\x03\x00"]
)
def test_no_template_for_fewer_than_two_values_with_digits(payload: bytes) -> None:
    assert template_of(payload) is None


def test_a_template_is_for_readouts_alone() -> None:
    frame = frame_of(iec_recordings.SEED)
    assert make_template(frame._replace(kind="command"), parse(frame)) is None
    template = template_of(iec_recordings.SEED)
    assert template is not None
    assert template.read(frame._replace(direction="push")) is None


def test_templates_of_one_meter_are_bounded() -> None:
    decoder = TemplateDecoder(parse, make_template)
    for size in range(1, 20):
        digits = b"1" * size
        payload = b"\x021.8.0(" + digits + b")2.8.0(" + digits + b")\r\n!\r\n\x03\x00"
        decoder.decode(frame_of(payload))
    assert 1 <= len(decoder.templates) <= MAX_LAYOUTS


SEVEN_BITS = st.binary(max_size=700).map(lambda text: bytes(byte & 0x7F for byte in text))


@given(SEVEN_BITS, SEVEN_BITS, st.integers(0, 2**32))
@example(b"/KAM 685\r\n\x02", b"1.8.0(0000)" * 40, 1)
@example(b"/KAM 685\r\n\x02", b"1.8.0(0000)" * 4, 1)
def test_check_characters_of_other_digits(start: bytes, text: bytes, seed: int) -> None:
    """The sum and the XOR of other digits, one by one."""
    rng = random.Random(seed)
    check_of = BlockCheck(start + text + b"?", len(start))
    for _ in range(4):
        other = bytes(rng.choice(b"0123456789") if 48 <= c < 58 else c for c in text)
        right = (sum(other) % 128, functools.reduce(operator.xor, other, 0))
        for check in (*right, *(right[1] ^ 1 << bit for bit in range(7)), rng.randrange(128)):
            block = other + bytes((check,))
            rules = tuple(kind for kind, by in zip(KINDS, right, strict=True) if by == check)
            assert matching_rules(block) == rules
            whole = start + block
            assert check_of.matching_rules(whole, int.from_bytes(whole, "big")) == rules


@settings(max_examples=200)
@given(data=st.data())
def test_random_changes(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    frame = frame_of(data.draw(st.sampled_from(RECORDED)))
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    agree([frame, *(with_changed_bytes(frame, rng, count, 0x7F) for count in counts), frame])


@settings(max_examples=100)
@given(data=st.data())
def test_off_the_line_in_any_order(data: st.DataObject) -> None:
    """The rules found for one readout are not used for another."""
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    codec = IecCodec(bcc="none")
    framer = codec.framer()
    for _ in range(3):
        wires = data.draw(st.lists(st.sampled_from(RECORDED), min_size=1, max_size=4))
        chunks = [
            with_changed_bytes(frame_of(wire), rng, rng.choice((0, 0, 1)), 0x7F).payload
            for wire in wires
        ]
        frames = frames_of(framer, chunks)
        rng.shuffle(frames)
        for frame in frames:
            assert decode_outcome(codec.decode, frame) == decode_outcome(parse, frame)


@pytest.mark.parametrize(
    "raw", ["1" * 60, "1" * 61, "0" * 61, " 12", "12 ", "12,5 ", "-0", "-0,0", "12,5" + "0" * 60]
)
def test_any_number(raw: str) -> None:
    """Every digit is kept, also of numbers that are longer than the exact context."""
    payload = (
        b"\x021.8.0(" + raw.encode() + b"*kWh)2.8.0(7)0.0.0(" + raw.encode() + b")\r\n!\r\n\x03A"
    )
    message = read(payload, payload)
    assert message is not None
    number, _, text = message.objects
    exact = Decimal(raw.replace(",", "."))
    assert (number.raw, str(number.value)) == (raw, str(exact))  # and its exponent, and -0
    assert text.value == raw.strip()
    agree([frame_of(payload), frame_of(payload.replace(b"2", b"3")), frame_of(payload)])


def test_a_start_where_the_check_character_should_be() -> None:
    odd = iec_recordings.OFFICIAL.replace(b"\x02", b"?")[:-1] + b"\x02"
    agree([frame_of(iec_recordings.OFFICIAL), frame_of(odd)])


@settings(max_examples=200)
@given(data=st.data())
def test_random_digits(data: st.DataObject) -> None:
    """Most of these are of the known layout."""
    payload = data.draw(st.sampled_from(RECORDED))
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    near = b"0123456789" * 4 + b"/:,."
    frames = [frame_of(payload)]
    for _ in range(4):
        digits = bytes(rng.choice(near) if 48 <= byte < 58 else byte for byte in payload)
        start = payload.find(b"\x02") + 1
        frames.append(frame_of(payload[:start] + digits[start:]))
    agree(frames)


@pytest.mark.parametrize(
    "vector", shared_vectors("iec62056_21.json", lambda v: isinstance(v["decoded"], list))
)
def test_random_changes_of_every_vector(vector: Vector) -> None:
    rng = random.Random(1)
    for frame in frames_of(IecCodec(bcc="none").framer(), [bytes.fromhex(vector["hex"])]):
        variants = [with_changed_bytes(frame, rng, count, 0x7F) for count in (1, 1, 1, 2, 8)]
        agree([frame, frame, *variants, frame])
