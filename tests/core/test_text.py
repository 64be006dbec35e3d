"""Untrusted text."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.core.text import MAX_LENGTH, escape_unprintable, sanitize


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("m³ × é ✓", "m³ × é ✓"),
        ("a\x00b\x1b[31m\x85é", r"a\x00b\x1b[31m\x85é"),
        ("two\r\nlines\tand a tab", r"two\x0d\x0alines\x09and a tab"),
        ("line\u2028separator, bidi \u202e override", r"line\u2028separator, bidi \u202e override"),
        ("surrogate \ud800", r"surrogate \ud800"),
        ("private use \U00100000", r"private use \U00100000"),
    ],
)
def test_escape_unprintable(text: str, escaped: str) -> None:
    assert escape_unprintable(text) == escaped
    assert escape_unprintable(text).isprintable()


def test_sanitize_cuts_to_the_longest_state() -> None:
    assert MAX_LENGTH == 255
    assert sanitize("x" * 300) == "x" * 255
    assert sanitize("\x00" * 100) == r"\x00" * 63 + r"\x0"
    assert sanitize("short") == "short"
