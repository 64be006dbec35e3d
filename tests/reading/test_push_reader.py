"""Pushed lists: encryption, replays, learning and the parity of the line."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import Diagnosis, Identity, LinkState, Reading
from kamstrup_mqtt.emulators.base import Emulator
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_pty
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.limits import MeterLimits
from kamstrup_mqtt.protocols.han import HanCodec
from kamstrup_mqtt.storage.state_file import StateFile
from kamstrup_mqtt.storage.state_schema import LastTotal, Learned
from tests.reading.test_reader import QUICK, Start, at, meter, setup_of, start
from tests.support.ptys import until

__all__ = ["start"]  # a fixture

EK, AK = "000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
KEYS = {"encryption_key": EK, "authentication_key": AK}
LoggedReading = Callable[[int], list[str]]


def emulated(model: str = "kamstrup_han_3phase", **settings: str) -> Callable[[], Emulator]:
    return lambda: make_emulator(model, "han", settings)


def han(model: str = "kamstrup_han_3phase", **options: Any) -> Any:
    return setup_of(model, "han", codec=HanCodec(**options))


def keyed(**changes: Any) -> Any:
    keys = {name: bytes.fromhex(text) for name, text in KEYS.items()}
    return han(**{**keys, "energy_scale": 10, **changes})


async def test_the_sender_is_known_before_the_values_are_judged(start: Start) -> None:
    async with meter(emulated(), interval=0.05) as server:
        bench = await start(han(), at(server))
        reports: list[object] = []
        bench.report_queue.set_consumer(lambda: reports.extend(bench.report_queue.take_all()))
        await until(lambda: len(reports) > 3)
    assert [type(report) for report in reports[:4]] == [Identity, Reading, Diagnosis, Reading]


async def test_an_encrypted_meter_is_read(start: Start) -> None:
    async with meter(emulated(**KEYS), interval=0.05) as server:
        bench = await start(keyed(), at(server))
        reading = await bench.next(Reading, group="live")
        assert reading.values["power_import"].value == 4187


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encryption_key": None, "authentication_key": None}, "there is no key: set"),
        ({"encryption_key": bytes(16)}, "with another key: the tag"),
    ],
)
async def test_a_missing_or_wrong_key_is_reported_at_once(
    start: Start,
    expected_logs: list[str],
    logged: LoggedReading,
    options: dict[str, Any],
    words: str,
) -> None:
    expected_logs.append(words)
    async with meter(emulated(**KEYS), interval=0.05) as server:
        bench = await start(keyed(**options), at(server))
        diagnosis = await bench.next(Diagnosis, link_state=LinkState.WRONG_KEY)
        assert words in diagnosis.problem
        assert words in diagnosis.last_error
        await until(lambda: bench.reader.counters.undecrypted > 2)
    assert len([m for m in logged(logging.WARNING) if words in m]) == 1


async def test_replayed_lists_are_dropped_and_counted(start: Start) -> None:
    async with meter(emulated(fault="replay", **KEYS), interval=0.03) as server:
        bench = await start(keyed(), at(server))
        await bench.next(Reading, group="live")
        await until(lambda: bench.reader.counters.replayed >= 3)
        assert bench.reader.counters.dropped == bench.reader.counters.replayed


async def test_what_is_learned_is_stored_and_noted(start: Start) -> None:
    async with meter(emulated(hourly="always", energy_import="44228.00"), interval=0.05) as server:
        bench = await start(han(), at(server))  # the emulated type is proven
        reading = await bench.next(Reading, group="hourly")
        assert reading.values["energy_import"].value == Decimal("44228.00")
        assert bench.state.learned.energy_scale == "10"
    unproven = {"meter_type": "6841131BN245101092", "hourly": "always"}
    async with meter(emulated(**unproven), interval=0.05) as server:
        bench = await start(han(), at(server))
        diagnosis = await bench.next(Diagnosis, link_state=LinkState.OK)
        reading = await bench.next(Reading, group="hourly")
        assert "energy_import" not in reading.values
        await bench.next(Diagnosis, notes=("energy scale: 0 of 60 minutes",)) if not (
            diagnosis.notes
        ) else None


@pytest.mark.parametrize(
    ("meter_type", "bounded", "believed"),
    [
        ("6841121BN243101040", False, False),  # 55.2 kW (3×80 A): 92 kWh in 100 minutes
        ("6851121BN243101040", False, True),  # behind transformers: 1 MW
        ("6851121BN243101040", True, False),  # the user knows better
    ],
)
async def test_the_power_limit_depends_on_how_the_meter_is_connected(
    start: Start, expected_logs: list[str], meter_type: str, bounded: bool, believed: bool
) -> None:
    expected_logs.append("is more than the meter can have counted in 6000 s")
    state_file = StateFile(None, Clock())
    now = Clock().now()
    assert now is not None
    before = LastTotal(Decimal("44000.00"), now - timedelta(minutes=100), "kWh")
    state_file.meter("meter").reader.totals["energy_import"] = before
    sent = {"meter_type": meter_type, "hourly": "always", "energy_import": "44228.00"}
    async with meter(emulated(**sent, power_import="0"), interval=0.05) as server:
        setup = dataclasses.replace(
            han(energy_scale=10),
            limits=MeterLimits(power=55_200, flow=200),
            has_power_limit=bounded,
        )
        bench = await start(setup, at(server), state_file=state_file)
        reading = await bench.next(Reading, group="hourly")
        value = reading.values["energy_import"].value
        assert (value == Decimal("44228.00")) is believed


async def test_a_live_counter_continues_from_the_state_file(start: Start) -> None:
    state_file = StateFile(None, Clock())
    totals = state_file.meter("meter").reader.totals
    totals["energy_import_live"] = LastTotal(Decimal("44229.500"), Clock().now())
    async with meter(emulated(power_import="0"), interval=0.05) as server:
        bench = await start(han(energy_scale=10), at(server), state_file=state_file)
        reading = await bench.next(Reading, group="live")
        assert reading.values["energy_import_live"].value == Decimal("44229.500")


@pytest.mark.parametrize(
    ("model", "key"), [("aidon_3phase", "current_l2"), ("kaifa_1phase", "voltage_l1")]
)
async def test_auto_reads_other_makers(start: Start, model: str, key: str) -> None:
    async with meter(emulated(model), interval=0.05) as server:
        bench = await start(han("auto"), at(server))
        reading = await bench.next(Reading, group="live")
        assert reading.values[key].value is not None
        assert reading.values["power_import"].value == 4187
        assert bench.reports[0].serial == "1" * 16


async def test_both_parities_are_tried_on_a_tty(
    start: Start, tmp_path: Path, expected_logs: list[str], logged: LoggedReading
) -> None:
    """The pty passes the bytes of a wrong parity on, whatever it is set to: the hunt goes round."""
    expected_logs += ["bytes come", "port is open again", "may be another"]
    path = str(tmp_path / "han")
    server = await serve_pty(emulated(fault="parity"), path, interval=0.03)
    limits = dataclasses.replace(QUICK, parity_timeout=0.1)
    try:
        setup = dataclasses.replace(han("auto"), detect_parity=True)
        await start(setup, SerialDevice(path), limits=limits, idle_timeout=0.01)
        await until(lambda: any("2400 8E1: trying 2400 8N1" in m for m in logged(logging.INFO)))
    finally:
        await server.close()
    assert [m for m in logged(logging.INFO) if "no list with 2400 8N1: trying 2400 8E1" in m]


async def test_the_parity_that_worked_is_stored(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "han")
    server = await serve_pty(emulated("aidon_3phase"), path, interval=0.03)
    state_file = StateFile(None, Clock())
    try:
        setup = dataclasses.replace(han("auto"), detect_parity=True)
        bench = await start(setup, SerialDevice(path), state_file=state_file)
        await bench.next(Reading, group="live")
    finally:
        await server.close()
    assert state_file.meter("meter").reader.learned.parity == "N"


def test_the_models_that_are_recognised() -> None:
    models = registry.models_of("han")
    assert set(models) == {
        *("aidon_1phase", "aidon_3phase", "aidon_se", "auto", "kaifa_1phase", "kaifa_3phase"),
        *("kamstrup_han_1phase", "kamstrup_han_3phase"),
    }
    assert models["aidon_se"].profiles["han"].identity == ()


async def test_what_was_learned_about_another_meter_is_forgotten(start: Start) -> None:
    state_file = StateFile(None, Clock())
    state_file.meter("meter").reader.learned = Learned(
        energy_scale="1", energy_scale_meter="1-1:0.0.5.255 another", parity="E"
    )
    async with meter(emulated(meter_type="6841131BN245101092"), interval=0.05) as server:
        learned = state_file.meter("meter").reader.learned.as_mapping()
        bench = await start(han(learned=learned), at(server), state_file=state_file)
        await bench.next(Reading, group="live")
    assert bench.state.learned.energy_scale is None
    assert bench.state.learned.parity is None
