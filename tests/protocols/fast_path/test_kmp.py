"""Templates for GetRegister answers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.fast_path.kmp import AnswerTemplate, make_template
from kamstrup_mqtt.protocols.fast_path.layout import MAX_LAYOUTS, TemplateDecoder
from kamstrup_mqtt.protocols.kmp.framing import KmpFramer
from kamstrup_mqtt.protocols.kmp.messages import decode_message
from tests.protocols.kmp.test_vectors import VECTORS, wire_of
from tests.support.decoded import with_changed_bytes
from tests.support.framing import frames_of
from tests.support.kmp_frames import answer
from tests.support.parsers import ParserPair
from tests.support.shared_vectors import Vector

# energy in kWh, hundredths | volume in m³×10 | negative temperature in °C, hundredths
NUMBERS = answer("3F10 003C 02 04 42 0001E240 0044 37 02 00 04D2 0056 25 02 C2 04D2")
# ... | hours, three bytes | clock | number of eight bytes | nothing | one byte of an unknown unit
MIXED = answer(
    "3F10 003C 02 04 42 0001E240 03EC 2E 03 00 01E240 03EA 2F 04 00 000180AF"
    "0100 33 08 00 0000000000000001 0101 33 00 00 0102 7E 01 00 07"
)
# an identifier of eight bytes, one of ten, and two numbers
NAMED = answer(
    "3F10 0033 33 08 00 0000000012345678 03F2 33 0A 00 00010203040506070809"
    "0001 02 04 00 000000BF 03FF 16 04 43 0000019C"
)
RECORDED = (NUMBERS, MIXED, NAMED, answer("3F10"), answer("3F10 003C 02 04 42 0001E240"))


def frame_of(wire: bytes) -> Frame:
    (frame,) = frames_of(KmpFramer(), [wire])
    return frame


def agree(frames: list[Frame]) -> None:
    ParserPair("kmp").check_frames(frames)


def template_of(frame: Frame) -> AnswerTemplate | None:
    return make_template(frame, decode_message(frame))


def read(learned: bytes, other: bytes) -> list[tuple[object, object, str, object]]:
    """The objects of `other`, read by a template made of `learned`."""
    template = template_of(frame_of(learned))
    assert template is not None
    message = template.read(frame_of(other))
    assert message is not None
    return [(obj.id, obj.raw, str(obj.value), obj.unit) for obj in message.objects]


def test_other_numbers_in_a_known_layout() -> None:
    other = answer("3F10 003C 02 04 42 FFFFFFFF 0044 37 02 00 0000 0056 25 02 C2 0000")
    assert read(NUMBERS, other) == [
        (60, 4294967295, "42949672.95", "kWh"),
        (68, 0, "0E+1", "m³"),
        (86, 0, "-0.00", "°C"),
    ]


def test_values_other_than_numbers_in_a_known_layout() -> None:
    other = answer(
        "3F10 003C 02 04 42 00000001 03EC 2E 03 00 FFFFFF 03EA 2F 04 00 00018A88"
        "0100 33 08 00 FFFFFFFFFFFFFFFF 0101 33 00 00 0102 7E 01 00 FF"
    )
    assert read(MIXED, other) == [
        (60, 1, "0.01", "kWh"),
        (1004, 16777215, "16777215", "h"),
        (1002, 101000, "10:10:00", None),
        (256, 18446744073709551615, "18446744073709551615", None),
        (257, None, "None", None),
        (258, 255, "255", None),
    ]


def test_identifiers_in_a_known_layout() -> None:
    other = answer(
        "3F10 0033 33 08 00 0000000012345679 03F2 33 0A 00 00010203040506070809"
        "0001 02 04 00 000000BF 03FF 16 04 43 0000019C"
    )
    assert read(NAMED, other) == [
        (51, "0000000012345679", "0000000012345679", None),
        (1010, "00010203040506070809", "00010203040506070809", None),
        (1, 191, "191", "kWh"),
        (1023, 412, "0.412", "kW"),
    ]


def test_two_numbers_are_worth_a_template() -> None:
    two = answer("3F10 003C 02 04 42 0001E240 0044 27 01 00 04")
    assert read(two, two) == [(60, 123456, "1234.56", "kWh"), (68, 4, "4", "L")]


def test_an_unknown_unit_stays_unknown() -> None:
    template = template_of(frame_of(MIXED))
    assert template is not None
    message = template.read(frame_of(MIXED))
    assert message is not None
    assert [obj.unknown_unit for obj in message.objects] == [False] * 5 + [True]


@pytest.mark.parametrize(
    "wire",
    [
        answer("3F10 003D 02 04 42 0001E240 0044 37 02 00 04D2 0056 25 02 C2 04D2"),  # register
        answer("3F10 003C 03 04 42 0001E240 0044 37 02 00 04D2 0056 25 02 C2 04D2"),  # unit
        answer("3F10 003C 02 04 43 0001E240 0044 37 02 00 04D2 0056 25 02 C2 04D2"),  # SiEx
        answer("3F10 003C 02 02 42 E240 0044 37 04 00 000004D2 0056 25 02 C2 04D2"),  # sizes
        answer("7F10 003C 02 04 42 0001E240 0044 37 02 00 04D2 0056 25 02 C2 04D2"),  # from
    ],
)
def test_another_layout_of_the_same_size_is_parsed(wire: bytes) -> None:
    template = template_of(frame_of(NUMBERS))
    assert template is not None
    assert template.read(frame_of(wire)) is None
    agree([frame_of(NUMBERS), frame_of(wire), frame_of(NUMBERS)])


def test_a_request_with_the_bytes_of_an_answer_is_a_request() -> None:
    """Register 0400 in W, four bytes, is the same as a request for four registers."""
    twice = "3F10 0400 16 04 43 00000001 0401 16 04 43 00000001"
    frame = frame_of(answer(twice))
    agree([frame, frame._replace(direction="request"), frame])


@pytest.mark.parametrize("payload", ["3F10", "3F10 003C 02 04 42 0001E240", "3F02 0001E240"])
def test_no_template_for_fewer_than_two_numbers(payload: str) -> None:
    assert template_of(frame_of(answer(payload))) is None


def test_no_template_for_a_request() -> None:
    frame = frame_of(NUMBERS)
    assert make_template(frame._replace(direction="request"), decode_message(frame)) is None


def test_templates_of_one_meter_are_bounded() -> None:
    decoder = TemplateDecoder(decode_message, make_template)
    for count in range(2, 30):
        decoder.decode(frame_of(answer("3F10" + "003C 02 04 42 0001E240" * count)))
    assert len(decoder.templates) <= MAX_LAYOUTS


@settings(max_examples=200)
@given(data=st.data())
def test_random_changes(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    frame = frame_of(data.draw(st.sampled_from(RECORDED)))
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    agree([frame, *(with_changed_bytes(frame, rng, count) for count in counts), frame])


@pytest.mark.parametrize("vector", VECTORS)
def test_random_changes_of_every_vector(vector: Vector) -> None:
    rng = random.Random(1)
    for frame in frames_of(KmpFramer(), [wire_of(vector)]):
        if frame.kind != "ack":
            variants = [with_changed_bytes(frame, rng, count) for count in (1, 1, 1, 2, 8)]
            agree([frame, frame, *variants, frame])
