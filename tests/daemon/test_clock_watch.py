"""The host's clock is set, or never right."""

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
AHEAD = datetime(2036, 3, 1, 12, 0, tzinfo=UTC)
Messages = Callable[..., list[str]]


class Times:
    """A host's clock in the hand of the test."""

    def __init__(self, wall: datetime) -> None:
        self.wall, self.mono = wall.timestamp(), 1000.0
        self.clock = Clock(lambda: self.wall, lambda: self.mono)


@contextlib.asynccontextmanager
async def watched(times: Times, memory: StateFile) -> AsyncIterator[None]:
    watch = ClockWatch(times.clock, memory, ReportQueue(), {}, lambda: True, interval=0.005)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0.02)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_the_defaults() -> None:
    assert (INTERVAL, UNSET_WARNING_DELAY) == (5.0, 600.0)


async def test_a_clock_that_was_years_ahead_is_believed_by_the_next_run(
    tmp_path: Path, expected_logs: list[str], logged: Messages
) -> None:
    """What was stamped in 2036 must not keep the next run from believing 2027."""
    expected_logs += ["the host's clock was set by -"]
    times = Times(AHEAD)
    memory = StateFile(tmp_path / "memory.json", times.clock)
    memory.open()
    reader, device = memory.meter("heat")
    reader.last_poll = AHEAD
    reader.last_read["values"] = AHEAD
    device.readings["values"] = LastReading(AHEAD, {"volume": Decimal(1)})
    device.readings["slow"] = LastReading(NOW - timedelta(days=1), {"volume": Decimal(1)})
    device.readings["never"] = LastReading(None, {})
    reader.totals["volume"] = LastTotal(Decimal(1), AHEAD)
    memory.meter("never polled")
    async with watched(times, memory):
        times.wall = NOW.timestamp()
        await eventually(lambda: bool(logged(30)), "the step is told")
    memory.close()
    stored = json.loads((tmp_path / "memory.json").read_text())["meters"]["heat"]
    device_part, reader_part = stored["device"], stored["reader"]
    assert reader_part["last_read"]["values"] == "2027-03-01T12:00:00.000Z"
    assert reader_part["last_poll"] == "2027-03-01T12:00:00.000Z"
    assert device_part["readings"]["values"]["time"] == "2027-03-01T12:00:00.000Z"
    assert device_part["readings"]["slow"]["time"] == "2027-02-28T12:00:00.000Z"
    assert reader_part["totals"]["volume"]["time"] == "2027-03-01T12:00:00.000Z"
    again = Clock(lambda: NOW.timestamp() + 1)
    StateFile(tmp_path / "memory.json", again).open()
    assert again.now() == NOW + timedelta(seconds=1)


async def test_a_clock_that_stays_wrong_is_told_once(
    tmp_path: Path, expected_logs: list[str], logged: Messages
) -> None:
    expected_logs += ["the host's clock"]
    times = Times(datetime(1970, 1, 1, tzinfo=UTC))
    times.clock.not_before = NOW
    async with watched(times, StateFile(None, times.clock)):
        times.mono += 599
        times.wall += 599
        await asyncio.sleep(0.05)
        assert logged(30) == []  # it may take a while until a network tells the time
        times.mono += 2
        times.wall += 2
        await eventually(lambda: bool(logged(30)), "it is told")
        await asyncio.sleep(0.05)
        (warning,) = logged(30)
        assert "says 1970-01-01T00:10:01.000Z, which is before 2027-03-01T12:00:00.000Z" in warning
        assert "remove memory.json" in warning
        times.wall = AHEAD.timestamp()
        await eventually(lambda: len(logged(30)) == 2, "the step is told")
