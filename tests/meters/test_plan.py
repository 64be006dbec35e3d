"""What is read from a meter, and under which key and unit it is published."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import DecodedValue, Measurement
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import ProtocolProfile, Quantity
from kamstrup_mqtt.meters.plan import (
    PlannedValue,
    ReadingPlan,
    default_values,
    map_objects,
    to_contract_unit,
)
from kamstrup_mqtt.meters.quantities import QUANTITIES

D = Decimal


def kmp_plan(**changes: object) -> ReadingPlan:
    """Registers 60 and 68 (kmp.md 2.1: heat energy, volume), 86 besides, 369 with a user's name."""
    dialect = ProtocolProfile(
        groups={"values": (60, 68)}, more=(86, 89), overrides={97: {"name": "E 8"}}
    )
    values = (
        *default_values("kmp", dialect),
        PlannedValue(369, Quantity(key="register_369", name="Mine", as_sent=True), "slow"),
    )
    plan = ReadingPlan(protocol="kmp", profile=dialect, values=values, periods={"values": 60.0})
    return replace(plan, **changes)  # type: ignore[arg-type]


def han_plan() -> ReadingPlan:
    dialect = registry.all_models()["kamstrup_han_3phase"].profiles["han"]
    values = default_values("han", dialect)
    return ReadingPlan(
        protocol="han",
        profile=dialect,
        values=values,
        periods=dialect.periods,
        accept_unlisted=True,
    )


def test_what_is_asked_and_where_it_goes() -> None:
    plan = kmp_plan()
    assert plan.sources == (60, 68, 369)
    assert plan.groups == ("values", "slow")
    assert plan.group_of("heat_energy") == "values"
    assert plan.group_of("register_369") == "slow"
    assert plan.group_of("temp1") is None


def test_names_as_configured_as_the_model_has_them_as_anyone_has() -> None:
    plan = kmp_plan()
    assert plan.quantity("register_369").name == "Mine"
    assert plan.quantity("temp1") == QUANTITIES["temp1"]
    assert plan.quantity("volume_temp1").name == "E 8"
    assert plan.quantity("temp2") == QUANTITIES["temp2"]
    assert plan.quantity("register_999").name == "Register 999"


def test_objects_under_their_keys() -> None:
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


def test_a_unit_of_another_family_is_held_back() -> None:
    found = map_objects(kmp_plan(), [DecodedValue(68, 5, D(5), "GJ")])
    assert found.wrong_unit == {"volume": "GJ cannot be converted to m³"}
    assert found.groups == {"values": {"volume": Measurement(None)}}


def test_the_first_of_two_is_taken_unless_it_is_empty() -> None:
    twice = [DecodedValue(60, 1, D(1), "MWh"), DecodedValue(60, 2, D(2), "MWh")]
    found = map_objects(kmp_plan(), twice)
    assert found.groups["values"]["heat_energy"] == Measurement(D(1), "MWh")
    empty = [DecodedValue(60, None, None), DecodedValue(60, 2, D(2), "MWh")]
    found = map_objects(kmp_plan(), empty)
    assert found.groups["values"]["heat_energy"] == Measurement(D(2), "MWh")


def test_what_nobody_listed_is_published_where_the_meter_sends_all() -> None:
    plan = kmp_plan(accept_unlisted=True)
    found = map_objects(
        plan, [DecodedValue(86, 7150, D("71.50"), "°C"), DecodedValue(999, 5, D(5))]
    )
    assert found.groups == {
        "values": {"temp1": Measurement(D("71.50"), "°C"), "register_999": Measurement(D(5))}
    }
    assert found.unmapped == (DecodedValue(999, 5, D(5)),)


def test_a_newcomer_in_the_hourly_list_is_hourly() -> None:
    live, hourly = (
        DecodedValue("1-1:1.7.0.255", 7, D(7), "W"),
        DecodedValue("1-1:1.8.0.255", 1, D(1), "kWh"),
    )
    newcomer = DecodedValue("1-1:99.9.9.255", "x", "x")
    found = map_objects(han_plan(), [live, newcomer])
    assert set(found.groups["live"]) > {"power_import"}
    assert found.unmapped == (newcomer,)
    found = map_objects(han_plan(), [live, hourly, newcomer])
    assert set(found.groups["live"]) == {"power_import"}
    assert len(found.groups["hourly"]) == 2


def test_a_known_key_from_another_source_stays_in_its_group() -> None:
    """ "DLMS push 1" has no 0.0.5: 0.0.1 is the `meter_id` (han.md 2.4), and its registers come in
    the same list."""
    number = DecodedValue("1-1:0.0.1.255", 31234567, D(31234567))
    register = DecodedValue("1-1:1.8.0.255", 1, D(1), "kWh")
    found = map_objects(han_plan(), [register, number])
    assert found.groups["live"] == {"meter_id": Measurement("31234567")}
    assert set(found.groups["hourly"]) == {"energy_import"}


@pytest.mark.parametrize("model", ["aidon_se", "auto"])
def test_what_a_model_names_is_not_to_be_reported(model: str) -> None:
    """The Swedish Aidon list has reactive powers by phase (han.md 2.5); no key is theirs."""
    dialect = registry.all_models()[model].profiles["han"]
    plan = replace(han_plan(), profile=dialect, values=default_values("han", dialect))
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
def test_in_contract_unit(quantity: Quantity, obj: DecodedValue, measured: Measurement) -> None:
    assert to_contract_unit(quantity, obj) == measured


def test_a_number_in_an_unknown_unit_is_never_taken_for_the_contracts() -> None:
    volume = DecodedValue(68, 11388, D(11388), None, unknown_unit=True)
    found = map_objects(kmp_plan(), [volume])
    assert found.groups["values"]["volume"] == Measurement(None)
    assert found.wrong_unit == {"volume": "its unit is unknown; it should be m³"}
    # as sent: the number without unit
    energy = DecodedValue(60, 5, D(5), None, unknown_unit=True)
    assert to_contract_unit(QUANTITIES["heat_energy"], energy) == Measurement(D(5), None)
