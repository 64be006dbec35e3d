"""The emulated HAN meter sends the seed's frames to the byte, and counts what it uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kamstrup_mqtt.core.model import Scalar
from kamstrup_mqtt.emulators.han import HanEmulator, make
from kamstrup_mqtt.protocols.base import Message
from kamstrup_mqtt.protocols.han import SPEC, HanCodec, HdlcFramer
from tests.support.framing import frames_of
from tests.support.han_recordings import HOURLY_1, HOURLY_2, LIVE_1, LIVE_2, METER_ID, fcs

SEED_ID = {"meter_id": f"0x{METER_ID}"}
START = datetime(2026, 1, 5, 11, 59, 30)  # noqa: DTZ001 - the meter's own time


def meter(model: str = "kamstrup_han_3phase", **settings: str) -> HanEmulator:
    return make(model, settings)


def messages(wire: bytes, energy_scale: int = 10) -> list[Message]:
    codec = HanCodec(energy_scale=energy_scale)
    return [codec.decode(frame) for frame in frames_of(HdlcFramer(), [wire])]


def readings(message: Message) -> dict[str | None, Scalar]:
    return {SPEC.key_of(obj.id): obj.value for obj in message.objects}


def test_the_list_of_ten_seconds_equals_the_seed() -> None:
    emulator = meter(
        **SEED_ID,
        power_import="2824",
        reactive_power_import="465",
        current_l1="10.91",
        current_l2="7.5",
        current_l3="5.57",
        voltage_l1="220",
        voltage_l2="221",
        voltage_l3="223",
    )
    assert emulator.push(datetime(2019, 1, 21, 23, 43, 10)) == LIVE_1  # noqa: DTZ001
    emulator = meter(
        **SEED_ID,
        power_import="3673",
        reactive_power_import="277",
        current_l1="14.18",
        current_l2="8.29",
        current_l3="8.66",
        voltage_l1="218",
        voltage_l2="218",
    )
    assert emulator.push(datetime(2019, 1, 29, 1, 14, 40)) == LIVE_2  # noqa: DTZ001


def test_the_hourly_list_equals_the_seed() -> None:
    emulator = meter(**SEED_ID, hourly="always")
    wire = emulator.push(datetime(2019, 1, 29, 1, 0, 5))  # noqa: DTZ001
    assert wire[228:] == HOURLY_1
    emulator = meter(
        **SEED_ID,
        hourly="always",
        power_import="5429",
        reactive_power_import="336",
        current_l1="22.12",
        current_l2="19.63",
        current_l3="5.70",
        voltage_l1="214",
        voltage_l3="222",
        energy_import="44260.68",
        reactive_energy_import="6694.54",
    )
    assert emulator.push(datetime(2019, 1, 29, 10, 0, 5))[228:] == HOURLY_2  # noqa: DTZ001


def test_the_checksums_by_another_routine() -> None:
    wire = meter().push(START)
    assert wire[6:8] == fcs(wire[1:6]) == bytes.fromhex("239A")  # han.md 1.1
    assert wire[-3:-1] == fcs(wire[1:-3])


def test_one_phase_sends_nulls() -> None:
    wire = meter("kamstrup_han_1phase", hourly="always").push(START)
    # han.md 1.1: 188 bytes with HCS ED AA, 262 with HCS 77 6E
    live, hourly = wire[:188], wire[188:]
    assert (len(hourly), live[6:8].hex(), hourly[6:8].hex()) == (262, "edaa", "776e")
    first, second = messages(wire)
    assert (first.header["elements"], second.header["elements"]) == (25, 35)
    assert not {"current_l2", "voltage_l3"} & set(readings(first))
    assert str(readings(first)["current_l1"]) == "19.12"


def test_the_hourly_list_follows_the_hour() -> None:
    emulator = meter()
    counts = [len(messages(emulator.push(START + timedelta(seconds=10 * n)))) for n in range(8)]
    # 11:59:30, :40, :50, 12:00:00, then 12:00:10, the first push a second past the hour
    assert counts == [1, 1, 1, 1, 2, 1, 1, 1]
    never = meter(hourly="never")
    assert [len(messages(never.push(START + timedelta(hours=n)))) for n in range(3)] == [1, 1, 1]


def test_registers_rise_with_power() -> None:
    emulator = meter(hourly="always", power_import="7200", power_export="360", energy_export="1.5")
    emulator.push(START)
    _, hourly = messages(emulator.push(START + timedelta(seconds=10)))
    assert str(readings(hourly)["energy_import"]) == "44228.02"  # 7200 W for 10 s: 20 Wh
    assert str(readings(hourly)["energy_export"]) == "1.50"  # 1 Wh: less than one count
    _, hourly = messages(emulator.push(START + timedelta(seconds=100)))
    assert str(readings(hourly)["energy_import"]) == "44228.20"
    assert str(readings(hourly)["energy_export"]) == "1.51"
    _, hourly = messages(emulator.push(START))  # the clock was set back: nothing is taken away
    assert str(readings(hourly)["energy_import"]) == "44228.20"


def test_a_register_rolls_over() -> None:
    emulator = meter(hourly="always", power_import="3600000", energy_import="42949672.95")
    emulator.push(START)
    _, hourly = messages(emulator.push(START + timedelta(seconds=10)))
    assert str(readings(hourly)["energy_import"]) == "9.99"


def test_counts_of_one_watt_hour() -> None:
    wire = meter(hourly="always", energy_scale="1", energy_import="44228.007").push(START)
    assert str(readings(messages(wire, 1)[1])["energy_import"]) == "44228.007"


def test_texts_date_header_and_zone() -> None:
    emulator = meter(list_id="Kamstrup_V0002", meter_type="684", date_header="tagged")
    (message,) = messages(emulator.push(START.replace(tzinfo=UTC)))
    assert message.header["list_id"] == "Kamstrup_V0002"
    assert message.header["date_header"] == "tagged"
    assert message.header["meter_time"] == "2026-01-05T11:59:30"
    assert readings(message)["meter_id"] == "1111111111111111"
    assert readings(message)["meter_type"] == "684"


def test_settings_of_the_han_emulator() -> None:
    assert meter().interval == 10.0
    assert str(meter().serial) == "2400 8N1"


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (
            "kamstrup_han_3phase",
            {"watts": "1"},
            "watts cannot be set; choose from auth",
        ),
        ("kamstrup_han_1phase", {"current_l2": "1"}, "current_l2 cannot be set"),
        ("kamstrup_han_3phase", {"hourly": "x"}, "hourly=x: write auto or always or never"),
        ("kamstrup_han_3phase", {"energy_scale": "5"}, "energy_scale=5: write 10 or 1"),
        (
            "kamstrup_han_3phase",
            {"voltage_l1": "65536"},
            "voltage_l1=65536: write a number from 0 to 65535, in steps of 1",
        ),
        (
            "kamstrup_han_3phase",
            {"current_l1": "0.001"},
            r"write a number from 0 to 42949672\.95, in steps of 0\.01",
        ),
        ("kamstrup_han_3phase", {"power_import": "-1"}, "power_import=-1: write a number"),
        ("kamstrup_han_3phase", {"power_import": "much"}, "power_import=much: write a number"),
        ("kamstrup_han_3phase", {"power_import": "inf"}, "power_import=inf: write a number"),
        ("kamstrup_han_3phase", {"power_import": "nan"}, "power_import=nan: write a number"),
        ("kamstrup_han_3phase", {"meter_id": "0xZZ"}, "meter_id=0xZZ: write ASCII text, or octets"),
        ("kamstrup_han_3phase", {"meter_id": "ø"}, "meter_id=ø: write ASCII text"),
        ("kamstrup_han_3phase", {"meter_id": ""}, "meter_id=: write 1 to 64 characters"),
    ],
)
def test_invalid_han_settings(model: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(model, settings)


def test_totals_of_a_restarted_meter_do_not_decrease() -> None:
    """Left to itself it has counted since it was installed: 4187 W for an hour are 4.18 kWh."""
    one = datetime(2026, 11, 21, 12, 0, 0)  # noqa: DTZ001 - the meter's own time
    first = register(make("kamstrup_han_3phase", {"hourly": "always"}).push(one))
    second = register(make("kamstrup_han_3phase", {"hourly": "always"}).push(one.replace(hour=13)))
    assert second - first in (418, 419)


def register(lists: bytes) -> int:
    """The counts of 1-1:1.8.0 in a list (han.md 2.1: code, 06, four bytes)."""
    at = lists.rindex(bytes.fromhex("0906 0101010800FF 06")) + 9
    return int.from_bytes(lists[at : at + 4], "big")
