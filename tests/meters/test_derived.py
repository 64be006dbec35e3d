"""What is made of what a meter sends."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.derived import DerivedValues, Deriver, inputs_of, sources_to_read

D = Decimal


def obj(id_: SourceId, value: Scalar, unit: str | None = None) -> DecodedValue:
    return DecodedValue(id_, None, value, unit)


def deriver(model: str) -> Deriver:
    return Deriver(registry.all_models()[model].profiles["kmp"])


def values(found: DerivedValues) -> dict[SourceId, Scalar]:
    return {made.id: made.value for made in found.objects}


def test_the_total_of_a_403() -> None:
    # seed 002: 0.303 GJ and 84208 Wh
    objects = [obj(60, D("0.303"), "GJ"), obj(266, D(84208), "Wh")]
    found = deriver("multical_403").derive(objects, {})
    (precise,) = [made for made in found.objects if made.id == "heat_energy_precise"]
    assert (str(precise.value), precise.unit) == ("84.208", "kWh")
    assert found.learned == {}


@pytest.mark.parametrize(
    "objects",
    [
        [obj(60, D("0.303"), "GJ")],
        [obj(266, D(84208), "Wh")],
        [obj(60, D("0.303"), "GJ"), obj(266, None, "Wh")],
        [obj(60, D("0.303"), "m³"), obj(266, D(84208), "Wh")],
        [obj(60, D("12345.678"), "GJ"), obj(266, D(84208), "Wh")],  # does not fit
    ],
)
def test_no_total_of_half_the_truth(objects: list[DecodedValue]) -> None:
    found = deriver("multical_403").derive(objects, {})
    assert "heat_energy_precise" not in values(found)
    both = len(objects) == 2 and all(made.value is not None for made in objects)
    assert len(found.warnings) == both


def test_the_offset_of_a_602_is_learned_once() -> None:
    meter = deriver("multical_602")
    first = meter.derive([obj(60, D("35.812"), "MWh"), obj(155, D("271211.3"), "Wh")], {})
    assert first.learned == {"energy_offset_wh": "35540788.7"}
    assert str(values(first)["heat_energy_precise"]) == "35812.0000"
    later = meter.derive(
        [obj(60, D("35.812"), "MWh"), obj(155, D("271999.9"), "Wh")], first.learned
    )
    assert later.learned == {}
    assert str(values(later)["heat_energy_precise"]) == "35812.7886"


def test_an_offset_that_no_longer_fits_is_learned_anew() -> None:
    found = deriver("multical_602").derive(
        [obj(60, D("35.812"), "MWh"), obj(155, D("0.0"), "Wh")], {"energy_offset_wh": "1.0"}
    )
    assert found.learned == {"energy_offset_wh": "35812000.0"}
    assert "learned anew" in found.warnings[0]


def test_problems_and_words() -> None:
    found = values(deriver("multical_602").derive([obj(99, D(64 + 4096))], {}))
    assert found["info_text"] == "leak in cold water; V1 air"
    assert {k for k, v in found.items() if v == "ON"} == {"problem_leak", "problem_air"}
    assert {k for k, v in found.items() if v == "OFF"} == {
        *("problem_burst", "problem_reversed_flow", "problem_probe", "problem_flow_sensor"),
        "problem_supply",
    }


def test_what_is_unconfirmed_is_text_only() -> None:
    found = values(deriver("multical_403").derive([obj(99, D(256)), obj(369, D(1 << 28))], {}))
    assert found == {
        99: 256,
        369: 1 << 28,
        "info_text": "V1 air",
        "info_bits_text": "burst, water loss",
    }


def test_an_info_code_that_did_not_come_says_nothing() -> None:
    assert values(deriver("multical_602").derive([obj(99, None)], {})) == {99: None}


@pytest.mark.parametrize("model", ["multical_602", "multical_403", "multical_603"])
@pytest.mark.parametrize("number", ["-5", "0.5"])
def test_a_number_that_is_no_sum_of_bits_says_nothing(model: str, number: str) -> None:
    """KMP can write any number (kmp.md 1.5: SI, SE); a negative one has all high bits set."""
    assert values(deriver(model).derive([obj(99, D(number))], {})) == {99: D(number)}


def test_an_open_probe_measures_nothing() -> None:
    found = values(
        deriver("kmp_meter").derive(
            [obj(86, D("185.00")), obj(87, D("0.00")), obj(89, D("185.00")), obj(68, D(185))], {}
        )
    )
    assert found == {86: None, 87: D("0.00"), 89: D("185.00"), 68: D(185)}


def test_zero_degrees_are_a_fault_only_if_the_meter_says_so() -> None:
    meter = deriver("multical_602")
    cold = [obj(86, D("0.00")), obj(87, D("0.00"))]
    assert values(meter.derive(cold, {})) == {86: D("0.00"), 87: D("0.00")}
    found = values(meter.derive([*cold, obj(99, D(8))], {}))  # t1 out of range
    assert (found[86], found[87]) == (None, D("0.00"))
    # the code is read more rarely than the temperatures
    assert values(meter.derive(cold, {}))[86] is None


def test_what_must_be_read() -> None:
    heat = registry.all_models()["multical_403"].profiles["kmp"]
    assert inputs_of(heat, "heat_energy_precise") == (60, 266)
    assert inputs_of(heat, "info_text") == (99,)
    assert inputs_of(heat, "info_bits_text") == (369,)
    assert sources_to_read(heat, (68, "heat_energy_precise", 60, 74)) == (68, 60, 266, 74)
    assert sources_to_read(heat, (60, *range(100, 108), 266)) == (60, 266, *range(100, 108))
    assert sources_to_read(heat, (266, 60)) == (60, 266)
    assert sources_to_read(heat, (266, 68)) == (266, 68)
    old = registry.all_models()["multical_602"].profiles["kmp"]
    assert sources_to_read(old, ("problem_leak", "info_text", "heat_energy_precise")) == (
        99,
        60,
        155,
    )
