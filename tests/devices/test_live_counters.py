"""What was told before: live counters do not fall back behind it, and nothing is invented."""

from __future__ import annotations

import copy
import dataclasses
import json
from datetime import datetime
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import Identity, Measurement, Scalar
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.devices.live_counters import parse_state
from kamstrup_mqtt.meters.limits import MeterLimits
from kamstrup_mqtt.meters.quantities import QUANTITIES
from kamstrup_mqtt.storage.state_schema import LastReading, MeterState
from tests.support.factories import at, make_facts, make_plan, reading

NOW = at(3600)
KWH = "energy_import_live"
PLAN = make_plan(
    {"live": ("power_import", KWH), "hourly": ("energy_import",)}, periods={"live": 10.0}
)


def remembered(live: str = "100.000", hourly: str = "99.95") -> MeterState:
    return MeterState(
        serial="1",
        serial_source="serial",
        units={"power_import": "W", KWH: "kWh", "energy_import": "kWh"},
        readings={
            "live": LastReading(at(0), {"power_import": Decimal(7), KWH: Decimal(live)}),
            "hourly": LastReading(at(0), {"energy_import": Decimal(hourly)}),
        },
    )


def picture(*, exact: bool, memory: MeterState | None = None, power: int = 1_000_000) -> Device:
    facts = make_facts(PLAN, limits=MeterLimits(power=power, flow=200))
    return Device(facts, memory or remembered(), 1000.0, exact=exact)


def list_of(value: str | None, seconds: float = 100) -> object:
    values = {"power_import": Measurement(Decimal(8), "W")}
    if value is not None:
        values[KWH] = Measurement(Decimal(value), "kWh")
    return reading(values, at(seconds), "live")


def live(found: Device, key: str = KWH, group: str = "live") -> Scalar:
    return json.loads(found.state_json(group), parse_float=Decimal)[key]


def retained(value: object, seconds: float = 60, **more: object) -> str:
    time = at(seconds).isoformat().replace("+00:00", "Z")
    return json.dumps({"time": time, "power_import": 9, KWH: value, **more})


def take(found: Device, value: str | None) -> Scalar:
    found.apply(list_of(value), 1000.0)  # type: ignore[arg-type]
    return live(found)


def test_after_a_clean_end_the_counter_stands_until_it_goes_on() -> None:
    found = picture(exact=True)
    assert live(found) == Decimal("100.000")
    assert take(found, None) == Decimal("100.000")  # no register yet
    assert take(found, "99.960") == Decimal("100.000")
    assert take(found, "100.001") == Decimal("100.001")
    assert take(found, None) is None  # it was there, and is not: nothing is invented
    assert take(found, "100.000") == Decimal("100.001")


def test_after_a_kill_the_counter_has_no_value_before_the_register() -> None:
    found = picture(exact=False)
    assert live(found) is None
    assert live(found, "energy_import", "hourly") == Decimal("99.95")  # what a meter told
    assert take(found, None) is None
    assert take(found, "99.960") == Decimal("100.000")  # never below what memory had
    assert take(found, "100.200") == Decimal("100.200")


def test_what_the_broker_retained_is_what_was_published_last() -> None:
    found = picture(exact=False)
    found.merge_retained("live", retained(100.150), NOW)
    assert (live(found), live(found, "power_import")) == (Decimal("100.150"), 9)
    assert live(found, "time") == "2026-11-21T03:31:00.000Z"
    assert take(found, None) == Decimal("100.150")
    assert take(found, "100.140") == Decimal("100.150")
    assert take(found, "100.151") == Decimal("100.151")


def test_a_list_that_came_before_the_broker_told_does_not_step_back_either() -> None:
    found = picture(exact=False)
    assert take(found, "100.100") == Decimal("100.100")
    found.merge_retained("live", retained(100.150), NOW)
    assert (live(found), live(found, "power_import")) == (Decimal("100.150"), 8)


def test_what_the_broker_has_from_before_is_not_taken() -> None:
    found = picture(exact=True)
    found.merge_retained("live", retained(99.000, seconds=-60), NOW)
    assert (live(found), live(found, "power_import")) == (Decimal("100.000"), 7)
    found.merge_retained("never", retained(200), NOW)
    assert list(found.states()) == ["live", "hourly"]


