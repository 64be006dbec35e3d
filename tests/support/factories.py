"""Meters, plans and reports for the tests of devices and discovery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kamstrup_mqtt.core.model import Diagnosis, Identity, LinkState, Measurement, Reading
from kamstrup_mqtt.devices.device import Device, DeviceConfig
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile, Quantity
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan
from kamstrup_mqtt.meters.quantities import QUANTITIES
from kamstrup_mqtt.storage.state_schema import DeviceState

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
) -> ReadingPlan:
    """Make a plan in which each key is its own source."""
    known = {**QUANTITIES, **(quantities or {})}
    return ReadingPlan(
        protocol="kmp",
        profile=ProtocolProfile(groups=groups, identity=identity),
        values=tuple(
            PlannedValue(key, known[key], group) for group, keys in groups.items() for key in keys
        ),
        periods=periods if periods is not None else {},
        accept_unlisted=open_,
    )


def make_device_config(plan: ReadingPlan | None = None, **changes: Any) -> DeviceConfig:
    facts = DeviceConfig(
        id="heat",
        name="District heating",
        model_id="multical_403",
        model=MeterModel(name="MULTICAL 403", medium="heat", profiles={}),
        plan=plan or make_plan({"values": HEAT}, periods={"values": 60.0}),
        interval=60.0,
    )
    return replace(facts, **changes)


def make_device(
    plan: ReadingPlan | None = None, state: DeviceState | None = None, **changes: Any
) -> Device:
    return Device(make_device_config(plan, **changes), state or DeviceState(), 1000.0)


def reading(
    values: Mapping[str, Measurement], time: datetime | None = T0, group: str = "values"
) -> Reading:
    return Reading(meter="heat", group=group, time=time, values=values)


def identity(serial: str, source: int | str = "serial", **details: str) -> Identity:
    return Identity(meter="heat", serial=serial, source=source, details=details)


def diagnosis(state: LinkState = LinkState.OK, **changes: Any) -> Diagnosis:
    plain = Diagnosis(meter="heat", link_state=state, last_error=None, counters={})
    return replace(plain, **changes)
