"""Decoded objects under their public keys and units."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import DecodedValue, Measurement
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.mapping import map_objects, to_contract_unit
from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.plan import default_values
from kamstrup_mqtt.meters.quantities import QUANTITIES
from tests.meters.plans import han_plan, kmp_plan

D = Decimal


def test_objects_by_key_and_unit() -> None:
    found = map_objects(
        kmp_plan(),
        [
            DecodedValue(60, 12340, D("12.340"), "MWh"),
            DecodedValue(68, 5, D(5), "L"),
            DecodedValue(86, 1, D(1)),
        ],
        requested=(60, 68, 369),
    )
    assert found.groups == {
        "values": {
            "heat_energy": Measurement(D("12.340"), "MWh"),
            "volume": Measurement(D("0.005"), "m³"),
        },
        "slow": {"register_369": Measurement(None)},
    }
    assert found.unmapped == ()
    assert found.wrong_unit == {}


def test_unit_of_another_family_is_rejected() -> None:
    found = map_objects(kmp_plan(), [DecodedValue(68, 5, D(5), "GJ")])
    assert found.wrong_unit == {"volume": "GJ cannot be converted to m³"}
    assert found.groups == {"values": {"volume": Measurement(None)}}


def test_first_object_with_a_value_counts() -> None:
    twice = [DecodedValue(60, 1, D(1), "MWh"), DecodedValue(60, 2, D(2), "MWh")]
    found = map_objects(kmp_plan(), twice)
    assert found.groups["values"]["heat_energy"] == Measurement(D(1), "MWh")
    empty = [DecodedValue(60, None, None), DecodedValue(60, 2, D(2), "MWh")]
    found = map_objects(kmp_plan(), empty)
    assert found.groups["values"]["heat_energy"] == Measurement(D(2), "MWh")


def test_unlisted_objects_are_accepted_if_the_plan_says_so() -> None:
    plan = kmp_plan(accept_unlisted=True)
    found = map_objects(
        plan, [DecodedValue(86, 7150, D("71.50"), "°C"), DecodedValue(999, 5, D(5))]
    )
    assert found.groups == {
        "values": {"temp1": Measurement(D("71.50"), "°C"), "register_999": Measurement(D(5))}
    }
    assert found.unmapped == (DecodedValue(999, 5, D(5)),)


def test_unlisted_object_belongs_to_the_rarest_group() -> None:
    live, hourly = (
        DecodedValue("1-1:1.7.0.255", 7, D(7), "W"),
        DecodedValue("1-1:1.8.0.255", 1, D(1), "kWh"),
    )
    unlisted = DecodedValue("1-1:99.9.9.255", "x", "x")
    found = map_objects(han_plan(), [live, unlisted])
    assert set(found.groups["live"]) > {"power_import"}
    assert found.unmapped == (unlisted,)
    found = map_objects(han_plan(), [live, hourly, unlisted])
    assert set(found.groups["live"]) == {"power_import"}
    assert len(found.groups["hourly"]) == 2


def test_key_from_an_unlisted_source_stays_in_its_group() -> None:
    """ "DLMS push 1" has no 0.0.5: 0.0.1 is the `meter_id` (han.md 2.4), and its registers come in
    the same list."""
    number = DecodedValue("1-1:0.0.1.255", 31234567, D(31234567))
    register = DecodedValue("1-1:1.8.0.255", 1, D(1), "kWh")
    found = map_objects(han_plan(), [register, number])
    assert found.groups["live"] == {"meter_id": Measurement("31234567")}
    assert set(found.groups["hourly"]) == {"energy_import"}


@pytest.mark.parametrize("model", ["aidon_se", "auto"])
def test_object_that_a_model_names_is_not_unmapped(model: str) -> None:
    """The Swedish Aidon list has reactive powers by phase (han.md 2.5); they have no keys."""
    profile = registry.all_models()[model].profiles["han"]
    plan = replace(han_plan(), profile=profile, values=default_values("han", profile))
    codes = [f"1-0:{c}.7.0.255" for c in (23, 24, 43, 44, 63, 64)]
    found = map_objects(plan, [DecodedValue(code, 126, D(126), "var") for code in codes])
    assert found.unmapped == ()
    key = "obis_1_0_23_7_0_255"
    assert found.groups["live"][key] == Measurement(D(126), "var")
    assert plan.quantity(key).name == "Reactive power import L1"
    assert plan.quantity("obis_1_0_64_7_0_255").name == "Reactive power export L3"


@pytest.mark.parametrize(
    ("quantity", "obj", "measured"),
    [
        # text: as sent, leading zeros kept
        (QUANTITIES["meter_id"], DecodedValue(1, "0012", "0012"), Measurement("0012")),
        (QUANTITIES["meter_id"], DecodedValue(1, 12, D("1.2"), "kWh"), Measurement("12")),
        (QUANTITIES["meter_id"], DecodedValue(1, None, None), Measurement(None)),
        (QUANTITIES["heat_energy"], DecodedValue(60, 1, D(1), "GJ"), Measurement(D(1), "GJ")),
        (QUANTITIES["heat_energy"], DecodedValue(60, None, None, "GJ"), Measurement(None, "GJ")),
        (QUANTITIES["volume"], DecodedValue(68, None, None, "L"), Measurement(None, "m³")),
        # a number without unit is in the contract's
        (QUANTITIES["energy_import"], DecodedValue("1.20", 1, D(1)), Measurement(D(1), "kWh")),
    ],
)
def test_to_contract_unit(quantity: Quantity, obj: DecodedValue, measured: Measurement) -> None:
    assert to_contract_unit(quantity, obj) == measured


def test_number_in_an_unknown_unit_is_rejected() -> None:
    volume = DecodedValue(68, 11388, D(11388), None, unknown_unit=True)
    found = map_objects(kmp_plan(), [volume])
    assert found.groups["values"]["volume"] == Measurement(None)
    assert found.wrong_unit == {"volume": "its unit is unknown; it should be m³"}
    # as sent: the number without unit
    energy = DecodedValue(60, 5, D(5), None, unknown_unit=True)
    assert to_contract_unit(QUANTITIES["heat_energy"], energy) == Measurement(D(5), None)
