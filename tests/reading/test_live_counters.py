"""Live counters: counted on accepted values, and never below what was published before."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.model import DecodedValue, Measurement
from kamstrup_mqtt.protocols.base import Message, PushedReading, Timestamp
from kamstrup_mqtt.protocols.han import obis
from kamstrup_mqtt.protocols.han.meter_session import HanSession
from kamstrup_mqtt.reading.live_counters import COUNTER_INPUTS, LiveCounters, MonotonicCounter
from kamstrup_mqtt.storage.state_schema import LastTotal
from tests.support.han_session import HOUR, ZONE, Meter, meter, process

IMPORT, EXPORT, REACTIVE = (
    "energy_import_live",
    "energy_export_live",
    "reactive_energy_import_live",
)
JUST_NOW = HOUR - timedelta(seconds=80)  # 20 s before the first list at HOUR - 60 s


def counters(*, exact: bool = True, **totals: tuple[str, datetime | None]) -> LiveCounters:
    stored = {key: LastTotal(Decimal(kwh), time, "kWh") for key, (kwh, time) in totals.items()}
    return LiveCounters(COUNTER_INPUTS, stored, exact=exact)


def values_of(reading: PushedReading) -> dict[str, Measurement]:
    found = {obis.key_of(obj.id): Measurement(obj.value, obj.unit) for obj in reading.objects}
    return {key: measured for key, measured in found.items() if key is not None}


@dataclass
class Counted:
    """A simulated meter whose lists are counted."""

    meter: Meter
    live: LiveCounters = field(default_factory=counters)
    shown: dict[str, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.meter.on_list = self.count

    def count(self, reading: PushedReading, received_at: Timestamp) -> None:
        found = self.live.update(
            values_of(reading),
            received_at,
            register_age=reading.register_age,
            scale_trusted=reading.scale_trusted,
        )
        self.shown = {}
        for key, measured in found.items():
            assert isinstance(measured.value, Decimal)
            self.shown[key] = measured.value

    def push(self, *, registers: bool = False) -> dict[str, Decimal]:
        self.meter.push(registers=registers)
        return self.shown

    def run(self, seconds: int) -> dict[str, Decimal]:
        self.meter.run(seconds)
        return self.shown


def counted(scale: int | None = 10, live: LiveCounters | None = None, **changes: Any) -> Counted:
    return Counted(meter(scale, **changes), live or counters())


def test_a_counter_runs_from_register_to_register() -> None:
    there = counted()
    assert IMPORT not in there.run(50)
    shown = there.run(60)[IMPORT]  # over the hour: 44228.06 at the hour, and 1 Wh a second since
    assert there.meter.count == 4_422_812
    assert Decimal("44228.120") <= shown < Decimal("44228.130")
    assert shown.as_tuple().exponent == -3
    before = shown
    for _ in range(360):
        shown = there.run(10)[IMPORT]
        assert Decimal("0.009") <= shown - before <= Decimal("0.021")
        before = shown
    assert [note for note in there.live.notes() if note.startswith(f"{IMPORT}: ")]


def test_a_counter_never_decreases() -> None:
    counter = MonotonicCounter()
    power = counter.integral
    power.add(3_600_000, 0)
    assert counter.value is None
    counter.correct(1000, 10, 0)
    assert counter.value == Decimal("1.000")
    power.add(3_600_000, 10_000)
    assert counter.value == Decimal("1.010")
    power.add(3_600_000, 20_000)
    # the register says 1.000 to 1.010: the counter is 10 Wh ahead, and waits
    counter.correct(1000, 10, 20_000)
    assert counter.error == Decimal("0.010")
    shown = counter.value
    assert shown == Decimal("1.010")
    power.add(0, 30_000)
    counter.correct(900, 10, 30_000)
    assert counter.value is not None
    assert counter.value >= shown
    # it follows at once where the register is ahead
    counter.correct(2000, 10, 30_000)
    assert counter.value == Decimal("2.000")
    assert counter.error is not None
    assert counter.error < 0
    counter.pause()
    assert counter.value is None


def test_after_a_clean_shutdown_it_shows_its_last_value_until_it_exceeds_it() -> None:
    there = counted(live=counters(energy_import_live=("44228.500", HOUR - 2 * ZONE)))
    assert there.push()[IMPORT] == Decimal("44228.500")  # no register yet
    assert there.push(registers=True)[IMPORT] == Decimal("44228.500")  # the register is below
    there.meter.count += 100
    assert there.push(registers=True)[IMPORT] == Decimal("44229.000")


def test_after_a_kill_it_has_no_value_before_the_register() -> None:
    live = counters(exact=False, energy_import_live=("44228.500", JUST_NOW))
    there = counted(live=live)
    assert IMPORT not in there.push()
    assert there.push(registers=True)[IMPORT] == Decimal("44228.500")  # never below the stored one


def test_after_a_short_restart_it_continues_at_once() -> None:
    there = counted(
        live=counters(energy_import_live=("44228.500", JUST_NOW), energy_export_live=("1", None))
    )
    assert there.push()[IMPORT] == Decimal("44228.500")
    there.meter.pass_(10)
    assert there.push()[IMPORT] == Decimal("44228.510")
    clockless = counted(live=counters(energy_import_live=("1", JUST_NOW)), clock=False)
    clockless.push()
    clockless.meter.pass_(10)
    assert clockless.push()[IMPORT] == Decimal("1.000")  # held, because its age is unknown


def test_only_counters_whose_power_comes_continue_at_once() -> None:
    there = counted(live=counters(energy_import_live=("44228.500", JUST_NOW)), export=0)
    shown = there.push()
    assert shown[IMPORT] == Decimal("44228.500")
    assert EXPORT not in shown


def test_without_a_trusted_scale_no_counter_runs() -> None:
    for scale, learned in ((None, {}), (1, {"energy_scale_published": "10"})):
        live = counters(exact=False, energy_import_live=("44228.500", JUST_NOW))
        there = Counted(meter(scale, learned), live)
        assert IMPORT not in there.push(registers=True)
        there.meter.pass_(10)
        assert IMPORT not in there.push()


def test_a_contradicted_scale_pauses_a_running_counter() -> None:
    there = counted(None)
    there.meter.type = "6841121BN243101040"  # a type whose scale is proven
    assert IMPORT in there.run(3700)
    there.meter.count *= 10
    there.meter.scale = 1
    there.run(3600)
    assert there.meter.processed.update.problem
    assert IMPORT not in there.shown


def test_the_user_may_start_it_again_at_a_lower_value() -> None:
    there = counted(live=counters(energy_import_live=("500000", JUST_NOW)))
    assert there.push()[IMPORT] == Decimal(500_000)
    there.live.restart()
    assert IMPORT not in there.push()
    assert there.push(registers=True)[IMPORT] == Decimal("44228.000")


def test_another_meter_starts_from_its_own_register() -> None:
    there = counted(live=counters(energy_import_live=("500000", JUST_NOW)))
    there.push()
    there.live.replace_meter()
    assert IMPORT not in there.push()
    assert there.push(registers=True)[IMPORT] == Decimal("44228.000")
    # what the broker retained is of the meter before
    merged = there.live.merge_retained({IMPORT: kwh("44228.500")}, None, {}, unlimited)
    assert merged == {}


def test_gaps_are_noted() -> None:
    there = counted()
    there.push()
    there.meter.pass_(31)
    there.push()
    assert list(there.live.notes()) == ["gaps: 1 that were not counted live, the last of 31 s"]


# Lists of other makers


def update(
    live: LiveCounters, session: HanSession, *objects: DecodedValue, second: int = 0
) -> dict[str, Measurement]:
    message = Message({"maker": "aidon", "elements": 13}, objects)
    received_at = Timestamp(HOUR, 1000.0 + second)
    reading = process(session, message, received_at).reading
    return live.update(values_of(reading), received_at, register_age=reading.register_age)


POWER = DecodedValue("1-0:1.7.0.255", 3600, Decimal("3600"), "W")


def test_a_power_that_no_meter_measures_is_a_gap() -> None:
    live, session = counters(), HanSession(None, {})
    for second, watts in ((0, "1E+3"), (20, "1E+11"), (40, "-1E+90"), (60, "1E+3")):
        update(live, session, POWER._replace(value=Decimal(watts)), second=second)
    assert list(live.notes()) == ["gaps: 1 that were not counted live, the last of 60 s"]


def test_a_register_with_its_own_scaler_is_counted() -> None:
    # Aidon in Norway counts 10 Wh (scaler 1), in Sweden 1 Wh
    live, session = counters(), HanSession(None, {})
    register = DecodedValue("1-0:1.8.0.255", 100, Decimal((0, (1, 0, 0), 1)), "Wh")
    assert update(live, session, POWER, register) == {IMPORT: kwh("1.000")}
    assert update(live, session, POWER, second=10) == {IMPORT: kwh("1.010")}
    reactive = DecodedValue("1-0:3.7.0.255", 0, Decimal(0), "var")
    total = DecodedValue("1-0:3.8.0.255", 5, Decimal(5), "kvarh")
    found = update(live, session, reactive, total, second=20)
    assert found == {REACTIVE: Measurement(Decimal("5.000"), "kvarh")}


def test_registers_that_cannot_be_counted() -> None:
    register = DecodedValue("1-0:1.8.0.255", 5, Decimal(5), "kWh")
    for value, unit in ((None, None), (Decimal(5), "GJ"), (Decimal(-5), "kWh")):
        damaged = register._replace(value=value, unit=unit)
        assert update(counters(), HanSession(None, {}), POWER, damaged) == {}
    assert update(counters(), HanSession(None, {}), register) == {}  # without its power
    strange = POWER._replace(unit="hp")
    assert update(counters(), HanSession(None, {}), strange, register) == {}


# What the broker retained


def kwh(value: str) -> Measurement:
    return Measurement(Decimal(value), "kWh")


def unlimited(key: str, seconds: float) -> Decimal | None:
    return None


def merge(
    live: LiveCounters, value: str, *, until: datetime | None = None, since: datetime | None = HOUR
) -> dict[str, Decimal]:
    """Merge a retained value; the meter can count 1 kWh a second."""
    totals = {IMPORT: LastTotal(Decimal(100), since, "kWh")}
    return live.merge_retained(
        {IMPORT: kwh(value), "power_import": Measurement(Decimal(7), "W")},
        until,
        totals,
        lambda key, seconds: Decimal(seconds) + 1,
    )


@pytest.mark.parametrize("exact", [True, False])
def test_the_retained_value_is_what_was_published_last(exact: bool) -> None:
    live = counters(exact=exact, energy_import_live=("100", HOUR))
    assert merge(live, "100.150") == {IMPORT: Decimal("100.150")}
    session = HanSession(None, {})
    register = DecodedValue("1-0:1.8.0.255", 100_140, Decimal("100.140"), "kWh")
    assert update(live, session, POWER) == {IMPORT: kwh("100.150")}  # it holds it
    assert update(live, session, POWER, register, second=1) == {IMPORT: kwh("100.150")}
    register = register._replace(value=Decimal("100.200"))
    assert update(live, session, POWER, register, second=2) == {IMPORT: kwh("100.200")}


def test_a_list_that_came_before_the_retained_value_does_not_decrease_either() -> None:
    live, session = counters(exact=False, energy_import_live=("100", HOUR)), HanSession(None, {})
    register = DecodedValue("1-0:1.8.0.255", 100_100, Decimal("100.100"), "kWh")
    assert update(live, session, POWER, register) == {IMPORT: kwh("100.100")}
    assert merge(live, "100.150") == {IMPORT: Decimal("100.150")}
    assert update(live, session, POWER, second=1) == {IMPORT: kwh("100.150")}


def test_an_older_retained_value_changes_nothing() -> None:
    live = counters(energy_import_live=("100", HOUR))
    assert merge(live, "99") == {IMPORT: Decimal("100.000")}


def test_what_the_meter_cannot_have_counted_is_ignored() -> None:
    minute = HOUR + timedelta(seconds=60)
    live = counters(exact=False, energy_import_live=("100", HOUR))
    assert merge(live, "161.001", until=minute) == {}
    assert merge(live, "101.001", until=None) == {}  # without the time nothing is allowed for it
    assert merge(live, "101.001", until=minute, since=None) == {}
    assert merge(live, "161", until=minute) == {IMPORT: Decimal(161)}


def test_a_retained_value_without_a_stored_one_is_taken() -> None:
    assert merge(counters(), "500000") == {IMPORT: Decimal(500_000)}


def test_a_retained_value_in_another_unit_is_converted() -> None:
    live = counters(energy_import_live=("100", HOUR))
    retained = {IMPORT: Measurement(Decimal("0.100150"), "MWh")}
    assert live.merge_retained(retained, None, {}, unlimited) == {IMPORT: Decimal("0.100150")}
    nothing = {IMPORT: Measurement(Decimal(1), "GJ"), EXPORT: Measurement("much", "kWh")}
    assert live.merge_retained(nothing, None, {}, unlimited) == {}
