"""What several lists show together: scale, time zone, the hour that a register belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue
from kamstrup_mqtt.protocols.base import Frame, Message, Timestamp
from kamstrup_mqtt.protocols.han import HanCodec, HdlcFramer, consistency
from kamstrup_mqtt.protocols.han.clock_offset import ClockOffset
from kamstrup_mqtt.protocols.han.energy_scale import EnergyScale
from kamstrup_mqtt.protocols.han.meter_session import HanSession
from tests.support.framing import frames_of
from tests.support.han_recordings import HOURLY_1, LIVE_1, hdlc
from tests.support.han_session import HOUR, NORWEGIAN, ZONE, Processed, meter, process

WH = 3_600_000_000  # milliwatt-milliseconds


# The scale of the energies


@pytest.mark.parametrize("scale", [10, 1])
def test_the_scale_is_learned_in_two_hours_of_registers(scale: int) -> None:
    there = meter(scale=None)
    there.scale = scale
    there.run(120)
    assert there.processed.update.notes[0].startswith("energy scale: 1 of 60 minutes")
    there.run(34 * 60)
    assert there.processed.update.notes[0] == "energy scale: 35 of 60 minutes"
    assert "energy_scale" not in there.processed.update.learned
    there.run(3600)
    assert there.processed.update.notes[0].endswith("of 60 minutes, for the second time")
    for obj in there.processed.reading.objects:
        assert "8.0" not in str(obj.id)
    there.run(3600)
    assert there.processed.update.learned["energy_scale"] == str(scale)
    assert there.texts("learned from the power") == [
        f"the energies count {scale} Wh: learned from the power"
    ]
    assert not any("energy scale" in note for note in there.processed.update.notes)


def test_before_the_first_register_it_waits_for_one() -> None:
    there = meter()
    there.push()
    assert there.processed.update.notes == ("energy scale: waiting for a register",)


def test_push_1_decides_in_two_windows_of_five_minutes() -> None:
    there = meter()
    there.run(180, often=True)
    assert there.processed.update.notes[0] == "energy scale: 2 of 5 minutes"
    there.run(600, often=True)
    values = there.push(registers=True)
    assert values["1-1:1.8.0.255"] == Decimal(there.count).scaleb(-2)


def test_a_proven_type_decides_at_once() -> None:
    there = meter(type=NORWEGIAN)
    assert there.push(registers=True)["1-1:1.8.0.255"] == Decimal("44228.00")
    assert there.processed.update.notes == ()
    assert there.texts("proven for 6841121BN243101040")
    assert there.processed.update.learned["energy_scale"] == "10"
    # the next start knows it, and another meter on the same port does not
    again = meter(learned=there.processed.update.learned)
    assert again.push(registers=True)["1-1:1.8.0.255"] == Decimal("44228.00")
    assert not again.processed.update.meter_replaced
    again.id = "9999999999999999"
    assert "1-1:1.8.0.255" not in again.push(registers=True)
    assert again.processed.update.meter_replaced
    assert again.processed.update.learned == {
        "energy_scale_meter": "1-1:0.0.5.255 9999999999999999",
        "connection": "direct",
    }


def test_the_configured_scale_is_used() -> None:
    there = meter(1)
    assert there.push(registers=True)["1-1:1.8.0.255"] == Decimal("4422.800")
    assert there.processed.update.learned["energy_scale_published"] == "1"
    assert "energy_scale" not in there.processed.update.learned
    # what was published stays, also when the configuration leaves the scale out again
    auto = meter(learned=there.processed.update.learned)
    assert auto.push(registers=True)["1-1:1.8.0.255"] == Decimal("4422.800")


@pytest.mark.parametrize("before", [{"energy_scale": "10"}, {"energy_scale_published": "10"}])
def test_another_scale_in_the_configuration_holds_the_totals_back(before: dict[str, str]) -> None:
    """Nothing is ever rescaled under a published unique id, but by the user's word."""
    there = meter(1, before)
    for _ in range(2):
        values = there.push(registers=True)
        assert not [key for key in values if "8.0" in key]
        assert values["1-1:1.7.0.255"] == Decimal(3600)
    said = (
        "energy_scale is 1, but the totals were published with 10 Wh per count: they are held"
        " back. Set `energy_scale` back to 10, or let `kamstrup-mqtt accept METER` take 1"
    )
    assert there.processed.update.problem == said
    assert there.log == [(30, said)]
    # a restart forgets nothing
    again = meter(1, there.processed.update.learned)
    assert "1-1:1.8.0.255" not in again.push(registers=True)
    # back to the old one
    old = meter(10, there.processed.update.learned)
    assert old.push(registers=True)["1-1:1.8.0.255"] == Decimal("44228.00")
    assert (old.processed.update.problem, old.log) == (None, [])
    # or accepted
    assert there.session.accept_held() == "energy_scale 1"
    assert there.session.accept_held() is None
    assert there.push(registers=True)["1-1:1.8.0.255"] == Decimal("4422.800")
    assert there.processed.update.problem is None
    assert there.processed.update.learned["energy_scale_published"] == "1"


