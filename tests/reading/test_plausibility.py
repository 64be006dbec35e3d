"""Plausibility of totals. The rule: issue D, Guard; the numbers are worked out beside each case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kamstrup_mqtt.core.model import Measurement
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.limits import MeterLimits
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan, default_values
from kamstrup_mqtt.reading.messages import describe_rejection
from kamstrup_mqtt.reading.plausibility import PlausibilityFilter, RejectionReason
from kamstrup_mqtt.storage.state_schema import LastTotal, ReaderState

D = Decimal
T0 = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HEAT = MeterLimits(power=1_000_000, flow=200)


def plan(model: str = "multical_403", protocol: str = "kmp") -> ReadingPlan:
    profile = registry.all_models()[model].profiles[protocol]
    return ReadingPlan(
        protocol=protocol,
        profile=profile,
        values=default_values(protocol, profile),
        periods={},
        accept_unlisted=True,
    )


class Bench:
    """A guard, and a clock that the test moves: `at` seconds after the start."""

    def __init__(self, state: ReaderState | None = None, *, weak: bool = False, **more: Any):
        self.state = state or ReaderState()
        self.filter = PlausibilityFilter(
            more.get("plan") or plan(),
            self.state,
            more.get("bounds", HEAT),
            has_weak_checksum=weak,
        )

    def judge(self, at: float, key: str = "heat_energy", unit: str = "kWh", **value: Any) -> bool:
        """Whether the value goes on."""
        measured = Measurement(D(value["value"]), unit)
        judged = self.filter.judge({key: measured}, T0 + timedelta(seconds=at), at)
        passed = judged.values[key].value is not None
        assert passed == (key not in judged.rejected)
        return passed

    def why(self, key: str) -> str:
        return describe_rejection(self.filter.rejected[key])

    def energy(self, at: float, value: str) -> bool:
        return self.judge(at, value=value)


def test_the_first_value_is_accepted_after_a_crc() -> None:
    bench = Bench()
    assert bench.energy(0, "0")
    assert bench.state.totals["heat_energy"] == LastTotal(D(0), T0, "kWh")


def test_the_first_value_after_a_weak_checksum_needs_a_second() -> None:
    bench = Bench(weak=True)
    assert not bench.energy(0, "9032")
    assert "waiting for a second" in bench.why("heat_energy")
    assert bench.energy(2, "9032")
    assert bench.filter.rejected == {}


def test_two_first_values_that_do_not_agree_are_none() -> None:
    bench = Bench(weak=True)
    assert not bench.energy(0, "9032")
    assert not bench.energy(2, "1032")
    assert not bench.energy(4, "9032")
    assert bench.energy(6, "9032")


@pytest.mark.parametrize(
    ("seconds", "value", "good"),
    [
        # 1 MW in 36 s is 10 kWh; two counts of the coarser value are 2 kWh
        (36, "1000", True),
        (36, "1012", True),
        (36, "1013", False),
        (36, "999", False),
        (36, "0", False),
        (3600, "2002", True),
        (3600, "2003", False),
        (0, "1002", True),
        (0, "1003", False),
    ],
)
def test_the_band_of_a_total(seconds: float, value: str, good: bool) -> None:
    bench = Bench()
    assert bench.energy(0, "1000")
    assert bench.energy(seconds, value) is good


def test_without_a_bound_a_total_only_must_not_fall() -> None:
    bench = Bench()
    assert bench.judge(0, "pulse_input_a", "", value="5")
    assert bench.judge(1, "pulse_input_a", "", value="500000")
    assert not bench.judge(2, "pulse_input_a", "", value="5")


@pytest.mark.parametrize(("weak", "readings"), [(False, 2), (True, 3)])
def test_agreeing_readings_replace_the_total(weak: bool, readings: int) -> None:
    state = ReaderState(totals={"heat_energy": LastTotal(D(9000), T0, "kWh")})
    bench = Bench(state, weak=weak)
    for n in range(1, readings):
        assert not bench.energy(60 * n, "12")
    assert bench.energy(60 * readings, "12")
    assert state.totals["heat_energy"].value == D(12)


def test_a_plausible_reading_between_resets_the_count() -> None:
    bench = Bench()
    assert bench.energy(0, "9000")
    assert not bench.energy(60, "12")
    assert bench.energy(120, "9000")
    assert not bench.energy(180, "12")


def test_the_other_values_pass() -> None:
    bench = Bench()
    assert bench.energy(0, "9000")
    values = {
        "heat_energy": Measurement(D(0), "kWh"),
        "volume": Measurement(D(5), "m³"),
        "power": Measurement(D(0), "kW"),
        "meter_id": Measurement("x"),
        "flow": Measurement(None, "L/h"),
    }
    judged = bench.filter.judge(values, T0, 1.0)
    assert judged.values == {**values, "heat_energy": Measurement(None, "kWh")}
    reasons = {key: describe_rejection(why) for key, why in judged.rejected.items()}
    assert judged.rejected["heat_energy"].reason is RejectionReason.DECREASED
    assert reasons == {
        "heat_energy": "0 kWh is less than the last accepted 9000 kWh of 2026-11-21T03:00:00.000Z"
    }


def test_the_reason_of_a_rise_that_is_too_fast() -> None:
    bench = Bench()
    assert bench.energy(0, "9000")
    assert not bench.energy(60, "9999")
    assert bench.why("heat_energy") == (
        "9999 kWh is more than the meter can have counted in 60 s since the last accepted 9000 kWh"
        " of 2026-11-21T03:00:00.000Z"
    )


def test_a_stored_total_counts_with_its_time() -> None:
    state = ReaderState(totals={"heat_energy": LastTotal(D(9000), T0 - timedelta(hours=1), "kWh")})
    assert Bench(state).energy(0, "10002")
    state = ReaderState(totals={"heat_energy": LastTotal(D(9000), T0 - timedelta(hours=1), "kWh")})
    assert not Bench(state).energy(0, "10003")


def test_without_a_clock_across_runs_nothing_is_allowed_for_time() -> None:
    state = ReaderState(totals={"heat_energy": LastTotal(D(9000), None, "kWh")})
    assert not Bench(state).energy(0, "9010")
    state = ReaderState(totals={"heat_energy": LastTotal(D(9000), None, "kWh")})
    assert Bench(state).energy(0, "9002")


def test_a_clock_that_jumps_back_takes_no_time_away() -> None:
    bench = Bench()
    assert bench.energy(0, "1000")
    judged = bench.filter.judge(
        {"heat_energy": Measurement(D(1900), "kWh")}, T0 - timedelta(days=400), 3600.0
    )
    assert not judged.rejected


@pytest.mark.parametrize(
    ("before", "after", "good"),
    [
        ("9999999", "3", True),  # 4 kWh in a minute; 1 MW makes 16
        ("9999.999", "0.001", True),  # seven digits
        ("9999999", "90000", False),  # in the lowest 1 %, but that is 90 MWh in a minute
        ("9899999", "3", False),  # not in the top 1 %
        ("99999", "1", False),  # five digits: too few for a register
        ("99", "0", False),
    ],
)
def test_a_register_that_runs_over_continues(before: str, after: str, good: bool) -> None:
    bench = Bench()
    assert bench.energy(0, before)
    assert bench.energy(60, after) is good


def test_fewer_digits_than_before_are_no_fall() -> None:
    bench = Bench()
    assert bench.energy(0, "123.456")
    assert bench.energy(60, "123.4")
    assert not bench.energy(120, "123.3")


def test_39_digits_are_judged_exactly() -> None:
    long = "1" * 38
    bench = Bench()
    assert bench.judge(0, "pulse_input_a", "", value=f"{long}2")
    assert not bench.judge(1, "pulse_input_a", "", value=f"{long}1")
    assert bench.energy(0, f"{long}1")
    assert not bench.energy(0, f"{long}4")
    assert bench.energy(0, f"{long}3")


def test_totals_are_compared_in_the_stored_unit() -> None:
    state = ReaderState(totals={"heat_energy": LastTotal(D("9.000"), T0, "MWh")})
    bench = Bench(state)
    assert bench.energy(60, "9001")  # kWh
    assert state.totals["heat_energy"].value == D("9.001")
    assert bench.judge(60, unit="GJ", value="1")  # of no family: the device rejects it


def test_a_total_is_forgotten_when_the_configuration_has_another_unit() -> None:
    state = ReaderState(totals={"heat_energy": LastTotal(D(9000), T0, "GJ")})
    heat = plan()
    energy = replace(heat.values[0].quantity, as_sent=False, unit="kWh")
    values = (PlannedValue(60, energy, "values"), *heat.values[1:])
    bench = Bench(state, plan=replace(heat, values=values))
    assert state.totals == {}
    assert bench.energy(0, "12")


def test_accept_takes_effect_at_once() -> None:
    bench = Bench()
    assert bench.energy(0, "9000")
    assert not bench.energy(60, "12")
    assert bench.filter.accept_held() == ("heat_energy",)
    assert bench.filter.rejected == {}
    assert bench.state.totals["heat_energy"].value == D(12)
    assert bench.energy(120, "12")
    assert bench.filter.accept_held() == ()


def test_forgotten_totals_judge_nothing() -> None:
    bench = Bench()
    assert bench.energy(0, "9000")
    assert not bench.energy(60, "12")
    bench.filter.forget()
    assert bench.energy(62, "13")


@example([999_999_998, 0])
@example([999_999_996, 999_999_998, 0])
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_no_single_wild_value_ever_passes(values: list[int]) -> None:
    """Whatever comes, what passes is in the band, or was told twice in agreement."""
    bench = Bench()
    accepted = 5000
    assert bench.energy(0, "5000")
    last = accepted
    for n, value in enumerate(values, 1):
        if bench.energy(n, str(value)):
            plausible = accepted <= value <= accepted + 3 + n  # 1 MW: 0.28 kWh a second
            agreed = last <= value <= last + 3
            # of what was believed before: 999999998 and then 0 has run over
            over = accepted >= 99 * 10**7 and accepted <= value + 10**9 <= accepted + 3 + n
            assert plausible or agreed or over
            accepted = value
        last = value


def test_a_live_counter_may_catch_up_with_its_register() -> None:
    """After a gap the hourly register is up to an hour of counting ahead; 55.2 kW × 3660 s are
    56.12 kWh."""
    han = plan("kamstrup_han_3phase", "han")
    bench = Bench(plan=han, bounds=MeterLimits(power=55_200, flow=200))
    assert bench.judge(0, "energy_import_live", value="100.000")
    assert bench.judge(0.01, "energy_import_live", value="156.000")
    assert not bench.judge(0.02, "energy_import_live", value="300.000")
    assert not bench.judge(0.03, "energy_import_live", value="155.000")
    # a register itself may not
    assert bench.judge(0, "energy_import", value="100.00")
    assert not bench.judge(0.01, "energy_import", value="156.00")
