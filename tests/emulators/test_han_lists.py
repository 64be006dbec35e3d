"""The emulated lists of every maker, read again; sizes typed from han.md 1.1 and 2.4..2.6."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from kamstrup_mqtt.emulators.han import FAULTS, HanEmulator, make
from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Frame, Message
from kamstrup_mqtt.protocols.han import SPEC, HanCodec, HdlcFramer
from tests.support.framing import events_of, frames_of

NOW = datetime(2026, 1, 5, 11, 59, 30)  # noqa: DTZ001 - the meter's own time
KEYS = {"encryption_key": "00" * 15 + "01", "authentication_key": "00" * 15 + "02"}


def meter(model: str, **settings: str) -> HanEmulator:
    return make(model, {"hourly": "never", **settings})


def one(wire: bytes) -> Message:
    codec = HanCodec(
        energy_scale=10,
        encryption_key=bytes.fromhex(KEYS["encryption_key"]),
        authentication_key=bytes.fromhex(KEYS["authentication_key"]),
    )
    (frame,) = frames_of(HdlcFramer(), [wire])
    return codec.decode(frame)


def by_key(message: Message) -> dict[str | None, object]:
    return {SPEC.key_of(obj.id): obj.value for obj in message.objects}


@pytest.mark.parametrize(
    ("model", "settings", "elements", "size"),
    [
        ("kamstrup_han_3phase", {"list": "push1"}, 65, 461),
        ("kamstrup_han_3phase", {"list": "push1", **KEYS}, 65, 491),
        ("kamstrup_han_1phase", {"list": "push1", **KEYS}, 37, 317),
        ("kamstrup_han_3phase", KEYS, 25, 258),
        ("auto", {}, 25, 228),
        ("kaifa_3phase", {}, 13, 122),
        ("kaifa_3phase", {"meter_type": "MA304H3E"}, 13, 123),
        ("kaifa_1phase", {}, 9, 103),
        ("aidon_se", {}, 27, 581),
    ],
)
def test_lists_of_ten_seconds(
    model: str, settings: dict[str, str], elements: int, size: int
) -> None:
    wire = meter(model, **settings).push(NOW)
    assert (len(wire), one(wire).header["elements"]) == (size, elements)
    assert by_key(one(wire))["power_import"] == 4187


@pytest.mark.parametrize(
    ("model", "elements"),
    [("kaifa_3phase", 18), ("kaifa_1phase", 14), ("aidon_3phase", 18), ("aidon_1phase", 14)],
)
def test_hourly_lists(model: str, elements: int) -> None:
    wire = make(model, {"hourly": "always", "energy_import": "44228.00"}).push(NOW)
    _, hourly = [HanCodec().decode(frame) for frame in frames_of(HdlcFramer(), [wire])]
    assert hourly.header["elements"] == elements
    values = by_key(hourly)
    assert values["meter_time"] == "2026-01-05T11:59:30"
    energy = values["energy_import"]
    assert isinstance(energy, Decimal)
    assert energy in (Decimal(44228000), Decimal(44228))  # Wh by Aidon's scaler, kWh by Kaifa


def test_aidon() -> None:
    message = one(meter("aidon_3phase").push(NOW))
    assert (message.header["source"], message.header["elements"]) == ("0883", 13)
    values = by_key(message)
    assert (values["current_l1"], values["voltage_l3"]) == (Decimal("15.0"), Decimal("223.0"))
    assert meter("aidon_3phase").serial.parity == "E"
    swedish = one(meter("aidon_se", energy_import="1").push(NOW))
    assert "meter_id" not in by_key(swedish)
    assert by_key(swedish)["reactive_energy_export"] == 769400
    raw = {obj.id: (obj.raw, obj.unit) for obj in swedish.objects}
    # the order of gh143-2: P+, P-, Q+, Q- of L1, then L2, then L3
    codes = [str(obj.id) for obj in swedish.objects]
    assert codes[11:15] == [f"1-0:{c}.7.0.255" for c in (21, 22, 23, 24)]
    assert codes[19:23] == [f"1-0:{c}.7.0.255" for c in (61, 62, 63, 64)]
    assert [raw[f"1-0:{c}.7.0.255"] for c in (21, 63)] == [(1397, "W"), (125, "var")]


def test_phases_of_push_1_make_the_totals() -> None:
    values = by_key(one(meter("kamstrup_han_3phase", list="push1").push(NOW)))
    assert values["meter_id"] == 11111111
    assert [values[f"power_import_l{n}"] for n in (1, 2, 3)] == [1397, 1395, 1395]
    assert values["power_factor"] == Decimal("1.00")


def test_other_scales() -> None:
    settings = {"voltage_scale": "0.01", "current_scale": "0.001", "voltage_l1": "219.07"}
    settings |= {"meter_type": "6851121BN243101040", "current_l1": "14.961"}
    values = by_key(one(meter("kamstrup_han_3phase", **settings).push(NOW)))
    assert values["voltage_l1"] == Decimal("219.07")
    assert values["current_l1"] == Decimal("14.961")


def test_every_fault() -> None:
    found = {}
    for fault in FAULTS:
        emulator = meter("kamstrup_han_3phase", fault=fault, **KEYS)
        found[fault] = events_of(HdlcFramer(), [emulator.push(NOW)])
    reasons = {
        fault: [event.reason for event in events if isinstance(event, DroppedBytes)]
        for fault, events in found.items()
    }
    for fault in ("none", "tag", "replay", "segments"):
        assert not reasons[fault]
        assert len(found[fault]) == 1
    assert reasons["fcs"] == [DropReason.CHECKSUM]
    assert reasons["noise"]
    assert sum(isinstance(event, Frame) for event in found["noise"]) == 1
    assert len(reasons["lost_byte"]) == 1
    assert reasons["parity"][-1] is DropReason.PARITY


def test_frame_counters_rise_except_in_a_replay() -> None:
    for fault, counters in (("none", [9, 10]), ("replay", [9, 9])):
        emulator = meter("kamstrup_han_3phase", fault=fault, frame_counter="9", **KEYS)
        assert [one(emulator.push(NOW)).header["frame_counter"] for _ in range(2)] == counters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encryption_key": "00"}, "encryption_key: write 32 hex digits"),
        ({"encryption_key": "zz"}, "encryption_key: write 32 hex digits"),
        ({"encryption_key": "00" * 16}, "encryption_key needs authentication_key, too, or"),
        ({"authentication_key": "00" * 16}, "authentication_key needs encryption_key, too"),
        ({"system_title": "00"}, "system_title: write 16 hex digits"),
        ({"fault": "fire"}, "fault=fire: write none or fcs or"),
    ],
)
def test_unknown_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("kamstrup_han_3phase", settings)