def test_the_scale_is_a_matter_of_kamstrups_lists_alone() -> None:
    there = meter(1, {"energy_scale": "10"})
    process(there.session, Message({"maker": "aidon", "elements": 12}, ()), Timestamp(None, 0.0))
    assert there.session.accept_held() is None
    assert there.log == []


def test_a_contradiction_holds_totals_back_until_the_power_agrees() -> None:
    there = meter(type=NORWEGIAN)
    there.run(3700)
    assert there.push(registers=True)["1-1:1.8.0.255"] is not None
    there.run(3000)
    # the grid company changes the meter from afar: the register shows ten times as much
    there.count *= 10
    there.scale = 1
    values = there.run(600)
    assert not [key for key in values if "8.0" in key]
    assert "the energy registers contradict the power" in (there.processed.update.problem or "")
    assert len(there.texts("contradict")) == 1
    values = there.run(3600)
    assert there.processed.update.problem
    assert there.processed.update.learned["energy_scale_held"] == "10"
    # a restart does not forget it
    again = meter(learned=there.processed.update.learned, type=NORWEGIAN)
    assert "1-1:1.8.0.255" not in again.push(registers=True)
    assert again.processed.update.problem
    # with the user's word for what the power says it goes on; the configuration may say it too
    assert "likely 1)" in (again.processed.update.problem or "")
    for scale in (None, 1):
        accepting = meter(scale, there.processed.update.learned)
        accepting.push(registers=True)
        assert accepting.session.accept_held() == "energy_scale 1"
        assert accepting.push(registers=True)["1-1:1.8.0.255"] == Decimal("4422.800")
        assert "energy_scale_insisted" not in accepting.processed.update.learned
        assert accepting.processed.update.learned["energy_scale_held"] == "no"
    # and where the registers fit again, twice, by itself
    there.scale = 10
    there.run(4 * 3600)
    assert there.processed.update.problem is None
    assert there.texts("after all")
    assert there.processed.update.learned["energy_scale_held"] == "no"


def test_the_user_may_insist_on_a_scale_that_the_power_contradicts() -> None:
    there = meter(10)
    there.scale = 1  # the register moves as if it counted 1 Wh
    there.run(3 * 3600)
    assert "do not count 10 Wh (any more) (more likely 1)" in (there.processed.update.problem or "")
    assert there.session.accept_held() == "energy_scale 10"
    there.log.clear()
    there.run(3 * 3600 + 60)
    assert there.push(registers=True)["1-1:1.8.0.255"] is not None
    assert (there.processed.update.problem, there.texts("contradict")) == (None, [])
    # remembered
    again = meter(10, there.processed.update.learned)
    again.scale = 1
    again.run(3 * 3600)
    assert again.processed.update.problem is None
    # what fits no scale at all is not more likely another
    nowhere = meter(10)
    nowhere.scale = 100
    nowhere.run(3 * 3600)
    assert "(any more); totals" in (nowhere.processed.update.problem or "")


def test_windows_without_a_decision() -> None:
    scale = EnergyScale(None, {})
    assert scale.add_registers(0, {"1.8.0": (100, 0)}, is_frequent=False) is None
    minute = 60_000
    # too few counts: the window goes on
    assert scale.add_registers(60 * minute, {"1.8.0": (119, 190 * WH)}, is_frequent=False) is None
    assert scale.describe_progress(60 * minute) == "energy scale: 60 of 60 minutes"
    # a register that decreased starts the window again
    assert scale.add_registers(61 * minute, {"1.8.0": (50, 200 * WH)}, is_frequent=False) is None
    assert scale.describe_progress(61 * minute) == "energy scale: 0 of 60 minutes"
    # neither 10 nor 1, between two that say 10
    for at, count, energy in ((121, 150, 1200), (181, 250, 1500), (241, 350, 2500)):
        moment = {"1.8.0": (count, energy * WH)}
        assert scale.add_registers(at * minute, moment, is_frequent=False) is None
    assert scale.scale is None
    assert (
        scale.add_registers(301 * minute, {"1.8.0": (450, 3500 * WH)}, is_frequent=False)
        is not None
    )
    assert scale.scale == 10
    # decided: an agreeing window is no news
    assert scale.add_registers(361 * minute, {"1.8.0": (550, 4500 * WH)}, is_frequent=False) is None


