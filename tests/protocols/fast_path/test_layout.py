"""Layouts of messages, templates of objects, and the cache that holds them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.layout import (
    MAX_LAYOUTS,
    BinaryLayout,
    LayoutCache,
    ObjectTemplate,
    TemplateDecoder,
    TextLayout,
)

LEARNED = bytes.fromhex("AA 0001 BB CC 00000002 DDEE")
POSITIONS = [(1, "H"), (5, "I")]
TEXT = b"1.8(0012,5*kWh)2.8(-3*m3)"
FIELDS = [(4, 10), (19, 21)]


def test_values_between_constants() -> None:
    layout = BinaryLayout(LEARNED, POSITIONS)
    assert layout.values(LEARNED) == (1, 2)
    assert layout.values(bytes.fromhex("AA FFFF BB CC 80000000 DDEE")) == (0xFFFF, 0x80000000)


def test_another_constant_is_another_layout() -> None:
    layout = BinaryLayout(LEARNED, POSITIONS)
    for at in (0, 3, 4, 9, 10):
        for bit in range(8):
            other = bytearray(LEARNED)
            other[at] ^= 1 << bit
            assert layout.values(bytes(other)) is None


def test_another_length_is_another_layout() -> None:
    layout = BinaryLayout(LEARNED, POSITIONS)
    assert layout.values(LEARNED[:-1]) is None
    assert layout.values(LEARNED + b"\x00") is None
    # the same number, with zeros before it
    assert BinaryLayout(b"\x00\x01\x02", [(1, "H")]).values(b"\x01\x02") is None


def test_values_at_both_ends_and_side_by_side() -> None:
    layout = BinaryLayout(bytes.fromhex("01 FFFE 616263"), [(0, "B"), (1, "h"), (3, "3s")])
    assert layout.values(bytes.fromhex("02 8000 646566")) == (2, -32768, b"def")


@given(st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12))
def test_any_message_byte_by_byte(learned: bytes, other: bytes) -> None:
    values = BinaryLayout(learned, [(2, "H"), (6, "3s")]).values(other)
    same = [other[a:b] == learned[a:b] for a, b in ((0, 2), (4, 6), (9, 12))]
    assert values == (((other[2] << 8) + other[3], other[6:9]) if all(same) else None)


def test_fields_of_text() -> None:
    layout = TextLayout(TEXT, FIELDS)
    for text, fields in (
        (TEXT, ("0012,5", "-3")),
        (b"1.8(9870,1*kWh)2.8(-0*m3)", ("9870,1", "-0")),
        (b"1.8(9999,9*kWh)2.8(-9*m3?", ("9999,9", "-9")),
    ):
        # the bytes in a row as one number, written out: two hexadecimal digits each
        assert f"{layout.number(text):x}" == text.hex()
        assert layout.select(text.decode()) == fields


def test_fields_may_be_in_any_order() -> None:
    assert TextLayout(TEXT, FIELDS[::-1]).select(TEXT.decode()) == ("-3", "0012,5")


@pytest.mark.parametrize("at", range(len(TEXT)))
def test_only_the_digits_of_the_fields_may_change(at: int) -> None:
    layout = TextLayout(TEXT, FIELDS)
    free = at in (4, 5, 6, 7, 9, 20)
    for byte in range(256):
        other = TEXT[:at] + bytes((byte,)) + TEXT[at + 1 :]
        fits = other == TEXT or (free and byte in b"0123456789") or at == len(TEXT) - 1
        assert (layout.number(other) is not None) is fits
    assert layout.number(TEXT[:at] + TEXT[at + 1 :]) is None


@given(st.lists(st.integers(0x20, 0x4F), min_size=6, max_size=6), st.binary(max_size=1))
def test_any_digits_character_by_character(near: list[int], more: bytes) -> None:
    """Characters near the digits in ASCII: several at once do not carry over into each other."""
    a, b, c, d, e, last = near
    other = b"1.8(%c%c%c%c,%c*kWh)2.8(-3*m3%c" % (a, b, c, d, e, last) + more
    fits = not more and all(chr(byte) in "0123456789" for byte in (a, b, c, d, e))
    assert (TextLayout(TEXT, FIELDS).number(other) is not None) is fits


OBJECTS = [
    DecodedValue("a", 1, Decimal(1), "W"),
    DecodedValue("b", "text", "text"),
    DecodedValue("c", 3, Decimal("0.3"), "?", unknown_unit=True),
    DecodedValue("d", 4, None),
]


@pytest.mark.parametrize(
    ("changing", "numbers"),
    [([0, 2], [10, 30]), ([2, 0], [30, 10]), ([3, 2, 1, 0], [40, 30, 20, 10])],
)
def test_built_objects_are_in_message_order(changing: list[int], numbers: list[int]) -> None:
    objects = ObjectTemplate(OBJECTS, changing).build(numbers, map(Decimal, numbers))
    new = [
        obj._replace(raw=n, value=Decimal(n))
        for n, obj in zip((10, 20, 30, 40), OBJECTS, strict=True)
    ]
    expected = tuple(new[n] if n in changing else OBJECTS[n] for n in range(4))
    assert (objects, str(objects)) == (expected, str(expected))


def test_all_objects_may_change() -> None:
    objects = ObjectTemplate(OBJECTS, range(4)).build([9, 8, 7, 6], [None, "x", None, Decimal(0)])
    assert objects == (
        DecodedValue("a", 9, None, "W"),
        DecodedValue("b", 8, "x"),
        DecodedValue("c", 7, None, "?", unknown_unit=True),
        DecodedValue("d", 6, Decimal(0)),
    )


def test_built_objects_are_ordinary_objects() -> None:
    made, _ = ObjectTemplate(OBJECTS[:2], [0]).build([5], [Decimal(5)])
    same = DecodedValue("a", 5, Decimal(5), "W")
    assert type(made) is DecodedValue
    assert (made, repr(made), hash(made)) == (same, repr(same), hash(same))
    assert (made.id, made.raw, made.value, made.unit, made.unknown_unit) == ("a", 5, 5, "W", False)
    assert made._replace(unit="kW") == same._replace(unit="kW")


class Template:
    """Reads frames that begin with a letter; the others have another layout."""

    def __init__(self, letter: bytes) -> None:
        self.letter = letter

    def read(self, frame: Frame) -> Message | None:
        return Message({"by": "template"}) if frame.payload.startswith(self.letter) else None


def test_cache_holds_one_template_for_each_size() -> None:
    cache: LayoutCache[Template] = LayoutCache()
    assert cache.get(1) is None
    templates = [Template(bytes((size,))) for size in range(MAX_LAYOUTS)]
    for size, template in enumerate(templates):
        cache.add(size, template)
    other = Template(b"x")
    cache.add(0, other)
    assert [cache.get(size) for size in (0, 1, MAX_LAYOUTS - 1)] == [
        other,
        templates[1],
        templates[-1],
    ]


def test_cache_is_emptied_when_it_is_full() -> None:
    cache: LayoutCache[Template] = LayoutCache()
    for size in range(MAX_LAYOUTS):
        cache.add(size, Template(b"x"))
    last = Template(b"y")
    cache.add(99, last)
    assert dict(cache) == {99: last}
    assert MAX_LAYOUTS == 8


def frame_of(payload: bytes) -> Frame:
    return Frame(payload, payload, "answer")


def test_decoder_parses_what_no_template_can_read() -> None:
    parsed: list[bytes] = []

    def parse(frame: Frame) -> Message:
        parsed.append(frame.payload)
        return Message({"by": "parser"})

    decoder = TemplateDecoder(parse, lambda frame, _: Template(frame.payload[:1]))
    payloads = (b"a1", b"a2", b"b1", b"b2", b"a3", b"a44", b"a45")
    assert [decoder.decode(frame_of(payload)).header["by"] for payload in payloads] == [
        "parser",
        "template",
        "parser",
        "template",
        "parser",
        "parser",
        "template",
    ]
    assert parsed == [b"a1", b"b1", b"a3", b"a44"]


def test_decoder_learns_nothing_where_no_template_is_made() -> None:
    message = Message({})
    decoder: TemplateDecoder[Template] = TemplateDecoder(lambda _: message, lambda *_: None)
    assert decoder.decode(frame_of(b"a1")) is message
    assert len(decoder.templates) == 0


def test_decoder_learns_nothing_from_a_frame_that_cannot_be_parsed() -> None:
    def parse(_: Frame) -> Message:
        raise MeterError(LinkState.BYTES_NO_FRAMES, "no list")

    decoder = TemplateDecoder(parse, lambda *_: Template(b"a"))
    with pytest.raises(MeterError, match="no list"):
        decoder.decode(frame_of(b"a1"))
    assert len(decoder.templates) == 0
