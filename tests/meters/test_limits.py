"""The physical limits of a meter."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.limits import DEFAULT_LIMITS, MeterLimits, limits_for

D = Decimal


@pytest.mark.parametrize(
    ("unit", "rise"),
    [
        ("kWh", D(1000)),
        ("MWh", D(1)),
        ("GJ", D("3.6")),
        ("MJ", D(3600)),
        ("Gcal", D("0.861")),
        ("kvarh", D(1000)),
        ("kVAh", D(1000)),
        ("m³", D(200)),
        ("L", D(200_000)),
        ("t", D(200)),
        ("m³×°C", D(40_000)),
        ("h", D("1.05")),
        (None, None),
        ("°C", None),
    ],
)
def test_highest_rise_of_a_total_in_an_hour(unit: str | None, rise: Decimal | None) -> None:
    assert MeterLimits(power=1_000_000, flow=200).max_rise_per_hour(unit) == rise


@pytest.mark.parametrize(
    ("model", "power"),
    [("multical_403", 1_000_000), ("e685_382", 55_200), ("kamstrup_han_3phase", 55_200)],
)
def test_limits_of_a_medium(model: str, power: int) -> None:
    # 3 × 80 A × 230 V
    assert limits_for(registry.all_models()[model]) == MeterLimits(power=power, flow=200)


def test_limits_of_a_model_and_of_the_configuration() -> None:
    model = replace(registry.all_models()["multical_403"], max_power=50_000, max_flow=3)
    assert limits_for(model) == MeterLimits(power=50_000, flow=3)
    assert limits_for(model, 70_000, 9) == MeterLimits(power=70_000, flow=9)
    assert MeterLimits(power=1_000_000, flow=200) == DEFAULT_LIMITS