def test_a_gap_voids_the_window() -> None:
    there = meter()
    there.run(1800)
    there.pass_(31)
    there.push()
    assert there.processed.update.notes[0] == "energy scale: waiting for a register"


# The clock


def test_the_zone_is_learned_and_meter_time_gets_it() -> None:
    there = meter(10)
    for _ in range(5):
        there.pass_(10)
        there.push()
    assert "clock_offset" not in there.processed.update.learned
    assert there.push(registers=True)["0-1:1.0.0.255"] == "2026-07-01T10:59:50+01:00"
    assert there.processed.update.learned["clock_offset"] == "+01:00"
    assert there.push(registers=True)["clock_drift"] == Decimal("0.0")
    assert there.texts("the meter's clock is +01:00 from UTC")


def test_without_a_proven_offset_the_time_has_no_zone() -> None:
    there = meter(10, clock=False)
    for _ in range(10):
        values = there.push(registers=True)
    assert values["0-1:1.0.0.255"] == "2026-07-01T10:59:00"
    assert "clock_drift" not in values


def test_a_step_of_the_hosts_clock_restarts_the_learning() -> None:
    there = meter(10)
    there.run(100)
    assert there.processed.update.learned["clock_offset"] == "+01:00"
    there.host = timedelta(minutes=-45)
    values = there.push(registers=True)
    assert "+" not in str(values["0-1:1.0.0.255"])
    assert there.texts("the host's clock stepped")
    there.host = timedelta()
    there.run(100)
    assert there.processed.update.learned["clock_offset"] == "+01:00"


def test_offsets() -> None:
    clock = ClockOffset("+05:45")
    assert clock.text == "+05:45"
    noon = datetime(2026, 1, 1, 12)  # noqa: DTZ001
    assert clock.to_utc(noon) == datetime(2026, 1, 1, 6, 15, tzinfo=UTC)
    assert clock.drift(noon, datetime(2026, 1, 1, 6, 14, 57, 500_000, UTC)) == Decimal("2.5")
    assert not clock.observe_meter(noon, datetime(2026, 1, 3, tzinfo=UTC))  # that is no zone
    west = ClockOffset("-03:30")
    assert west.text == "-03:30"
    assert [
        west.observe_meter(noon, datetime(2026, 1, 1, 15, 1, tzinfo=UTC)) for _ in range(6)
    ] == [
        *[False] * 5,
        True,  # summer time came: UTC-3
    ]
    assert west.text == "-03:00"
    for damaged in ("noon", "", None):
        assert ClockOffset(damaged).text is None
        assert ClockOffset(damaged).to_utc(noon) is None
        assert ClockOffset(damaged).drift(noon, HOUR) is None


def test_a_stamp_that_contradicts_the_proven_offset_has_no_zone() -> None:
    """Kaifa follows summer time (han.md 2.6): on 2026-03-29 at 01:00 UTC 02:00 becomes 03:00. The
    list with the registers is one of the first; its hour is 01:00 UTC, never 02:00."""
    session = HanSession(None, {"clock_offset": "+01:00"})
    seen = []
    for number in range(7):
        now = datetime(2026, 3, 29, 1, 0, 10, tzinfo=UTC) + timedelta(seconds=10 * number)
        local = (now + timedelta(hours=2)).replace(tzinfo=None).isoformat()
        clock = DecodedValue("0-0:1.0.0.255", "", local)
        register = DecodedValue("1-0:1.8.0.255", 204, Decimal("0.204"), "kWh")
        power = DecodedValue("1-0:1.7.0.255", 5, Decimal(5), "W")
        objects = (power, clock, register) if number in (0, 6) else (power, clock)
        header = {"maker": "kaifa", "meter_time": local, "elements": 18}
        processed = process(session, Message(header, objects), Timestamp(now, 1000.0 + 10 * number))
        values = {str(obj.id): obj.value for obj in processed.reading.objects}
        seen.append(
            (values["0-0:1.0.0.255"], values.get("clock_drift"), processed.reading.measured_at)
        )
    assert seen[0] == ("2026-03-29T03:00:10", None, None)
    assert seen[5][0] == "2026-03-29T03:01:00+02:00"
    assert seen[5][1] == Decimal("0.0")
    assert session.learned_state()["clock_offset"] == "+02:00"


