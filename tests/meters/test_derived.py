"""Derived values: precise energy, info texts, problems, faulty probes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.derived import DerivationFault, DerivedValues, Deriver

D = Decimal


def obj(id_: SourceId, value: Scalar, unit: str | None = None) -> DecodedValue:
    return DecodedValue(id_, None, value, unit)


def deriver(model: str) -> Deriver:
    return Deriver(registry.all_models()[model].profiles["kmp"])


def values(found: DerivedValues) -> dict[SourceId, Scalar]:
    return {derived.id: derived.value for derived in found.objects}


def test_precise_energy_of_a_403() -> None:
    # seed 002: 0.303 GJ and 84208 Wh
    objects = [obj(60, D("0.303"), "GJ"), obj(266, D(84208), "Wh")]
    found = deriver("multical_403").derive(objects, {})
    (precise,) = [derived for derived in found.objects if derived.id == "heat_energy_precise"]
    assert (str(precise.value), precise.unit) == ("84.208", "kWh")
    assert found.learned == {}


@pytest.mark.parametrize(
    "objects",
    [
        [obj(60, D("0.303"), "GJ")],
        [obj(266, D(84208), "Wh")],
        [obj(60, D("0.303"), "GJ"), obj(266, None, "Wh")],
        [obj(60, D("0.303"), "m³"), obj(266, D(84208), "Wh")],
        [obj(60, D("12345.678"), "GJ"), obj(266, D(84208), "Wh")],  # does not agree
    ],
)
def test_no_precise_energy_from_registers_that_do_not_fit(objects: list[DecodedValue]) -> None:
    found = deriver("multical_403").derive(objects, {})
    assert "heat_energy_precise" not in values(found)
    both = len(objects) == 2 and all(given.value is not None for given in objects)
    assert len(found.warnings) == both


def test_offset_of_a_602_is_learned_once() -> None:
    meter = deriver("multical_602")
    first = meter.derive([obj(60, D("35.812"), "MWh"), obj(155, D("271211.3"), "Wh")], {})
    assert first.learned == {"energy_offset_wh": "35540788.7"}
    assert str(values(first)["heat_energy_precise"]) == "35812.0000"
    later = meter.derive(
        [obj(60, D("35.812"), "MWh"), obj(155, D("271999.9"), "Wh")], first.learned
    )
    assert later.learned == {}
    assert str(values(later)["heat_energy_precise"]) == "35812.7886"


def test_offset_that_no_longer_agrees_is_learned_again() -> None:
    found = deriver("multical_602").derive(
        [obj(60, D("35.812"), "MWh"), obj(155, D("0.0"), "Wh")], {"energy_offset_wh": "1.0"}
    )
    assert found.learned == {"energy_offset_wh": "35812000.0"}
    (warning,) = found.warnings
    assert warning.fault is DerivationFault.OFFSET_CHANGED
    assert "learned again" in warning.text


def test_problems_and_info_text() -> None:
    found = values(deriver("multical_602").derive([obj(99, D(64 + 4096))], {}))
    assert found["info_text"] == "leak in cold water; V1 air"
    assert {k for k, v in found.items() if v == "ON"} == {"problem_leak", "problem_air"}
    assert {k for k, v in found.items() if v == "OFF"} == {
        *("problem_burst", "problem_reversed_flow", "problem_probe", "problem_flow_sensor"),
        "problem_supply",
    }


def test_unconfirmed_info_codes_are_text_only() -> None:
    found = values(deriver("multical_403").derive([obj(99, D(256)), obj(369, D(1 << 28))], {}))
    assert found == {
        99: 256,
        369: 1 << 28,
        "info_text": "V1 air",
        "info_bits_text": "burst, water loss",
    }


def test_missing_info_code_has_no_text() -> None:
    assert values(deriver("multical_602").derive([obj(99, None)], {})) == {99: None}


@pytest.mark.parametrize("model", ["multical_602", "multical_403", "multical_603"])
@pytest.mark.parametrize("number", ["-5", "0.5"])
def test_number_that_is_not_a_sum_of_bits_has_no_text(model: str, number: str) -> None:
    """KMP can write any number (kmp.md 1.5: SI, SE); a negative one has all high bits set."""
    assert values(deriver(model).derive([obj(99, D(number))], {})) == {99: D(number)}


def test_open_probe_has_no_value() -> None:
    found = values(
        deriver("kmp_meter").derive(
            [obj(86, D("185.00")), obj(87, D("0.00")), obj(89, D("185.00")), obj(68, D(185))], {}
        )
    )
    assert found == {86: None, 87: D("0.00"), 89: D("185.00"), 68: D(185)}


def test_zero_degrees_are_a_fault_only_with_an_info_code() -> None:
    meter = deriver("multical_602")
    cold = [obj(86, D("0.00")), obj(87, D("0.00"))]
    assert values(meter.derive(cold, {})) == {86: D("0.00"), 87: D("0.00")}
    found = values(meter.derive([*cold, obj(99, D(8))], {}))  # t1 out of range
    assert (found[86], found[87]) == (None, D("0.00"))
    # the info code is read less often than the temperatures
    assert values(meter.derive(cold, {}))[86] is None
