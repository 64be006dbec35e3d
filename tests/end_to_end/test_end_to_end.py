"""All readings of four emulated meters on ptys and TCP, with the real daemon and Mosquitto.

The 685-382 has the values of seed 000 (over IEC: the emulator's own, which are the seed's), the
HAN meter those of seed 003; the MULTICAL's are set here, each with as many digits as its register
holds.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Mosquitto, Watcher, eventually, running, watching
from tests.support.daemon import Meter, daemon, emulated

MULTICAL = {
    "serial": "6654321",
    "heat_energy": "12345.678",
    "volume": "4567.89",
    "operating_hours": "23456",
    "temp1": "61.62",
    "temp2": "33.04",
    "temp_diff": "28.58",
    "power": "4.1",
    "flow": "122",
    "register_266": "84208",
    "error_hours": "1",
    "info_code": "0",
    "register_369": "0",
}

SEED_000 = {
    "meter_type": "685382OK10",
    "meter_id": "123456",
    "customer_number": "12345678",
    "energy_import": "9032",
    "register_fe90_1": "0",
    "operating_hours": "57377",
    "energy_import_high_res": "9032.33",
    "peak_power": "1559",
    "customer_number_2": "12345678",
    "production_number": "168339478",
    "energy_import_2": "9032",
    "energy_import_tariff_1": "9031",
    "energy_import_tariff_2": "1",
}

ROOT = "kamstrup/main"

METERS = (
    Meter(id="heat", protocol="kmp", model="multical_403", pty=True, settings=MULTICAL),
    Meter(id="ascii", protocol="kmp-ascii", model="e685_382", settings=SEED_000),
    Meter(id="iec", protocol="iec62056-21", model="e685_382", pty=True),
    Meter(
        id="han",
        protocol="han",
        model="kamstrup_han_3phase",
        # so slow that the registers do not change during the test
        settings={
            "hourly": "always",
            "power_import": "36",
            "reactive_power_import": "37",
            "energy_import": "44228.00",
        },
        options={"energy_scale": 10},
        push_interval=0.3,
    ),
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as mosquitto:
        yield mosquitto


@contextlib.asynccontextmanager
async def meters(directory: Path) -> AsyncIterator[list[dict[str, Any]]]:
    """Run the four meters. Yields their entries in the configuration."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(emulated(meter, directory)) for meter in METERS]


# The values of each group as text, so that every digit is compared. `time` and the clock of the HAN
# meter are compared separately.
EXPECTED = {
    "heat/state/values": {
        "heat_energy": "12345.678",
        "register_266": "84208",
        "volume": "4567.89",
        "flow": "122",
        "power": "4.1",
        "temp1": "61.62",
        "temp2": "33.04",
        "temp_diff": "28.58",
        "register_369": "0",
        "info_code": "0",
        "info_text": '"ok"',
        "info_bits_text": '"ok"',
        "operating_hours": "23456",
        "error_hours": "1",
    },
    "ascii/state/values": {  # seed 000: METER_TYPE ... ENERGY_TARIF2
        "meter_type": '"685382OK10"',
        "meter_id": '"123456"',
        "customer_number": '"12345678"',
        "energy_import": "9032",
        "register_fe90_1": "0",
        "operating_hours": "57377",
        "energy_import_high_res": "9032.33",
        "peak_power": "1559",
        "customer_number_2": '"12345678"',
        "production_number": '"168339478"',
        "energy_import_2": "9032",
        "energy_import_tariff_1": "9031",
        "energy_import_tariff_2": "1",
    },
    "iec/state/values": {  # seed 000: MAKE ... 1.6*1
        "manufacturer": '"KAM"',
        "model": '"685-382-OK-10"',
        "customer_number": '"10865272"',
        "energy_import": "9032",
        "energy_import_tariff_1": "9031",
        "energy_import_tariff_2": "1",
        "operating_hours": "57392",
        "pulse_input": "0",
        "peak_power": "1.5",
        "peak_power_last_month": "2.8",
    },
    "han/state/live": {
        "list_id": '"Kamstrup_V0001"',
        "meter_id": '"1111111111111111"',
        "meter_type": '"6841121BN243101040"',
        "power_import": "36",
        "power_export": "0",
        "reactive_power_import": "37",
        "reactive_power_export": "0",
        "current_l1": "14.96",
        "current_l2": "9.06",
        "current_l3": "10.45",
        "voltage_l1": "219",
        "voltage_l2": "219",
        "voltage_l3": "223",
        # live counters equal the registers: 36 W are less than 1 Wh during the test
        "energy_import_live": "44228.000",
        "energy_export_live": "0.000",
        "reactive_energy_import_live": "6691.660",
        "reactive_energy_export_live": "769.400",
    },
    "han/state/hourly": {  # seed 003: the list of 01:00
        "energy_import": "44228.00",
        "energy_export": "0.00",
        "reactive_energy_import": "6691.66",
        "reactive_energy_export": "769.40",
    },
}


