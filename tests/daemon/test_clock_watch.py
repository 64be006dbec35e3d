"""A host clock that is set, or that stays wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.daemon.clock_watch import INTERVAL, UNSET_WARNING_DELAY, ClockWatch
from kamstrup_mqtt.storage.state_file import StateFile
from kamstrup_mqtt.storage.state_schema import LastReading, LastTotal
from tests.support.broker import eventually

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
FUTURE = datetime(2036, 3, 1, 12, 0, tzinfo=UTC)
Messages = Callable[..., list[str]]


class Times:
    """A host clock that the test sets. `checks` counts the reads of the wall clock."""

    def __init__(self, wall: datetime) -> None:
        self.wall, self.mono = wall.timestamp(), 1000.0
        self.checks = 0
        self.clock = Clock(self._read_wall, lambda: self.mono)

    def _read_wall(self) -> float:
        self.checks += 1
        return self.wall

    async def next_checks(self) -> None:
        """Wait until the watch has checked the clock twice."""
        before = self.checks
        await eventually(lambda: self.checks >= before + 4, "the clock is checked")


@contextlib.asynccontextmanager
async def watched(times: Times, memory: StateFile) -> AsyncIterator[None]:
    watch = ClockWatch(times.clock, memory, ReportQueue(), {}, lambda: True, interval=0.005)
    task = asyncio.create_task(watch.run())
    try:
        await times.next_checks()
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_the_defaults() -> None:
    assert (INTERVAL, UNSET_WARNING_DELAY) == (5.0, 600.0)


async def test_the_next_run_accepts_a_clock_that_was_years_ahead(
    tmp_path: Path, expected_logs: list[str], logged: Messages
) -> None:
    """Timestamps of 2036 must not make the next run reject a clock of 2027."""
    expected_logs += ["the host's clock was set by -"]
    times = Times(FUTURE)
    memory = StateFile(tmp_path / "memory.json", times.clock)
    memory.open()
    reader, device = memory.meter("heat")
    reader.last_poll = FUTURE
    reader.last_read["values"] = FUTURE
    device.readings["values"] = LastReading(FUTURE, {"volume": Decimal(1)})
    device.readings["slow"] = LastReading(NOW - timedelta(days=1), {"volume": Decimal(1)})
    device.readings["never"] = LastReading(None, {})
    reader.totals["volume"] = LastTotal(Decimal(1), FUTURE)
    memory.meter("never polled")
    async with watched(times, memory):
        times.wall = NOW.timestamp()
        await eventually(lambda: bool(logged(30)), "the step is logged")
    memory.close()
    stored = json.loads((tmp_path / "memory.json").read_text())["meters"]["heat"]
    device_part, reader_part = stored["device"], stored["reader"]
    assert reader_part["last_read"]["values"] == "2027-03-01T12:00:00.000Z"
    assert reader_part["last_poll"] == "2027-03-01T12:00:00.000Z"
    assert device_part["readings"]["values"]["time"] == "2027-03-01T12:00:00.000Z"
    assert device_part["readings"]["slow"]["time"] == "2027-02-28T12:00:00.000Z"
    assert reader_part["totals"]["volume"]["time"] == "2027-03-01T12:00:00.000Z"
    next_clock = Clock(lambda: NOW.timestamp() + 1)
    StateFile(tmp_path / "memory.json", next_clock).open()
    assert next_clock.now() == NOW + timedelta(seconds=1)


async def test_a_clock_that_stays_wrong_is_logged_once(
    tmp_path: Path, expected_logs: list[str], logged: Messages
) -> None:
    expected_logs += ["the host's clock"]
    times = Times(datetime(1970, 1, 1, tzinfo=UTC))
    times.clock.not_before = NOW
    async with watched(times, StateFile(None, times.clock)):
        times.mono += 599
        times.wall += 599
        await times.next_checks()
        assert logged(30) == []  # a network may still set the clock
        times.mono += 2
        times.wall += 2
        await eventually(lambda: bool(logged(30)), "a warning is logged")
        await times.next_checks()
        (warning,) = logged(30)
        assert "says 1970-01-01T00:10:01.000Z, which is before 2027-03-01T12:00:00.000Z" in warning
        assert "remove memory.json" in warning
        times.wall = FUTURE.timestamp()
        await eventually(lambda: len(logged(30)) == 2, "the step is logged")
