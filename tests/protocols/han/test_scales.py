"""The scale of voltage and current by physics (han.md 2.7)."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.protocols.han.scales import CurrentScale

SEED = {  # seed 003, 10 s list 1, on three wires: r = 1.08
    "1.7.0": 2824,
    "2.7.0": 0,
    "3.7.0": 465,
    "4.7.0": 0,
    "31.7.0": 1091,
    "51.7.0": 750,
    "71.7.0": 557,
    "32.7.0": 220,
    "52.7.0": 221,
    "72.7.0": 223,
}
CT = {  # 63 kVA, 90.999 A a phase, counted in 0.001 A (the report behind gh216)
    "1.7.0": 63000,
    "2.7.0": 0,
    "3.7.0": 7000,
    "4.7.0": 0,
    **dict.fromkeys(("31.7.0", "51.7.0", "71.7.0"), 90999),
    **dict.fromkeys(("32.7.0", "52.7.0", "72.7.0"), 233),
}


@pytest.mark.parametrize("meter_type", ["6841121BN243101040", "6851121BN243101040", None])
def test_hundredths(meter_type: str | None) -> None:
    assert CurrentScale().scales_for(SEED, meter_type) == (0, -2)


def test_hundredths_of_a_volt() -> None:
    counts = SEED | {"32.7.0": 21990, "52.7.0": 22110, "72.7.0": 22300}
    assert CurrentScale().scales_for(counts, "6841138BN245101090") == (-2, -2)


@pytest.mark.parametrize("meter_type", ["6851131BN245101092", None])
def test_transformers_count_thousandths(meter_type: str | None) -> None:
    assert CurrentScale().scales_for(CT, meter_type) == (0, -3)


def test_three_wires_with_transformers() -> None:
    counts = CT | {"1.7.0": 36373}  # 90.999 A, 233 V line to line: a third root less
    assert CurrentScale().scales_for(counts, "6851121BN243101040") == (0, -3)


def test_powers_of_phases_that_import_and_export_do_not_cancel_out() -> None:
    netted = CT | {"1.7.0": 1000, "3.7.0": 0}
    phases = {"21.7.0": 32000, "22.7.0": 0, "41.7.0": 0, "42.7.0": 31000}
    # 0.01 A: a tenth of CT's currents, with the same powers of the phases
    plain = netted | dict.fromkeys(("31.7.0", "51.7.0", "71.7.0"), 9100)
    assert CurrentScale().scales_for(plain | phases, None) == (0, -2)
    assert CurrentScale().scales_for(CT | phases, None) == (0, -3)


def test_an_excluded_scale_stays_excluded() -> None:
    scale = CurrentScale()
    assert scale.scales_for(SEED, None).current == -2
    # one phase exports nearly what the others import: r is 10, as if these were thousandths
    balanced = SEED | {"1.7.0": 400, "3.7.0": 50}
    assert scale.scales_for(balanced, None).current == -2
    assert CurrentScale().scales_for(balanced, "6841131BN243101040").current == -2  # direct: never


def test_thousandths_stay_while_frames_have_too_few_values() -> None:
    scale = CurrentScale()
    scale.scales_for(CT, None)
    assert scale.scales_for(CT | {"1.7.0": 20, "3.7.0": 0}, None).current == -3  # below 100 VA
    assert scale.scales_for({"31.7.0": 5, "32.7.0": 230}, None).current == -3  # no power
    assert scale.scales_for(CT | {"1.7.0": 5000, "3.7.0": 0}, None).current == -3  # r would be 13
    # r below 1 even at 0.01 A is no proof of anything, but 0.001 A it is not
    assert scale.scales_for(SEED | {"1.7.0": 90000}, None).current == -2
    assert scale.scales_for(CT, None).current == -3