def as_texts(payload: str) -> dict[str, str]:
    """Return the values by key as they are written in the JSON text."""

    class Literal(str):
        """A number as written."""

    found = json.loads(payload, parse_int=Literal, parse_float=Literal)
    return {k: str(v) if isinstance(v, Literal) else json.dumps(v) for k, v in found.items()}


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_every_reading_is_published_exactly(
    tmp_path: Path, broker: Mosquitto, version: str
) -> None:
    async with (
        meters(tmp_path) as entries,
        daemon(tmp_path) as process,
        watching(broker.port) as watcher,
    ):
        mqtt = {"host": "127.0.0.1", "port": broker.port, "version": version}
        process.configure(mqtt, *entries)
        await process.start()
        await watcher.until(f"{ROOT}/bridge/status", "online")
        for topic, expected in EXPECTED.items():
            await check_state(watcher, f"{ROOT}/{topic}", expected)
        for meter in METERS:
            await watcher.until(f"{ROOT}/{meter.id}/status", "online")
            await check_discovery(watcher, meter.id)
        assert await process.end() == 0
        await watcher.until(f"{ROOT}/bridge/status", "offline")
        assert "WARNING" not in process.log
        assert "ERROR" not in process.log


async def check_state(watcher: Watcher, topic: str, expected: dict[str, str]) -> None:
    await watcher.until(topic)
    # a first total behind a weak checksum is accepted if the next reading, 2 s later, agrees
    await eventually(
        lambda: (
            expected.keys() <= as_texts(watcher.last[topic]).keys()
            and "null" not in as_texts(watcher.last[topic]).values()
        ),
        f"every value in {topic}",
    )
    found = as_texts(watcher.last[topic])
    assert re.fullmatch(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', found.pop("time"))
    clock = found.pop("meter_time", None)
    assert clock is None or re.fullmatch(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\+00:00)?"', clock)
    found.pop("meter_clock_drift", None)  # once the offset of the meter's clock is known
    assert found == expected


async def check_discovery(watcher: Watcher, meter: str) -> None:
    """Check that the published and the announced keys are the same."""
    text = await watcher.until(f"homeassistant/device/kamstrup_main_{meter}/config")
    announced = json.loads(text)["components"]
    topics = [topic for topic in EXPECTED if topic.startswith(f"{meter}/")]
    keys = {key for topic in topics for key in EXPECTED[topic]}
    assert keys <= set(announced)
    for key in keys:
        assert announced[key]["state_topic"] in {f"{ROOT}/{topic}" for topic in topics}
    for entity in announced.values():
        published = entity.get("state_topic", f"{ROOT}/{meter}/read")
        assert published in watcher.last or published.endswith("/read")


async def test_the_broker_is_killed_and_restarted(tmp_path: Path, broker: Mosquitto) -> None:
    async with meters(tmp_path) as entries, daemon(tmp_path) as process:
        process.configure({"host": "127.0.0.1", "port": broker.port}, *entries)
        await process.start()
        async with watching(broker.port) as watcher:
            await watcher.until(f"{ROOT}/bridge/status", "online")
        broker.kill()
        broker.start()
        async with watching(broker.port) as watcher:
            await eventually(
                lambda: process.log.count("connected to the broker") == 2, "connected again"
            )
            for topic in EXPECTED:
                await watcher.until(f"{ROOT}/{topic}")
            code, output = await process.command("health")
            assert code == 0
            assert "4 of 4 meters online, broker connected" in output
            code, output = await process.command("remove", "-c", str(process.config))
            assert code == 1
            assert "stop it first" in output
            assert await process.end() == 0
            code, output = await process.command("remove", "-c", str(process.config))
            assert code == 0
            assert f"cleared {ROOT}/han/state/hourly" in output
            await eventually(lambda: not retained(watcher), "no retained messages")
            code, output = await process.command("remove", "-c", str(process.config))
            assert output == f"the broker retains no messages below {ROOT}\n"


def retained(watcher: Watcher) -> list[str]:
    """Return the retained topics, without the history, which the broker does not retain."""
    return [topic for topic in watcher.last if not topic.endswith("/history")]


async def test_a_killed_daemon_publishes_the_stored_readings(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with daemon(tmp_path) as process, watching(broker.port) as watcher:
        async with meters(tmp_path) as entries:
            process.configure({"host": "127.0.0.1", "port": broker.port}, *entries)
            await process.start()
            for topic in EXPECTED:
                await watcher.until(f"{ROOT}/{topic}")
            assert await process.end(signal.SIGINT) == 130
        before = dict(watcher.last)
        watcher.last.clear()
        # without the meters, the daemon publishes the stored readings
        await process.start()
        await watcher.until(f"{ROOT}/bridge/status", "online")
        for topic in EXPECTED:
            assert await watcher.until(f"{ROOT}/{topic}") == before[f"{ROOT}/{topic}"]
        await process.end(signal.SIGKILL)
        await watcher.until(f"{ROOT}/bridge/status", "offline")  # the Will
