"""What is read from a meter, and under which key and unit it is published."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import Measured, Object
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import Dialect, Quantity
from kamstrup_mqtt.meters.plan import (
    Plan,
    PlannedValue,
    default_values,
    in_contract_unit,
    sort_objects,
)
from kamstrup_mqtt.meters.quantities import QUANTITIES

D = Decimal


def kmp_plan(**changes: object) -> Plan:
    """Registers 60 and 68 (kmp.md 2.1: heat energy, volume), 86 besides, 369 with a user's name."""
    dialect = Dialect(groups={"values": (60, 68)}, more=(86, 89), overrides={97: {"name": "E 8"}})
    values = (
        *default_values("kmp", dialect),
        PlannedValue(369, Quantity(key="register_369", name="Mine", as_sent=True), "slow"),
    )
    plan = Plan(protocol="kmp", dialect=dialect, values=values, periods={"values": 60.0})
    return replace(plan, **changes)  # type: ignore[arg-type]


def han_plan() -> Plan:
    dialect = registry.all_models()["kamstrup_han_3phase"].dialects["han"]
    values = default_values("han", dialect)
    return Plan(protocol="han", dialect=dialect, values=values, periods=dialect.periods, open=True)


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
    found = sort_objects(
        kmp_plan(),
        [Object(60, 12340, D("12.340"), "MWh"), Object(68, 5, D(5), "L"), Object(86, 1, D(1))],
        asked=(60, 68, 369),
    )
    assert found.groups == {
        "values": {
            "heat_energy": Measured(D("12.340"), "MWh"),
            "volume": Measured(D("0.005"), "m³"),
        },
        "slow": {"register_369": Measured(None)},
    }
    assert found.unknown == ()
    assert found.foreign == {}


def test_a_unit_of_another_family_is_held_back() -> None:
    found = sort_objects(kmp_plan(), [Object(68, 5, D(5), "GJ")])
    assert found.foreign == {"volume": "GJ cannot be converted to m³"}
    assert found.groups == {"values": {"volume": Measured(None)}}


def test_the_first_of_two_is_taken_unless_it_is_empty() -> None:
    twice = [Object(60, 1, D(1), "MWh"), Object(60, 2, D(2), "MWh")]
    found = sort_objects(kmp_plan(), twice)
    assert found.groups["values"]["heat_energy"] == Measured(D(1), "MWh")
    empty = [Object(60, None, None), Object(60, 2, D(2), "MWh")]
    found = sort_objects(kmp_plan(), empty)
    assert found.groups["values"]["heat_energy"] == Measured(D(2), "MWh")


def test_what_nobody_listed_is_published_where_the_meter_sends_all() -> None:
    plan = kmp_plan(open=True)
    found = sort_objects(plan, [Object(86, 7150, D("71.50"), "°C"), Object(999, 5, D(5))])
    assert found.groups == {
        "values": {"temp1": Measured(D("71.50"), "°C"), "register_999": Measured(D(5))}
    }
    assert found.unknown == (Object(999, 5, D(5)),)


def test_a_newcomer_in_the_hourly_list_is_hourly() -> None:
    live, hourly = Object("1-1:1.7.0.255", 7, D(7), "W"), Object("1-1:1.8.0.255", 1, D(1), "kWh")
    newcomer = Object("1-1:99.9.9.255", "x", "x")
    found = sort_objects(han_plan(), [live, newcomer])
    assert set(found.groups["live"]) > {"power_import"}
    assert found.unknown == (newcomer,)
    found = sort_objects(han_plan(), [live, hourly, newcomer])
    assert set(found.groups["live"]) == {"power_import"}
    assert len(found.groups["hourly"]) == 2


def test_a_known_key_from_another_source_stays_in_its_group() -> None:
    """ "DLMS push 1" has no 0.0.5: 0.0.1 is the `meter_id` (han.md 2.4), and its registers come in
    the same list."""
    number = Object("1-1:0.0.1.255", 31234567, D(31234567))
    register = Object("1-1:1.8.0.255", 1, D(1), "kWh")
    found = sort_objects(han_plan(), [register, number])
    assert found.groups["live"] == {"meter_id": Measured("31234567")}
    assert set(found.groups["hourly"]) == {"energy_import"}


@pytest.mark.parametrize("model", ["aidon_se", "auto"])
def test_what_a_model_names_is_not_to_be_reported(model: str) -> None:
    """The Swedish Aidon list has reactive powers by phase (han.md 2.5); no key is theirs."""
    dialect = registry.all_models()[model].dialects["han"]
    plan = replace(han_plan(), dialect=dialect, values=default_values("han", dialect))
    codes = [f"1-0:{c}.7.0.255" for c in (23, 24, 43, 44, 63, 64)]
    found = sort_objects(plan, [Object(code, 126, D(126), "var") for code in codes])
    assert found.unknown == ()
    key = "obis_1_0_23_7_0_255"
    assert found.groups["live"][key] == Measured(D(126), "var")
    assert plan.quantity(key).name == "Reactive power import L1"
    assert plan.quantity("obis_1_0_64_7_0_255").name == "Reactive power export L3"


@pytest.mark.parametrize(
    ("quantity", "obj", "measured"),
    [
        # text: as sent, leading zeros kept
        (QUANTITIES["meter_id"], Object(1, "0012", "0012"), Measured("0012")),
        (QUANTITIES["meter_id"], Object(1, 12, D("1.2"), "kWh"), Measured("12")),
        (QUANTITIES["meter_id"], Object(1, None, None), Measured(None)),
        (QUANTITIES["heat_energy"], Object(60, 1, D(1), "GJ"), Measured(D(1), "GJ")),
        (QUANTITIES["heat_energy"], Object(60, None, None, "GJ"), Measured(None, "GJ")),
        (QUANTITIES["volume"], Object(68, None, None, "L"), Measured(None, "m³")),
        # a number without unit is in the contract's
        (QUANTITIES["energy_import"], Object("1.20", 1, D(1)), Measured(D(1), "kWh")),
    ],
)
def test_in_contract_unit(quantity: Quantity, obj: Object, measured: Measured) -> None:
    assert in_contract_unit(quantity, obj) == measured


def test_a_number_in_an_unknown_unit_is_never_taken_for_the_contracts() -> None:
    volume = Object(68, 11388, D(11388), None, unknown_unit=True)
    found = sort_objects(kmp_plan(), [volume])
    assert found.groups["values"]["volume"] == Measured(None)
    assert found.foreign == {"volume": "its unit is unknown; it should be m³"}
    # as sent: the number without unit
    energy = Object(60, 5, D(5), None, unknown_unit=True)
    assert in_contract_unit(QUANTITIES["heat_energy"], energy) == Measured(D(5), None)
