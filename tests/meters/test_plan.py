"""The reading plan of a configured meter."""

from __future__ import annotations

from kamstrup_mqtt.meters.model import ProtocolProfile
from kamstrup_mqtt.meters.plan import PlannedValue, PlanPool, ReadingPlan
from kamstrup_mqtt.meters.quantities import QUANTITIES
from tests.meters.plans import han_plan, kmp_plan


def test_sources_and_groups() -> None:
    plan = kmp_plan()
    assert plan.sources == (60, 68, 369)
    assert plan.groups == ("values", "slow")
    assert plan.group_of("heat_energy") == "values"
    assert plan.group_of("register_369") == "slow"
    assert plan.group_of("temp1") is None


def test_quantity_as_configured_else_of_the_model_else_of_any_meter() -> None:
    plan = kmp_plan()
    assert plan.quantity("register_369").name == "Mine"
    assert plan.quantity("temp1") == QUANTITIES["temp1"]
    assert plan.quantity("volume_temp1").name == "E 8"
    assert plan.quantity("temp2") == QUANTITIES["temp2"]
    assert plan.quantity("register_999").name == "Register 999"


def test_totals_never_fall() -> None:
    plan = kmp_plan()
    assert plan.is_total("heat_energy")
    assert plan.is_total("energy_import")  # of any meter
    assert not plan.is_total("temp1")
    assert not plan.is_total("register_999")


def test_sources_of_some_groups() -> None:
    assert kmp_plan().sources_of(["slow"]) == (369,)
    assert kmp_plan().sources_of(["values", "slow"]) == (60, 68, 369)


def test_first_of_several_values_with_one_key_counts() -> None:
    quantity = QUANTITIES["meter_id"]
    values = tuple(PlannedValue(source, quantity, "values") for source in (1, 2))
    profile = ProtocolProfile(groups={"values": (1, 2)})
    plan = ReadingPlan(protocol="kmp", profile=profile, values=values, periods={})
    assert plan.by_key["meter_id"].source == 1
    assert plan.by_source[2].source == 2


def test_live_counters() -> None:
    assert han_plan().live_keys == {
        *("energy_import_live", "energy_export_live"),
        *("reactive_energy_import_live", "reactive_energy_export_live"),
    }
    assert kmp_plan().live_keys == frozenset()


def test_equal_plans_are_shared() -> None:
    plan, pool = kmp_plan(), PlanPool()
    assert pool.share(plan) is plan
    assert pool.share(kmp_plan()) is plan
    assert pool.share(kmp_plan(periods={"values": 4712.0})) is not plan
