"""JSON with exact decimals."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.decimal_json import ObjectWriter, dumps, format_decimal
from kamstrup_mqtt.core.model import LinkState


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.30300", "0.30300"),
        ("61.62", "61.62"),
        ("2.55E+5", "255000"),
        ("1E-7", "0.0000001"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("0E+5", "0"),
        ("-12.5", "-12.5"),
        ("123456789012345678", "123456789012345678"),
        ("1234567890123456789", '"1234567890123456789"'),
        ("-0.001234567890123456789", '"-0.001234567890123456789"'),
        ("100000000000000000000", "100000000000000000000"),
        ("1E+63", "1" + "0" * 63),
        ("0." + "0" * 30 + "1", "0." + "0" * 30 + "1"),
    ],
)
def test_numbers(value: str, text: str) -> None:
    assert dumps(Decimal(value)) == text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_nan_and_infinity_are_rejected(value: str) -> None:
    with pytest.raises(ValueError, match="not a number that a meter can send"):
        format_decimal(Decimal(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        (LinkState.OK, '"ok"'),
        ('a"b\n\x01', '"a\\"b\\n\\u0001"'),
        ("m³", '"m³"'),
        ({}, "{}"),
        ([], "[]"),
        ((1, Decimal("2.0")), "[1, 2.0]"),
        ({"a": {"b": [None]}, 97: "x"}, '{"a": {"b": [null]}, "97": "x"}'),
    ],
)
def test_other_values(value: Any, text: str) -> None:
    assert dumps(value) == text


def test_indented() -> None:
    assert dumps({"a": [Decimal("1.0")], "b": {}}, indent=2) == (
        '{\n  "a": [\n    1.0\n  ],\n  "b": {}\n}'
    )


def test_the_standard_library_reads_it() -> None:
    value = {"a": [Decimal("1.50"), "x", None], "b": {"c": False}}
    assert json.loads(dumps(value, indent=1), parse_float=Decimal) == value


@pytest.mark.parametrize("value", [b"ab", {1, 2}, object()])
def test_types_without_a_json_form_are_rejected(value: Any) -> None:
    with pytest.raises(TypeError):
        dumps(value)


def test_nan_of_a_float_is_rejected() -> None:
    with pytest.raises(ValueError):
        dumps(float("nan"))


_NUMBERS = st.decimals(allow_nan=False, allow_infinity=False)
_VALUES = st.none() | st.text() | _NUMBERS


@given(_NUMBERS)
def test_plain_notation_has_every_digit_and_no_exponent(value: Decimal) -> None:
    text = format_decimal(value)
    assert set(text) <= set("-.0123456789")
    assert Decimal(text) == value
    if value:
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        # all digits, and zeros in place of the exponent
        written = text.lstrip("-").replace(".", "").lstrip("0")
        assert written == "".join(map(str, digits)).lstrip("0") + "0" * max(exponent, 0)
        assert text.startswith("-") == bool(sign)


@given(st.dictionaries(st.text(), _VALUES), st.lists(st.text(), unique=True))
def test_a_form_writes_the_same_as_dumps(values: dict[str, Any], missing: list[str]) -> None:
    keys = list(dict.fromkeys((*missing, *values)))
    assert ObjectWriter(keys).dumps(values) == dumps({key: values.get(key) for key in keys})
    assert ObjectWriter(()).dumps(values) == "{}"
