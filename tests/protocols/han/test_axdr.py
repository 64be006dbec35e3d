"""Elements of A-XDR, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.han import axdr
from kamstrup_mqtt.protocols.han.axdr import AxdrError, Element


@pytest.mark.parametrize(
    ("octets", "tag", "value"),
    [
        ("00", 0x00, None),
        ("06 00 43 7C 90", 0x06, 4422800),  # seed 003, the 01:00 register
        ("06 FF FF FF FF", 0x06, 4294967295),
        ("12 00 DC", 0x12, 220),
        ("11 80", 0x11, 128),
        ("03 01", 0x03, 1),
        ("10 FF F6", 0x10, -10),
        ("0F FE", 0x0F, -2),
        ("05 FF FF FF FF", 0x05, -1),
        ("14 80 00 00 00 00 00 00 00", 0x14, -(2**63)),
        ("15 FF FF FF FF FF FF FF FF", 0x15, 2**64 - 1),
        ("16 1B", 0x16, 27),
        ("09 06 01 01 01 07 00 FF", 0x09, bytes.fromhex("0101010700FF")),
        ("0A 03 41 42 43", 0x0A, b"ABC"),
        ("0C 02 C3 B8", 0x0C, b"\xc3\xb8"),
        ("09 00", 0x09, b""),
        ("17 41 20 00 00", 0x17, bytes.fromhex("41200000")),
        ("1B 01 02 03 FF", 0x1B, bytes.fromhex("010203FF")),
        ("02 00", 0x02, ()),
    ],
)
def test_every_type_both_ways(octets: str, tag: int, value: axdr.Contents) -> None:
    wire = bytes.fromhex(octets)
    assert axdr.read(wire) == (Element(tag, value), len(wire))
    assert axdr.write(Element(tag, value)) == wire
    assert axdr.read(b"\xff" + wire + b"\xff", 1) == (Element(tag, value), len(wire) + 1)


def test_elements_in_elements() -> None:
    wire = bytes.fromhex("01 01 02 03 12 00 01 00 02 02 0F FF 16 23")
    inner = Element(0x02, (Element(0x0F, -1), Element(0x16, 0x23)))
    structure = Element(0x02, (Element(0x12, 1), Element(0x00, None), inner))
    assert axdr.read(wire) == (Element(0x01, (structure,)), 14)
    assert axdr.write(Element(0x01, (structure,))) == wire


@pytest.mark.parametrize("size", [0x7F, 0x80, 0xFF, 0x100, 0xFFFF])
def test_the_forms_of_a_length(size: int) -> None:
    forms = {0x7F: "7F", 0x80: "81 80", 0xFF: "81 FF", 0x100: "82 01 00", 0xFFFF: "82 FF FF"}
    wire = b"\x09" + bytes.fromhex(forms[size]) + bytes(size)
    assert axdr.read(wire) == (Element(0x09, bytes(size)), len(wire))
    assert axdr.write(Element(0x09, bytes(size))) == wire
    assert axdr.read(b"\x09\x82" + size.to_bytes(2, "big") + bytes(size))[0].value == bytes(size)


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("", "an element is missing at byte 0"),
        ("06 00 00", "4 bytes expected at byte 1, 2 there"),
        ("09", "no length at byte 1"),
        ("09 80", "no length at byte 1"),
        ("09 83 00 00 01 00", "no length at byte 1"),
        ("09 82 01", "2 bytes expected at byte 2, 1 there"),
        ("0A 05 41", "5 bytes expected at byte 2, 1 there"),
        ("02 02 00", "an element is missing at byte 3"),
        ("19 00", "12 bytes expected at byte 1, 1 there"),
        ("02 01 7E", "unknown element type 7E at byte 2"),
        ("02 01" * 9, "nested deeper than 8 at byte 16"),
    ],
)
def test_bytes_that_are_no_element(octets: str, message: str) -> None:
    with pytest.raises(AxdrError, match=message):
        axdr.read(bytes.fromhex(octets))


def test_a_number_that_its_type_cannot_hold() -> None:
    with pytest.raises(OverflowError):
        axdr.write(Element(axdr.UINT16, 65536))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_element_or_an_error(data: bytes) -> None:
    try:
        element, end = axdr.read(data)
    except AxdrError:
        return
    assert 0 < end <= len(data)
    assert axdr.read(axdr.write(element))[0] == element