# The right hour


def test_registers_belong_to_the_full_hour() -> None:
    there = meter(10)
    there.run(50)
    assert there.processed.reading.measured_at is None
    there.pass_(15)  # 5 s after the hour
    there.run(30)
    there.second = 60 + 3605
    there.push(registers=True)
    assert there.processed.reading.measured_at == datetime(2026, 7, 1, 11, tzinfo=UTC)


def test_registers_of_every_list_belong_to_their_own_moment() -> None:
    there = meter(10)
    there.run(200, often=True)
    assert there.processed.reading.measured_at is None


# Other makers


def other(
    session: HanSession, *objects: DecodedValue, second: int = 0, elements: int = 13
) -> Processed:
    message = Message({"maker": "aidon", "elements": elements}, objects)
    return process(session, message, Timestamp(HOUR, 1000.0 + second))


def test_a_meter_without_a_number_is_noted() -> None:
    session = HanSession(None, {})
    power = DecodedValue("1-0:1.7.0.255", 1, Decimal(1), "W")
    for _ in range(9):  # Aidon's first list never has one
        assert other(session, power, elements=1).update.notes == ()
    for _ in range(6):
        processed = other(session, power, elements=27)
    assert processed.update.notes == ("the lists have no serial number: set `serial`",)


# Phases and totals

# the layout of gh73 and gh350: three phases, of which all export
TOTALS = {"1.7.0": 0, "2.7.0": 528, "1.8.0": 171735, "2.8.0": 25127}
POWERS = {"21.7.0": 0, "41.7.0": 0, "61.7.0": 0, "22.7.0": 189, "42.7.0": 42, "62.7.0": 297}
IMPORTED = {"21.8.0": 61079, "41.8.0": 93156, "61.8.0": 19174}
EXPORTED = {"22.8.0": 9665, "42.8.0": 6154, "62.8.0": 10982}
PUSH_1 = {**TOTALS, **POWERS, **IMPORTED, **EXPORTED}


def test_phases_that_add_up() -> None:
    assert consistency.check_phases(PUSH_1) is None
    assert consistency.check_phases({"1.7.0": 5}) is None
    assert consistency.check_phases({"21.7.0": 5, "22.7.0": 0}) is None


def test_phases_that_do_not() -> None:
    assert consistency.check_phases(PUSH_1 | {"1.7.0": 11}) == (
        "the powers of the phases make -528, the total is -517"
    )
    assert "the registers of the phases make 146608, the total is 146612" in str(
        consistency.check_phases(PUSH_1 | {"1.8.0": 171739})
    )


def test_inconsistent_phases_are_counted_and_published() -> None:
    session = HanSession(10, {})
    objects = [DecodedValue(f"1-1:{code}.255", n, Decimal(n), "W") for code, n in PUSH_1.items()]
    process(session, Message({"maker": "kamstrup"}, tuple(objects)), Timestamp(HOUR, 1.0))
    objects[0] = DecodedValue("1-1:1.7.0.255", 99, Decimal(99), "W")
    for second in (2.0, 3.0):
        processed = process(
            session, Message({"maker": "kamstrup"}, tuple(objects)), Timestamp(HOUR, second)
        )
        assert Decimal(99) in [obj.value for obj in processed.reading.objects]
        assert [level for level, text in processed.update.log if "consistency" in text] == [
            30 if second == 2.0 else 10
        ]
    assert "consistency: 2 of 3 lists do not add up" in processed.update.notes


# Whatever comes


def test_invalid_clocks() -> None:
    clocks = ("noon", "2026-07-01T10:59:00+01:00", None, Decimal(5))
    for value in clocks:
        session = HanSession(10, {})
        clock = DecodedValue("0-0:1.0.0.255", "00", value)
        assert other(session, clock).reading.objects == (clock,)


def test_a_wrong_clock_gives_no_time_of_measurement() -> None:
    session = HanSession(10, {"clock_offset": "+01:00"})
    power = DecodedValue("1-0:1.7.0.255", 1, Decimal(1), "W")
    register = DecodedValue("1-0:1.8.0.255", 5, Decimal(5), "kWh")
    header = {"maker": "aidon", "meter_time": "0001-01-01T00:00:05"}
    message = Message(header, (power, register))
    assert process(session, message, Timestamp(HOUR, 1.0)).reading.measured_at is None
    session = HanSession(10, {"clock_offset": "+01:00"})
    assert process(session, message, Timestamp(None, 1.0)).reading.measured_at is None


