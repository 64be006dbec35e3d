"""Which model a meter is, from what it answers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import DecodedValue, SourceId
from kamstrup_mqtt.meters.detection import guess


def answered(type_: str, *ids: SourceId) -> list[DecodedValue]:
    return [DecodedValue("type", type_, type_), *(DecodedValue(id_, 1, Decimal(1)) for id_ in ids)]


@pytest.mark.parametrize(
    ("objects", "model"),
    [
        # kmp.md 1.4: GetType of the 601, also through a 67-05 module
        (answered("0001", 60, 68, 155), "multical_601"),
        (answered("1504", 60, 68), "multical_601"),
        (answered("0006", 60, 68, 155), "multical_602"),
        (answered("0006", 60, 68, 171), "multical_801"),
        (answered("0006", 60, 68), "multical_402"),
        (answered("0006", 60, 68, 266, 369), "multical_403"),
        (answered("0006", 60, 68, 266, 239), "multical_302"),
        (answered("0006", 68, 74), "multical_21"),
        (answered("0006", 404), "kmp_meter"),
        ([], "kmp_meter"),
        # AIMIR: the first byte, in decimal, of electricity meters
        (answered("3500", 1, 1023), "kamstrup_382"),
        (answered("3801", 1, 1023), "kamstrup_162"),
        (answered("3A00", 1), "kamstrup_282"),
        (answered("4B00", 1), "kamstrup_351"),
        (answered("5A00", 1, 1023), "kamstrup_omnia"),
        (answered("FF00", 1, 1023), "kamstrup_382"),
    ],
)
def test_guess(objects: list[DecodedValue], model: str) -> None:
    assert guess(objects) == model


def test_a_meter_that_tells_its_name() -> None:
    named = [*answered("0006", 60, 266, 369), DecodedValue(404, 603, Decimal(603))]
    assert guess(named) == "multical_603"
    assert (
        guess([*answered("0006", 60, 266, 369), DecodedValue(404, "x", "MC303")]) == "multical_303"
    )
    assert (
        guess([*answered("0006", 60, 266, 369), DecodedValue(404, 7, Decimal(7))]) == "multical_403"
    )
    chance = DecodedValue(404, 1302001, Decimal(1302001))
    assert guess([*answered("0006", 60, 266, 369), chance]) == "multical_403"
    assert guess([*answered("0006", 60, 266, 369), DecodedValue(404, None, None)]) == "multical_403"
