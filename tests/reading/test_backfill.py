"""What a meter logged while nobody read it: the installed daemon, a real Mosquitto, real TCP.

The emulated meters' logs (their own): on the full hour register 60 is 0.303 GJ now and 0.001 GJ
less for each hour before; volume 11.388 m³ and 0.008.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.core.clock import Clock, rfc3339
from kamstrup_mqtt.core.model import LoggedReading, Measurement, Reading, SerialParams
from kamstrup_mqtt.emulators.base import Emulator
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.reading import backfill
from kamstrup_mqtt.reading.backfill import BackfillConfig
from kamstrup_mqtt.storage.state_file import StateFile
from tests.reading.test_reader import QUICK, Bench, Start, at, meter, polling, setup_of, start
from tests.support.broker import Mosquitto, eventually, running, watching
from tests.support.daemon import Meter, daemon, emulated
from tests.support.ptys import until

__all__ = ["start"]

CLOCK = {"clock": "+01:00"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as mosquitto:
        yield mosquitto


def remembered(directory: Path, last: datetime, **more: Any) -> None:
    """A memory in which the meter `heat` was last read at `last`."""
    (directory / "state").mkdir()
    heat = {
        "serial": "123456",
        "serial_source": "serial_no",
        "model": "multical_403",
        "units": {"heat_energy": "GJ", "volume": "m³"},
        "readings": {"values": {"time": rfc3339(last), "values": {"heat_energy": 0.290}}},
        "last_poll": rfc3339(last),
        **more,
    }
    whole = {"version": 1, "meters": {"heat": heat}}
    (directory / "state" / "memory.json").write_text(json.dumps(whole))


def hours_between(last: datetime, now: datetime) -> list[datetime]:
    hour = last.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return [hour + timedelta(hours=n) for n in range(100) if hour + timedelta(hours=n) < now]


async def test_the_hours_while_the_daemon_was_down(broker: Mosquitto, tmp_path: Path) -> None:
    """Kind, moment and values of each missing hour are in the history, once, oldest first, and
    on no state topic."""
    last = datetime.now(UTC) - timedelta(hours=9, minutes=20)
    remembered(tmp_path, last)
    options = {"backfill": True, "interval": "1h"}
    heat = Meter(id="heat", protocol="kmp", model="multical_403", settings=CLOCK, options=options)
    async with (
        emulated(heat, tmp_path) as entry,
        daemon(tmp_path) as process,
        watching(broker.port) as watcher,
    ):
        process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
        await process.start()
        await watcher.until("kamstrup/main/bridge/status", "online")
        await watcher.publish("kamstrup/main/heat/read", "now")
        last_hour = rfc3339(hours_between(last, datetime.now(UTC))[-1])
        await eventually(
            lambda: f'"at": "{last_hour}"' in watcher.last.get("kamstrup/main/heat/history", ""),
            "the log is in the history",
            20,
        )
        assert await process.end() == 0
    reports = [
        json.loads(text, parse_float=Decimal) for topic, text in watcher.seen if "history" in topic
    ]
    states = [text for topic, text in watcher.seen if "/state/" in topic]
    live = next(record for record in reports if record["kind"] == "values")
    logged = [record for record in reports if record["kind"] == "backfill"]
    now = datetime.fromisoformat(live["time"])
    expected = hours_between(last, now)
    assert [record["at"] for record in logged] == [rfc3339(hour) for hour in expected]
    newest = now.replace(minute=0, second=0, microsecond=0)
    for record, hour in zip(logged, expected, strict=True):
        back = (newest - hour) // timedelta(hours=1)
        assert record["readings"] == {
            "heat_energy": Decimal("0.303") - back * Decimal("0.001"),
            "volume": Decimal("11.388") - back * Decimal("0.008"),
        }
        assert record["serial"] == "123456"
        assert record["meter"] == "heat"
        assert record["time"] >= live["time"]
    assert [record["seq"] for record in reports] == list(range(1, len(reports) + 1))
    energies = {json.loads(text, parse_float=Decimal)["heat_energy"] for text in states}
    assert energies <= {Decimal("0.290"), Decimal("0.303")}  # remembered, and read


LINE = SerialParams(115200)


async def gap(
    start: Start,
    server: Any,
    *,
    backfill: BackfillConfig | None = None,
    hours: float = 5.3,
    model: str = "multical_403",
    battery: bool = False,
    backfilled: datetime | None = None,
) -> Bench:
    """A reader whose meter was last read so many hours ago."""
    state_file = StateFile(None, Clock())
    state = state_file.meter("meter").reader
    state.backfilled = backfilled
    state.last_read["values"] = datetime.now(UTC) - timedelta(hours=hours)
    setup = setup_of(model, "kmp", serial=LINE, interval=1.0, battery=battery)
    return await start(
        replace(setup, backfill=backfill or BackfillConfig()), at(server), state_file=state_file
    )


def emulator(model: str = "multical_403", **settings: str) -> Callable[[], Emulator]:
    return lambda: make_emulator(model, "kmp", {**CLOCK, **settings})


async def records(bench: Bench) -> list[LoggedReading]:
    """What came of the gap's log, once it is over."""
    await bench.next(Reading)
    filling = polling(bench)._backfill
    assert filling is not None
    await until(lambda: not filling.is_active, 20)
    reports = [*bench.reports, *bench.rest()]
    return [report for report in reports if isinstance(report, LoggedReading)]


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "PAUSE", 0.01)


