"""One meter as it is published: identity, keys, frozen units, availability."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import LinkState, Measurement
from kamstrup_mqtt.devices import availability as module
from kamstrup_mqtt.devices.device import DeviceChange
from kamstrup_mqtt.devices.unique_ids import assign_suffixes
from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.plan import PlannedValue
from kamstrup_mqtt.storage.state_schema import DeviceState, LastReading
from tests.support.factories import (
    HEAT,
    T0,
    at,
    diagnosis,
    identity,
    make_device,
    make_plan,
    reading,
)

D = Decimal


# States


def test_a_state_holds_every_key_seen_and_its_time() -> None:
    device = make_device()
    change = device.apply(
        reading(
            {"heat_energy": Measurement(D("12.340"), "MWh"), "volume": Measurement(None, "m³")}
        ),
        1.0,
    )
    assert change == DeviceChange(
        discovery=True,
        states=frozenset({"values"}),
        diagnostics=True,
        device_state=True,
        urgent=True,
    )
    assert (
        device.state_json("values") == '{"time": "2026-11-21T03:30:00.000Z", "heat_energy": 12.340}'
    )
    device.apply(reading({"volume": Measurement(D(5), "m³")}, at(60)), 61.0)
    assert device.states() == {
        "values": '{"time": "2026-11-21T03:31:00.000Z", "heat_energy": null, "volume": 5}'
    }


def test_a_known_key_changes_no_discovery() -> None:
    device = make_device()
    values = {"volume": Measurement(D(5), "m³")}
    device.apply(reading(values), 1.0)
    change = device.apply(reading(values), 2.0)
    assert not change.discovery
    assert not change.urgent
    assert change.device_state


def test_each_group_has_its_state() -> None:
    plan = make_plan(
        {"live": ("power_import",), "hourly": ("energy_import",), "never": ()},
        periods={"live": 10.0, "hourly": 3600.0},
    )
    device = make_device(plan, interval=None)
    device.apply(reading({"energy_import": Measurement(D("1.5"), "kWh")}, at(0), "hourly"), 1.0)
    device.apply(reading({"power_import": Measurement(D(7), "W")}, at(10), "live"), 11.0)
    assert list(device.states()) == ["live", "hourly"]
    assert json.loads(device.state_json("hourly")) == {
        "time": "2026-11-21T03:30:00.000Z",
        "energy_import": 1.5,
    }
    assert device.group_of("power_import") == "live"
    assert device.state_json("never") == '{"time": null}'


def test_an_unlisted_key_stays_in_the_group_it_came_in() -> None:
    plan = make_plan({"live": ("power_import",), "hourly": ("energy_import",)}, open_=True)
    device = make_device(plan, interval=None)
    device.apply(reading({"power_import": Measurement(D(7), "W")}, group="live"), 1.0)
    device.apply(reading({"obis_1_1_99_9_9_255": Measurement("x")}, group="hourly"), 1.0)
    assert device.group_of("obis_1_1_99_9_9_255") == "hourly"
    assert device.group_of("obis_not_yet_seen") == "live"
    assert json.loads(device.state_json("hourly"))["obis_1_1_99_9_9_255"] == "x"


def test_keys_that_are_no_longer_listed_are_removed() -> None:
    state = DeviceState(model="multical_403", serial="1", serial_source="serial")
    state.units = {"power": "kW", "volume": "m³"}
    state.readings = {"values": LastReading(T0, {"power": D(1), "volume": D(2)})}
    assert list(make_device(make_plan({"values": ("volume",)}), state).keys) == ["volume"]


def test_after_a_restart_states_are_the_stored_ones() -> None:
    state = DeviceState(model="multical_403", serial="1", serial_source="serial")
    state.units = {"heat_energy": "MWh"}
    state.readings = {"values": LastReading(T0, {"heat_energy": D("1.230")})}
    device = make_device(state=state)
    assert (
        device.state_json("values") == '{"time": "2026-11-21T03:30:00.000Z", "heat_energy": 1.230}'
    )


# Units and kinds


def test_the_first_unit_stays() -> None:
    device = make_device()
    device.apply(reading({"heat_energy": Measurement(D("9.99"), "MWh")}), 1.0)
    change = device.apply(reading({"heat_energy": Measurement(D("10010"), "kWh")}), 2.0)
    assert change.log == ()
    assert json.loads(device.state_json("values"), parse_float=str)["heat_energy"] == "10.010"
    assert device.keys == {"heat_energy": "MWh"}


@pytest.mark.parametrize("unit", ["GJ", "m³", None])
def test_a_unit_of_another_family_is_rejected_and_logged_once(unit: str | None) -> None:
    device = make_device()
    device.apply(reading({"heat_energy": Measurement(D(10), "MWh")}), 1.0)
    change = device.apply(reading({"heat_energy": Measurement(D(36), unit)}), 2.0)
    assert change.log == (
        (
            logging.WARNING,
            f"heat: heat_energy is held back: {unit or 'no unit'} cannot be converted to MWh",
        ),
    )
    assert json.loads(device.state_json("values"))["heat_energy"] is None
    assert device.apply(reading({"heat_energy": Measurement(D(36), unit)}), 3.0).log == ()


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("volume", "ABC", "'ABC' is not a number"),
        ("max_flow_year_date", "2026-13-01", "month must be in 1..12"),
        ("clock", "2026-11-21T03:30:00", "'2026-11-21T03:30:00' is a time without zone"),
    ],
)
def test_invalid_states_are_rejected(key: str, value: str, why: str) -> None:
    clock = Quantity(key="clock", name="Clock", device_class="timestamp", is_text=True)
    plan = make_plan({"values": (*HEAT, "clock")}, quantities={"clock": clock})
    device = make_device(plan)
    change = device.apply(reading({key: Measurement(value)}), 1.0)
    assert len(change.log) == 1
    assert f"heat: {key} is held back: " in change.log[0][1]
    assert why in change.log[0][1]
    assert device.keys == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_flow_year_date", "2026-02-28"), ("clock", "2026-11-21T03:30:00+01:00")],
)
def test_valid_states_are_published(key: str, value: str) -> None:
    clock = Quantity(key="clock", name="Clock", device_class="timestamp", is_text=True)
    plan = make_plan({"values": (*HEAT, "clock")}, quantities={"clock": clock})
    device = make_device(plan)
    assert device.apply(reading({key: Measurement(value)}), 1.0).log == ()
    assert json.loads(device.state_json("values"))[key] == value

    device = make_device()
    device.apply(reading({"meter_id": Measurement("00\n12")}), 1.0)
    assert json.loads(device.state_json("values"))["meter_id"] == r"00\x0a12"


# Identity


def test_without_identity_there_is_no_serial_but_there_are_states() -> None:
    device = make_device()
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 1.0)
    assert device.serial is None
    assert device.serial_text is None
    assert "values" in device.states()


def test_the_first_identity_stays() -> None:
    device = make_device()
    first = device.apply(identity("0012 34/5", sw_version="A\x01"), 1.0)
    assert (first.discovery, first.identity, first.replaced, first.urgent) == (
        True,
        True,
        False,
        True,
    )
    assert device.serial == "0012_34_5"
    assert device.serial_text == "0012 34/5"
    assert device.meter_state.details == {"sw_version": r"A\x01"}
    assert device.apply(identity("0012 34/5", sw_version="A\x01"), 2.0) == DeviceChange()
    assert device.apply(identity("999", "other kind"), 3.0) == DeviceChange()
    assert device.serial == "0012_34_5"


def test_new_details_are_announced() -> None:
    device = make_device()
    device.apply(identity("1"), 1.0)
    change = device.apply(identity("1", sw_version="B"), 2.0)
    assert (change.discovery, change.urgent, change.identity) == (True, True, False)
    # another kind of number may add a detail, but not change one
    device.apply(identity("9", "other", sw_version="C", model_id="7"), 3.0)
    assert device.meter_state.details == {"sw_version": "B", "model_id": "7"}


def test_another_number_of_the_same_kind_is_another_meter() -> None:
    device = make_device()
    device.apply(identity("1"), 1.0)
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 1.0)
    device.meter_state.announced, device.meter_state.announced_as = {"volume": "sensor"}, "1"
    change = device.apply(identity("2", sw_version="B"), 2.0)
    assert (change.replaced, change.discovery, change.identity, change.urgent) == (True,) * 4
    assert change.log == (
        (
            logging.WARNING,
            "heat: another meter answers: serial number 2, until now 1;"
            " it becomes another device in Home Assistant",
        ),
    )
    assert device.serial == "2"
    assert device.keys == {}
    assert device.states() == {}
    assert (device.meter_state.announced, device.meter_state.announced_as) == (
        {"volume": "sensor"},
        "1",
    )
    assert not device.is_online(T0, 3.0)


def test_a_configured_serial_wins() -> None:
    device = make_device(serial="77 A")
    assert device.serial == "77_A"
    device.apply(identity("1"), 1.0)
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 1.0)
    change = device.apply(identity("2"), 2.0)
    assert not change.replaced
    assert "the configured serial number stays" in change.log[0][1]
    assert device.serial == "77_A"
    assert device.serial_text == "77 A"
    assert list(device.keys) == ["volume"]


def test_a_serial_number_without_letters_or_digits_is_replaced_by_the_id() -> None:
    assert make_device(serial="???").serial == "heat"
    device = make_device()
    device.apply(identity("\x00"), 1.0)
    assert device.serial == "heat"


def test_a_meter_without_a_serial_number_uses_its_id() -> None:
    assert make_device(make_plan({"values": HEAT}, identity=())).serial == "heat"


def test_another_model_keeps_the_state_that_still_applies() -> None:
    state = DeviceState(model="multical_402", serial="1", serial_source="serial")
    state.units = {"volume": "m³"}
    assert make_device(state=state).serial == "1"
    assert state.model == "multical_403"
    state = DeviceState(model="kamstrup_han_3phase", serial="57", serial_source="0.0.1")
    state.announced_as = "57"
    device = make_device(state=state)
    assert device.serial is None
    assert state.announced_as == "57"


# Several meters of one number


def test_two_meters_with_one_serial_number() -> None:
    first, second, other = (make_device(id=name) for name in ("a", "b", "c"))
    for device, number in ((first, "1"), (second, "1"), (other, "2")):
        device.apply(identity(number), 1.0)
    assert assign_suffixes([first, second, other, make_device(id="unknown")]) == [
        "b and a have the same serial number 1: the ids of b end in _b; are both on one meter?"
    ]
    assert [p.serial for p in (first, second, other)] == ["1", "1_b", "2"]
    assert assign_suffixes([first, second, other]) == []


def test_the_meter_announced_first_keeps_the_bare_number() -> None:
    first, second = make_device(id="a"), make_device(id="b")
    for device in (first, second):
        device.apply(identity("1"), 1.0)
    second.meter_state.announced_as = "1"
    assert len(assign_suffixes([first, second])) == 1
    assert (first.serial, second.serial) == ("1_a", "1")


def test_a_suffix_stays_when_the_other_meter_is_gone() -> None:
    device = make_device(id="b")
    device.apply(identity("1"), 1.0)
    device.meter_state.announced_as = "1_b"
    assert assign_suffixes([device]) == []
    assert device.serial == "1_b"


# Availability


def test_online_for_three_intervals() -> None:
    device = make_device()
    assert not device.is_online(T0, 1000.0)
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 1000.0)
    assert device.is_online(None, 1179.9)
    assert not device.is_online(T0, 1180.0)


def test_a_stored_reading_counts_by_the_wall_clock() -> None:
    state = DeviceState(model="multical_403")
    state.readings = {"values": LastReading(T0, {}), "slow": LastReading(None, {})}
    device = make_device(state=state)
    assert device.is_online(at(179), 1000.0)
    assert not device.is_online(at(180), 1000.0)
    assert not device.is_online(None, 1000.0)


@pytest.mark.parametrize(
    ("groups", "periods", "patience"),
    [
        ({"live": ("power_import",)}, {"live": 2.5}, 30.0),
        ({"live": ("power_import",)}, {"live": 60.0}, 180.0),
        (
            {"live": ("power_import",), "hourly": ("energy_import",)},
            {"live": 10.0, "hourly": 3600.0},
            30.0,
        ),
        ({"live": (), "hourly": ("energy_import",)}, {"live": 10.0, "hourly": 3600.0}, 10800.0),
        ({"live": ()}, {"live": 20.0}, 60.0),
        ({"live": ("power_import",)}, {}, 30.0),
    ],
)
def test_the_timeout_of_a_pushing_meter_follows_from_its_period(
    groups: dict[str, tuple[str, ...]], periods: dict[str, float], patience: float
) -> None:
    assert make_device(make_plan(groups, periods=periods), interval=None).timeout == patience


def test_offline_at_once_when_the_port_is_gone_for_a_minute() -> None:
    device = make_device(interval=3600.0)
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 1000.0)
    device.apply(diagnosis(LinkState.PORT_MISSING, port_gone_since=1010.0), 1010.0)
    assert device.is_online(T0, 1069.9)
    assert not device.is_online(T0, 1070.0)
    device.apply(diagnosis(), 1080.0)
    assert device.is_online(T0, 1080.0)


def test_a_group_that_missed_three_periods_expires_once() -> None:
    plan = make_plan(
        {"live": ("power_import",), "hourly": ("energy_import",)},
        periods={"live": 10.0, "hourly": 3600.0},
    )
    device = make_device(plan, interval=None)
    device.apply(reading({"power_import": Measurement(D(7), "W")}, group="live"), 1000.0)
    device.apply(reading({"energy_import": Measurement(D(1), "kWh")}, group="hourly"), 1000.0)
    assert device.expire_groups(1029.9) == frozenset()
    assert device.expire_groups(1030.0) == {"live"}
    assert json.loads(device.state_json("live")) == {
        "time": "2026-11-21T03:30:00.000Z",
        "power_import": None,
    }
    assert device.expire_groups(1040.0) == frozenset()
    assert device.expire_groups(1000.0 + 3 * 3600) == {"hourly"}
    device.apply(reading({"power_import": Measurement(D(8), "W")}, group="live"), 20000.0)
    assert json.loads(device.state_json("live"))["power_import"] == 8
    assert device.meter_state.readings["hourly"].values == {"energy_import": D(1)}


def test_after_a_restart_a_group_has_three_periods_again() -> None:
    state = DeviceState(model="multical_403")
    state.readings = {"values": LastReading(T0 - timedelta(days=9), {"volume": D(1)})}
    device = make_device(make_plan({"values": HEAT}), state)  # no period: the interval
    assert device.expire_groups(1179.0) == frozenset()
    assert device.expire_groups(1180.0) == {"values"}


def test_a_group_without_a_period_has_the_timeout_of_its_meter() -> None:
    device = make_device(make_plan({"live": ("power_import",)}), interval=None)
    device.apply(reading({"power_import": Measurement(D(7), "W")}, group="live"), 1000.0)
    assert device.expire_groups(1030.0) == {"live"}


# Diagnostics


def test_diagnostics() -> None:
    device = make_device()
    assert json.loads(device.diagnostics_json()) == {
        "link_state": None,
        "last_reading": None,
        "last_error": None,
        "frames": None,
        "dropped": None,
        "timeouts": None,
        "echoes": None,
        "reconnects": None,
        "internal_errors": None,
        "held": None,
        "requests_per_day": None,
        "serial": None,
        "model": "multical_403",
        "protocol": "kmp",
        "details": {},
        "learned": {},
        "held_back": {},
        "unsupported": [],
        "problem": None,
        "notes": [],
    }
    device.apply(identity("1", sw_version="B"), 1.0)
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 1.0)
    change = device.apply(
        diagnosis(
            LinkState.CHECKSUM,
            last_error="bad\x00",
            counters={"frames": 3, "parity_errors": 1},
            learned={"bcc": "sum"},
            unsupported=("97",),
        ),
        2.0,
    )
    assert change == DeviceChange(diagnostics=True, link=True)
    values = json.loads(device.diagnostics_json())
    assert values["link_state"] == "checksum"
    assert values["last_reading"] == "2026-11-21T03:30:00.000Z"
    assert values["last_error"] == r"bad\x00"
    assert (values["frames"], values["parity_errors"], values["dropped"]) == (3, 1, None)
    assert values["serial"] == "1"
    assert values["learned"] == {"bcc": "sum"}
    assert values["unsupported"] == ["97"]


def test_the_same_diagnosis_changes_nothing() -> None:
    device = make_device()
    assert device.apply(diagnosis(), 1.0).link
    assert device.apply(diagnosis(), 2.0) == DeviceChange()
    counted = device.apply(diagnosis(counters={"frames": 1}), 3.0)
    assert (counted.diagnostics, counted.link) == (True, False)


def test_limits() -> None:
    assert module.MISSED_PERIODS == 3
    assert module.MIN_PUSH_TIMEOUT == 30.0
    assert module.PORT_TIMEOUT == 60.0


def test_unpublished_readings_get_the_corrected_time() -> None:
    device = make_device()
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 100.0)
    device.correct_clock(datetime(2026, 11, 21, 12, 1, tzinfo=UTC), 160.0)
    assert device.last_reading == datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_an_energy_continues_in_the_configured_unit() -> None:
    state = DeviceState()
    before = make_device(make_plan({"values": ("heat_energy", "volume")}), state)
    before.apply(
        reading({"heat_energy": Measurement(D("0.303"), "GJ"), "volume": Measurement(D(1), "m³")}),
        1.0,
    )
    plan = make_plan({"values": ("heat_energy", "volume")})
    energy = replace(plan.values[0].quantity, as_sent=False, unit="kWh")
    plan = replace(plan, values=(PlannedValue("heat_energy", energy, "values"), plan.values[1]))
    after = make_device(plan, state)
    assert after.keys == {"heat_energy": "kWh", "volume": "m³"}
    # 0.303 GJ = 84.17 kWh; a step of 0.001 GJ is 0.28 kWh
    assert json.loads(after.state_json("values"))["heat_energy"] == 84.2


def test_the_next_deadline() -> None:
    """Polled every 60 s: three periods after the last reading; a port may be gone for 60 s."""
    device = make_device()
    assert device.next_deadline(0.0) == math.inf
    device.apply(reading({"volume": Measurement(D(5), "m³")}), 100.0)
    assert device.next_deadline(100.0) == 280.0
    assert device.next_deadline(280.0) == math.inf
    device.apply(diagnosis(LinkState.PORT_MISSING, port_gone_since=110.0), 111.0)
    assert device.next_deadline(111.0) == 170.0


def test_a_key_that_moves_to_another_group_is_in_one_of_them() -> None:
    """What nobody listed belongs to the first group that has it."""
    device = make_device(make_plan({"live": (), "hourly": ()}, open_=True))
    device.apply(reading({"extra": Measurement(D(1))}, group="hourly"), 1.0)
    assert json.loads(device.state_json("hourly")).keys() == {"time", "extra"}
    device.apply(reading({"extra": Measurement(D(2))}, group="live"), 2.0)
    assert json.loads(device.state_json("live")).keys() == {"time", "extra"}
    assert json.loads(device.state_json("hourly")).keys() == {"time"}
