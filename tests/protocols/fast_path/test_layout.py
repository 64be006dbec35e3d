"""Messages of one layout: the values between constants, and the objects that are made of them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.model import DecodedValue
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.layout import (
    MAX_TEMPLATES,
    MessageTemplate,
    ObjectTemplate,
    TemplateCache,
    TextTemplate,
    make_frame,
    make_message,
)

LEARNED = bytes.fromhex("AA 0001 BB CC 00000002 DDEE")
SPOTS = [(1, "H"), (5, "I")]
TEXT = b"1.8(0012,5*kWh)2.8(-3*m3)"
FIELDS = [(4, 10), (19, 21)]


def test_values_between_constants() -> None:
    layout = MessageTemplate(LEARNED, SPOTS)
    assert layout.values(LEARNED) == (1, 2)
    assert layout.values(bytes.fromhex("AA FFFF BB CC 80000000 DDEE")) == (0xFFFF, 0x80000000)


def test_another_constant_is_another_layout() -> None:
    layout = MessageTemplate(LEARNED, SPOTS)
    for at in (0, 3, 4, 9, 10):
        for bit in range(8):
            other = bytearray(LEARNED)
            other[at] ^= 1 << bit
            assert layout.values(bytes(other)) is None


def test_another_length_is_another_layout() -> None:
    layout = MessageTemplate(LEARNED, SPOTS)
    assert layout.values(LEARNED[:-1]) is None
    assert layout.values(LEARNED + b"\x00") is None
    # the same number, with zeros before it
    assert MessageTemplate(b"\x00\x01\x02", [(1, "H")]).values(b"\x01\x02") is None


def test_values_at_both_ends_and_side_by_side() -> None:
    layout = MessageTemplate(bytes.fromhex("01 FFFE 616263"), [(0, "B"), (1, "h"), (3, "3s")])
    assert layout.values(bytes.fromhex("02 8000 646566")) == (2, -32768, b"def")


@given(st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12))
def test_any_message_byte_by_byte(learned: bytes, other: bytes) -> None:
    values = MessageTemplate(learned, [(2, "H"), (6, "3s")]).values(other)
    same = [other[a:b] == learned[a:b] for a, b in ((0, 2), (4, 6), (9, 12))]
    assert values == (((other[2] << 8) + other[3], other[6:9]) if all(same) else None)


def test_fields_of_text() -> None:
    layout = TextTemplate(TEXT, FIELDS)
    for text, fields in (
        (TEXT, ("0012,5", "-3")),
        (b"1.8(9870,1*kWh)2.8(-0*m3)", ("9870,1", "-0")),
        (b"1.8(9999,9*kWh)2.8(-9*m3?", ("9999,9", "-9")),
    ):
        # the bytes in a row as one number, written out: two hexadecimal digits each
        assert f"{layout.number(text):x}" == text.hex()
        assert layout.fields(text.decode()) == fields


def test_fields_may_be_in_any_order() -> None:
    assert TextTemplate(TEXT, FIELDS[::-1]).fields(TEXT.decode()) == ("-3", "0012,5")


@pytest.mark.parametrize("at", range(len(TEXT)))
def test_only_the_digits_of_the_fields_may_change(at: int) -> None:
    layout = TextTemplate(TEXT, FIELDS)
    free = at in (4, 5, 6, 7, 9, 20)
    for byte in range(256):
        other = TEXT[:at] + bytes((byte,)) + TEXT[at + 1 :]
        fits = other == TEXT or (free and byte in b"0123456789") or at == len(TEXT) - 1
        assert (layout.number(other) is not None) is fits
    assert layout.number(TEXT[:at] + TEXT[at + 1 :]) is None


@given(st.lists(st.integers(0x20, 0x4F), min_size=6, max_size=6), st.binary(max_size=1))
def test_any_digits_character_by_character(near: list[int], more: bytes) -> None:
    """What is around the digits in ASCII: several at once carry nothing from one to the next."""
    a, b, c, d, e, last = near
    other = b"1.8(%c%c%c%c,%c*kWh)2.8(-3*m3%c" % (a, b, c, d, e, last) + more
    fits = not more and all(chr(byte) in "0123456789" for byte in (a, b, c, d, e))
    assert (TextTemplate(TEXT, FIELDS).number(other) is not None) is fits


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
def test_objects_in_the_order_of_the_message(changing: list[int], numbers: list[int]) -> None:
    objects = ObjectTemplate(OBJECTS, changing).objects(numbers, map(Decimal, numbers))
    new = [
        obj._replace(raw=n, value=Decimal(n))
        for n, obj in zip((10, 20, 30, 40), OBJECTS, strict=True)
    ]
    expected = tuple(new[n] if n in changing else OBJECTS[n] for n in range(4))
    assert (objects, str(objects)) == (expected, str(expected))


def test_all_objects_change_in_their_order() -> None:
    objects = ObjectTemplate(OBJECTS, range(4)).objects([9, 8, 7, 6], [None, "x", None, Decimal(0)])
    assert objects == (
        DecodedValue("a", 9, None, "W"),
        DecodedValue("b", 8, "x"),
        DecodedValue("c", 7, None, "?", unknown_unit=True),
        DecodedValue("d", 6, Decimal(0)),
    )


def test_made_objects_are_as_any_other() -> None:
    made, _ = ObjectTemplate(OBJECTS[:2], [0]).objects([5], [Decimal(5)])
    same = DecodedValue("a", 5, Decimal(5), "W")
    assert isinstance(made, DecodedValue)
    assert (made, repr(made), hash(made)) == (same, repr(same), hash(same))
    assert (made.id, made.raw, made.value, made.unit, made.unknown_unit) == ("a", 5, 5, "W", False)
    assert made._replace(unit="kW") == same._replace(unit="kW")


@pytest.mark.parametrize(
    ("made", "same"),
    [
        (make_frame((b"r", b"p", "answer", "data")), Frame(b"r", b"p", "answer", "data")),
        (make_message(({"a": 1}, (OBJECTS[0],))), Message({"a": 1}, (OBJECTS[0],))),
    ],
)
def test_made_frames_and_messages_are_as_any_other(
    made: Frame | Message, same: Frame | Message
) -> None:
    assert isinstance(made, type(same))
    assert (made, repr(made), made._asdict()) == (same, repr(same), same._asdict())
    assert [getattr(made, name) for name in same._fields] == list(same)


def test_one_layout_is_kept_for_each_size_up_to_a_bound() -> None:
    known: TemplateCache[str] = TemplateCache()
    assert known.get(1) is None
    for size in range(MAX_TEMPLATES):
        known.store(size, f"{size}")
    known.store(0, "anew")
    assert [known.get(size) for size in (0, 1, MAX_TEMPLATES - 1)] == [
        "anew",
        "1",
        f"{MAX_TEMPLATES - 1}",
    ]
    known.store(99, "one too many")
    assert [known.get(size) for size in (0, 1, 99)] == [None, None, "one too many"]
    assert MAX_TEMPLATES == 8
