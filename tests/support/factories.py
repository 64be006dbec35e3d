"""Made-up meters for the tests of pictures and of discovery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kamstrup_mqtt.core.model import Diagnosis, Identity, LinkState, Measured, Reading
from kamstrup_mqtt.devices.device import MeterFacts, Picture
from kamstrup_mqtt.meters.model import Dialect, MeterModel, Quantity
from kamstrup_mqtt.meters.plan import Plan, PlannedValue
from kamstrup_mqtt.meters.quantities import QUANTITIES
from kamstrup_mqtt.storage.state_schema import MeterMemory

T0 = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
HEAT = ("heat_energy", "volume", "temp_diff", "flow", "meter_id", "max_flow_year_date")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def make_plan(
    groups: Mapping[str, tuple[str, ...]],
    *,
    identity: tuple[int | str, ...] = ("serial",),
    periods: Mapping[str, float] | None = None,
    open_: bool = False,
    quantities: Mapping[str, Quantity] | None = None,
) -> Plan:
    """A plan whose sources are the keys themselves."""
    known = {**QUANTITIES, **(quantities or {})}
    return Plan(
        protocol="kmp",
        dialect=Dialect(groups=groups, identity=identity),
        values=tuple(
            PlannedValue(key, known[key], group) for group, keys in groups.items() for key in keys
        ),
        periods=periods if periods is not None else {},
        open=open_,
    )


def make_facts(plan: Plan | None = None, **changes: Any) -> MeterFacts:
    facts = MeterFacts(
        id="heat",
        name="District heating",
        model_id="multical_403",
        model=MeterModel(name="MULTICAL 403", medium="heat", dialects={}),
        plan=plan or make_plan({"values": HEAT}, periods={"values": 60.0}),
        interval=60.0,
    )
    return replace(facts, **changes)


def make_picture(
    plan: Plan | None = None, memory: MeterMemory | None = None, **changes: Any
) -> Picture:
    return Picture(make_facts(plan, **changes), memory or MeterMemory(), 1000.0)


def reading(
    values: Mapping[str, Measured], time: datetime | None = T0, group: str = "values"
) -> Reading:
    return Reading(meter="heat", group=group, time=time, values=values)


def identity(serial: str, source: int | str = "serial", **details: str) -> Identity:
    return Identity(meter="heat", serial=serial, source=source, details=details)


def diagnosis(state: LinkState = LinkState.OK, **changes: Any) -> Diagnosis:
    plain = Diagnosis(meter="heat", link_state=state, last_error=None, counters={})
    return replace(plain, **changes)