def test_defaults() -> None:
    assert BackfillConfig() == BackfillConfig(logger="hour", log_id=None, records=168)
    assert (1.5, timedelta(days=1)) == (backfill.GAP_FACTOR, backfill.MIN_BATTERY_INTERVAL)


async def test_a_numbered_log(start: Start) -> None:
    async with meter(emulator("multical_602")) as server:
        bench = await gap(start, server, backfill=BackfillConfig(log_id=2), model="multical_602")
        found = await records(bench)
        assert bench.port._link is not None
        assert bench.port._link.holder == "meter"  # whose bytes a capture calls them
    assert len(found) in (5, 6)
    assert found[-1].values["heat_energy"] == Measurement(Decimal("0.303"), "GJ")
    assert [
        later.measured_at - sooner.measured_at for sooner, later in itertools.pairwise(found)
    ] == [timedelta(hours=1)] * (len(found) - 1)


async def test_the_number_of_records_is_limited(start: Start) -> None:
    async with meter(emulator()) as server:
        bench = await gap(start, server, backfill=BackfillConfig(records=2), hours=100)
        assert len(await records(bench)) == 2  # the newest


async def test_a_meter_that_was_read_in_time_has_no_gap(start: Start) -> None:
    async with meter(emulator()) as server:
        bench = await gap(start, server, hours=0.9)
        assert await records(bench) == []
        assert bench.state.backfilled is None


@pytest.mark.parametrize(("before", "filled"), [(23, False), (25, True)])
async def test_a_battery_meter_is_backfilled_at_most_once_a_day(
    start: Start, before: int, filled: bool
) -> None:
    async with meter(emulator()) as server:
        backfilled = datetime.now(UTC) - timedelta(hours=before)
        bench = await gap(start, server, battery=True, backfilled=backfilled)
        assert bool(await records(bench)) is filled


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"clock": "+01:25"}, "is wrong by more than 10 min"),
        ({"1002": ""}, "nothing came back"),
    ],
)
async def test_a_failure_is_logged_once_and_the_gap_given_up(
    start: Start,
    expected_logs: list[str],
    logged: Callable[..., list[str]],
    settings: Mapping[str, str],
    why: str,
) -> None:
    expected_logs.append("the meter's log could not be read, the gap since")

    def make() -> Emulator:
        model = "multical_403" if why.startswith("is wrong") else "multical_402"
        return make_emulator(model, "kmp", {**CLOCK, **settings})

    async with meter(make) as server:
        bench = await gap(start, server)
        assert await records(bench) == []
        warnings = logged(logging.WARNING)
        assert len(warnings) == 1
        assert bench.state.backfilled is not None
        for _ in range(2):
            await bench.next(Reading)
        assert logged(logging.WARNING) == warnings


async def test_polls_and_other_meters_come_between_the_requests(start: Start) -> None:
    async with meter(emulator()) as server:
        state_file = StateFile(None, Clock())
        long_ago = datetime.now(UTC) - timedelta(hours=200)
        state_file.meter("meter").reader.last_read["values"] = long_ago
        setup = setup_of("multical_403", "kmp", serial=LINE, interval=0.02)
        setup = replace(setup, backfill=BackfillConfig())
        bench = await start(setup, at(server), state_file=state_file)
        other = Bench(replace(setup, id="other", backfill=None), bench.port, state_file, QUICK)
        task = asyncio.create_task(other.run())
        await bench.next(Reading)
        filling = polling(bench)._backfill
        assert filling is not None
        read = 0
        while filling.is_active:
            await other.next(Reading)
            await bench.next(Reading)
            read += 1
        assert read > 5
        task.cancel()
        await asyncio.wait([task])
        found = [r for r in (*bench.reports, *bench.rest()) if isinstance(r, LoggedReading)]
        assert len(found) == 168


def test_a_daemon_that_reads_no_kmp_meter_does_not_load_its_protocol() -> None:
    code = "import sys, kamstrup_mqtt.daemon.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "kamstrup_mqtt.reading.reader" in done.stdout.split()
    assert "kamstrup_mqtt.protocols.kmp" not in done.stdout.split()
