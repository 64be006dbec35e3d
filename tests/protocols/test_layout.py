"""One struct for messages of one layout."""

from __future__ import annotations

from kamstrup_mqtt.protocols.layout import Layout

LEARNED = bytes.fromhex("AA 0001 BB CC 00000002 DDEE")
SPOTS = [(1, "H"), (5, "I")]


def test_values_between_constants() -> None:
    layout = Layout(LEARNED, SPOTS)
    assert layout.values(LEARNED) == (1, 2)
    assert layout.values(bytes.fromhex("AA FFFF BB CC 80000000 DDEE")) == (0xFFFF, 0x80000000)


def test_another_constant_is_another_layout() -> None:
    layout = Layout(LEARNED, SPOTS)
    for at in (0, 3, 4, 9, 10):
        other = bytearray(LEARNED)
        other[at] ^= 1
        assert layout.values(bytes(other)) is None


def test_another_length_is_another_layout() -> None:
    layout = Layout(LEARNED, SPOTS)
    assert layout.values(LEARNED[:-1]) is None
    assert layout.values(LEARNED + b"\x00") is None


def test_values_at_both_ends_and_side_by_side() -> None:
    layout = Layout(bytes.fromhex("01 FFFE 616263"), [(0, "B"), (1, "h"), (3, "3s")])
    assert layout.values(bytes.fromhex("02 8000 646566")) == (2, -32768, b"def")