def test_what_comes_from_the_future_is_not_taken() -> None:
    for now, taken in ((at(59), 7), (at(60), 9), (None, 9)):
        found = picture(exact=False)
        found.merge_retained("live", retained(100.150), now)
        assert live(found, "power_import") == taken
        assert live(found) == Decimal("100.150")  # it was published all the same


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("now", [NOW, at(60), None])
def test_what_the_meter_cannot_have_counted_is_not_taken(exact: bool, now: datetime | None) -> None:
    """55.2 kW in the minute since memory was written and in the 3660 s for which it may stand:
    57.04 kWh. Without the host's clock only the latter: 56.12 kWh."""
    most = "156.12" if now is None else "157.04"
    found = picture(exact=exact, power=55_200)
    found.merge_retained("live", retained(float(most) + 0.001), now)
    assert live(found) == (Decimal("100.000") if exact else None)
    assert live(found, "power_import") == 9  # it is as good as before
    assert take(found, "100.200") == Decimal("100.200")
    found = picture(exact=exact, power=55_200)
    found.merge_retained("live", retained(float(most)), now)
    assert live(found) == Decimal(most)


def test_a_time_to_come_allows_no_more() -> None:
    found = picture(exact=False, power=55_200)
    found.merge_retained("live", retained(50_000.0, seconds=1e9), NOW)
    assert live(found) is None


def test_a_meter_behind_transformers_may_count_more() -> None:
    memory = remembered()
    memory.learned["connection"] = "transformers"
    found = picture(exact=False, memory=memory, power=55_200)
    found.merge_retained("live", retained(1100.0), NOW)
    assert live(found) == Decimal("1100.0")  # 1 MW, 1033.3 kWh


def test_what_begins_anew_by_the_users_word_may_be_less() -> None:
    found = picture(exact=True)
    told = list_of("10.005")
    found.apply(dataclasses.replace(told, reset_totals=frozenset({KWH})), 1000.0)  # type: ignore[type-var]
    assert live(found) == Decimal("10.005")
    assert take(found, "10.006") == Decimal("10.006")


def test_another_meter_begins_anew() -> None:
    found = picture(exact=True)
    found.apply(Identity(meter="heat", serial="2", source="serial"), 1000.0)
    assert take(found, "3.000") == Decimal("3.000")
    found.merge_retained("live", retained(100.150), NOW)  # of the meter before
    assert live(found) == Decimal("3.000")


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "[]",
        "5",
        '{"power_import": 1}',
        '{"time": 5}',
        '{"time": "yesterday"}',
        retained(True),
        retained({}),
        retained("much"),
        retained("NaN"),
        retained(float("inf")),
        retained("1e999999999"),  # would be written out as so many digits
        retained(0).replace(": 0}", ": 1e999999999}"),
        retained("-1e-999999999"),
        "[" * 100_000,
    ],
)
def test_what_somebody_else_left_there_is_ignored(payload: str) -> None:
    found = picture(exact=True)
    found.merge_retained("live", payload, NOW)
    assert (live(found), live(found, "power_import")) == (Decimal("100.000"), 7)


def test_a_state_is_read_as_it_was_written() -> None:
    known: dict[str, Scalar] = {"a": Decimal(1), "b": "text", "c": Decimal(1), "d": None, "e": None}
    told = parse_state(
        '{"time": "2026-11-21T03:30:00.250Z", "a": "1234567890123456789.5", "b": "5", "c": null,'
        ' "d": 0.30, "unknown": 5}',
        known,
    )
    assert told is not None
    assert {key: str(value) for key, value in told.values.items()} == {
        "a": "1234567890123456789.5",  # over 18 digits stand as a text
        "b": "5",
        "c": "None",
        "d": "0.30",
    }


def heat_in(unit: str, memory: MeterState) -> Device:
    key = "heat_energy"
    quantity = dataclasses.replace(QUANTITIES[key], as_sent=False, unit=unit)
    plan = make_plan({"values": (key,)}, quantities={key: quantity})
    return Device(make_facts(plan), memory, 1000.0, exact=False)


def test_what_was_told_in_another_unit_is_not_taken() -> None:
    """After a kill the broker's state is newer than memory; but since then the user has set
    energy_unit, and a counter that falls to a thousandth and rises again is counted twice."""
    memory = MeterState(
        units={"heat_energy": "MWh"},
        readings={"values": LastReading(at(0), {"heat_energy": Decimal("12.345")})},
    )
    told = json.dumps({"time": "2026-11-21T03:31:00.000Z", "heat_energy": 12.346})
    same = heat_in("MWh", copy.deepcopy(memory))
    same.merge_retained("values", told, NOW)
    assert live(same, "heat_energy", "values") == Decimal("12.346")
    other = heat_in("kWh", memory)
    other.merge_retained("values", told, NOW)
    assert live(other, "heat_energy", "values") == Decimal("12345")
    assert live(other, "time", "values") == "2026-11-21T03:30:00.000Z"


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "x" * 256])
def test_a_text_that_we_cannot_have_told_is_ignored(text: str) -> None:
    known: dict[str, Scalar] = {"b": "text"}
    payload = json.dumps({"time": "2026-11-21T03:30:00Z", "b": text})
    assert parse_state(payload, known) is None
