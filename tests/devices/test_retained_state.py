"""States that the broker retained: newer ones are adopted, live counters go to their reader."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import Identity, Measurement, RetainedState, Scalar
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.devices.retained_state import parse_state
from kamstrup_mqtt.meters.quantities import QUANTITIES
from kamstrup_mqtt.storage.state_schema import DeviceState, LastReading
from tests.support.factories import at, make_device_config, make_plan, reading

NOW = at(3600)
KWH = "energy_import_live"
PLAN = make_plan(
    {"live": ("power_import", KWH), "hourly": ("energy_import",)}, periods={"live": 10.0}
)


class LiveReader:
    """The reader of the meter: it accepts what it is given, or nothing."""

    def __init__(self, accepted: str | None = None) -> None:
        self.accepted = accepted
        self.given: list[RetainedState] = []

    def merge(self, retained: RetainedState) -> Mapping[str, Decimal]:
        self.given.append(retained)
        return {} if self.accepted is None else {KWH: Decimal(self.accepted)}


def stored() -> DeviceState:
    return DeviceState(
        serial="1",
        serial_source="serial",
        units={"power_import": "W", KWH: "kWh", "energy_import": "kWh"},
        readings={
            "live": LastReading(at(0), {"power_import": Decimal(7), KWH: Decimal("100.000")}),
            "hourly": LastReading(at(0), {"energy_import": Decimal("99.95")}),
        },
    )


def device(reader: LiveReader | None = None, *, exact: bool = True) -> Device:
    merge = None if reader is None else reader.merge
    return Device(make_device_config(PLAN), stored(), 1000.0, exact=exact, merge_live=merge)


def value(found: Device, key: str = KWH, group: str = "live") -> Scalar:
    return json.loads(found.state_json(group), parse_float=Decimal)[key]


def retained(live: object, seconds: float = 60) -> str:
    time = at(seconds).isoformat().replace("+00:00", "Z")
    return json.dumps({"time": time, "power_import": 9, KWH: live})


def test_after_a_clean_shutdown_the_stored_state_is_published() -> None:
    assert value(device()) == Decimal("100.000")


def test_after_a_kill_a_live_counter_has_no_value() -> None:
    found = device(exact=False)
    assert value(found) is None
    assert value(found, "energy_import", "hourly") == Decimal("99.95")  # the meter sent this


def test_a_newer_retained_state_is_taken_over() -> None:
    reader = LiveReader("100.150")
    found = device(reader, exact=False)
    found.merge_retained("live", retained(100.150), NOW)
    assert (value(found), value(found, "power_import")) == (Decimal("100.150"), 9)
    assert value(found, "time") == "2026-11-21T03:31:00.000Z"
    values = {KWH: Measurement(Decimal("100.150"), "kWh")}
    assert reader.given == [RetainedState(meter="heat", time=at(60), values=values)]


def test_live_counters_that_the_reader_rejects_are_not_published() -> None:
    for exact, kept in ((True, Decimal("100.000")), (False, None)):
        found = device(LiveReader(), exact=exact)
        found.merge_retained("live", retained(50_000.0), NOW)
        assert (value(found), value(found, "power_import")) == (kept, 9)


def test_a_reading_of_this_run_is_newer_than_what_was_retained() -> None:
    found = device(LiveReader("100.150"))
    values = {"power_import": Measurement(Decimal(8), "W"), KWH: Measurement(Decimal(100), "kWh")}
    found.apply(reading(values, at(100), "live"), 1000.0)
    found.merge_retained("live", retained(100.150), NOW)
    assert (value(found), value(found, "power_import")) == (Decimal("100.150"), 8)


def test_an_older_retained_state_is_ignored() -> None:
    found = device(LiveReader("100.000"))
    found.merge_retained("live", retained(99.000, seconds=-60), NOW)
    assert (value(found), value(found, "power_import")) == (Decimal("100.000"), 7)
    found.merge_retained("never", retained(200), NOW)
    assert list(found.states()) == ["live", "hourly"]


@pytest.mark.parametrize(
    ("now", "taken", "time"),
    [(at(59), 7, at(59)), (at(60), 9, at(60)), (None, 9, None)],
)
def test_a_state_from_the_future_is_ignored(
    now: datetime | None, taken: int, time: datetime | None
) -> None:
    reader = LiveReader("100.150")
    found = device(reader, exact=False)
    found.merge_retained("live", retained(100.150), now)
    assert value(found, "power_import") == taken
    assert value(found) == Decimal("100.150")  # the reader decides: it was published all the same
    assert reader.given[0].time == time


def test_a_state_of_another_meter_is_ignored() -> None:
    reader = LiveReader("100.150")
    found = device(reader)
    found.apply(Identity(meter="heat", serial="2", source="serial"), 1000.0)
    found.apply(reading_of("3.000"), 1000.0)
    found.merge_retained("live", retained(100.150), NOW)
    assert (value(found), reader.given) == (Decimal("3.000"), [])


def reading_of(live: str) -> object:
    return reading({KWH: Measurement(Decimal(live), "kWh")}, at(100), "live")


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
        retained("1e999999999"),  # would be written out in full
        retained(0).replace(": 0}", ": 1e999999999}"),
        retained("-1e-999999999"),
        "[" * 100_000,
    ],
)
def test_retained_payloads_of_others_are_ignored(payload: str) -> None:
    reader = LiveReader("100.150")
    found = device(reader)
    found.merge_retained("live", payload, NOW)
    assert (value(found), value(found, "power_import")) == (Decimal("100.000"), 7)
    assert reader.given == []


def test_a_state_is_read_as_it_was_written() -> None:
    known: dict[str, Scalar] = {"a": Decimal(1), "b": "text", "c": Decimal(1), "d": None, "e": None}
    found = parse_state(
        '{"time": "2026-11-21T03:30:00.250Z", "a": "1234567890123456789.5", "b": "5", "c": null,'
        ' "d": 0.30, "unknown": 5}',
        known,
    )
    assert found is not None
    assert {key: str(value) for key, value in found.values.items()} == {
        "a": "1234567890123456789.5",  # over 18 digits are a text
        "b": "5",
        "c": "None",
        "d": "0.30",
    }


def heat_in(unit: str, state: DeviceState) -> Device:
    key = "heat_energy"
    quantity = dataclasses.replace(QUANTITIES[key], as_sent=False, unit=unit)
    plan = make_plan({"values": (key,)}, quantities={key: quantity})
    return Device(make_device_config(plan), state, 1000.0, exact=False)


def test_a_state_in_another_unit_is_ignored() -> None:
    """After a kill the broker's state is newer than the state file; but since then the user has
    set energy_unit, and a counter that falls to a thousandth and rises again is counted twice."""
    state = DeviceState(
        units={"heat_energy": "MWh"},
        readings={"values": LastReading(at(0), {"heat_energy": Decimal("12.345")})},
    )
    payload = json.dumps({"time": "2026-11-21T03:31:00.000Z", "heat_energy": 12.346})
    same = heat_in("MWh", copy.deepcopy(state))
    same.merge_retained("values", payload, NOW)
    assert value(same, "heat_energy", "values") == Decimal("12.346")
    other = heat_in("kWh", state)
    other.merge_retained("values", payload, NOW)
    assert value(other, "heat_energy", "values") == Decimal("12345")
    assert value(other, "time", "values") == "2026-11-21T03:30:00.000Z"


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "x" * 256])
def test_a_text_that_was_never_published_is_ignored(text: str) -> None:
    known: dict[str, Scalar] = {"b": "text"}
    payload = json.dumps({"time": "2026-11-21T03:30:00Z", "b": text})
    assert parse_state(payload, known) is None
