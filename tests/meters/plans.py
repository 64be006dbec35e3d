"""Reading plans for tests."""

from __future__ import annotations

from dataclasses import replace

from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import ProtocolProfile, Quantity
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan, default_values


def kmp_plan(**changes: object) -> ReadingPlan:
    """Registers 60 and 68 (kmp.md 2.1), 86 on request, 369 with a name of the user."""
    profile = ProtocolProfile(
        groups={"values": (60, 68)}, more=(86, 89), overrides={97: {"name": "E 8"}}
    )
    values = (
        *default_values("kmp", profile),
        PlannedValue(369, Quantity(key="register_369", name="Mine", as_sent=True), "slow"),
    )
    plan = ReadingPlan(protocol="kmp", profile=profile, values=values, periods={"values": 60.0})
    return replace(plan, **changes)  # type: ignore[arg-type]


def han_plan() -> ReadingPlan:
    profile = registry.all_models()["kamstrup_han_3phase"].profiles["han"]
    values = default_values("han", profile)
    return ReadingPlan(
        protocol="han",
        profile=profile,
        values=values,
        periods=profile.periods,
        accept_unlisted=True,
    )