def test_a_list_has_the_same_sender_if_the_one_before_was_of_the_same_meter() -> None:
    session = HanSession(10, {})
    power = DecodedValue("1-0:1.7.0.255", 1, Decimal(1), "W")
    name, other_name = (DecodedValue("0-0:96.1.0.255", number, number) for number in ("1", "2"))
    type_, other_type = (DecodedValue("0-0:96.1.7.255", text, text) for text in ("6525", "6534"))
    lists = {
        "the first": ((name, type_, power), False),
        "the same": ((name, type_, power), True),
        "another type": ((name, other_type, power), False),
        "no name": ((power,), False),
        "no name again": ((power,), True),
        "another meter": ((other_name, other_type, power), False),
    }
    for what, (objects, settled) in lists.items():
        assert other(session, *objects).reading.same_sender is settled, what


def test_lists_without_serial_number_never_have_the_same_sender() -> None:
    session = HanSession(10, {})
    for _ in range(3):
        power = DecodedValue("1-0:1.7.0.255", 1, Decimal(1), "W")
        assert not other(session, power).reading.same_sender


def test_a_clock_in_the_header_alone_is_observed_by_learn() -> None:
    session = HanSession(10, {})
    power = DecodedValue("1-0:1.7.0.255", 1, Decimal(1), "W")
    header = {"maker": "aidon", "meter_time": (HOUR + ZONE).replace(tzinfo=None).isoformat()}
    for second in range(6):  # six time stamps prove an offset
        assert "clock_offset" not in session.learned_state()
        session.process(Message(header, (power,)), Timestamp(HOUR, float(second)))
        assert "clock_offset" not in session.learned_state()
        learned = session.learn().learned
    assert learned["clock_offset"] == "+01:00"


def test_alternating_meters_replace_each_other_each_time() -> None:
    session = HanSession(10, {})
    one, two = (DecodedValue("0-0:96.1.0.255", number, number) for number in ("1", "2"))
    lists = (one, one, two, two, one)
    assert [other(session, id_).update.meter_replaced for id_ in lists] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_a_type_in_a_later_list_decides_the_scale() -> None:
    there = meter(None, type="6841131BN245101092")
    there.push()
    there.push()
    assert there.session.learned_state().get("energy_scale") is None
    there.type = NORWEGIAN
    there.push()
    assert there.session.learned_state()["energy_scale"] == "10"


def test_a_missing_serial_number_is_no_other_meter() -> None:
    session = HanSession(10, {})
    id_ = DecodedValue("0-0:96.1.0.255", "1", "1")
    other(session, id_)
    assert not other(session, DecodedValue("0-0:96.1.0.255", None, None)).update.meter_replaced
    assert not other(session, id_).update.meter_replaced


@given(
    st.sampled_from([HOURLY_1, LIVE_1]),
    st.lists(st.tuples(st.integers(3, 290), st.integers(0, 255)), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_any_list_is_followed_or_refused(wire: bytes, changes: list[tuple[int, int]]) -> None:
    information = bytearray(wire[8:-3])
    for at, byte in changes:
        information[at % len(information)] = byte
    codec = HanCodec(learned={"clock_offset": "+01:00"})
    for second in range(3):
        for damaged in (information, wire[8:-3]):
            try:
                message = codec.decode(Frame(b"", hdlc(bytes(damaged))[1:-3], "push"))
            except MeterError:
                continue
            process(codec, message, Timestamp(HOUR, second * 10.0))


def test_the_codec_accepts_held_totals() -> None:
    codec = HanCodec(energy_scale=1, learned={"energy_scale_published": "10"})
    (frame,) = frames_of(HdlcFramer(), [HOURLY_1])
    processed = process(codec, codec.decode(frame), Timestamp(None, 0.0))
    assert processed.update.problem
    assert not [obj for obj in processed.reading.objects if "1.8.0" in str(obj.id)]
    accepted, learned = codec.accept_held()
    assert accepted == "energy_scale 1"
    assert learned["energy_scale_published"] == "1"
    processed = process(codec, codec.decode(frame), Timestamp(None, 10.0))
    energy = next(obj for obj in processed.reading.objects if obj.id == "1-1:1.8.0.255")
    assert (energy.value, processed.update.problem) == (Decimal("4422.800"), None)
    assert codec.accept_held()[0] is None
