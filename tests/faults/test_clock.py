"""Jumps of the host's clock while the daemon runs in a separate process."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults import slow
from tests.support.broker import eventually, running, watching
from tests.support.daemon import Daemon, daemon, emulated
from tests.support.fault_rig import METERS
from tests.support.history_recorder import check_records, recording
from tests.support.scenario import ROOT

JUMPING = """
import time
_time = time.time
def jumped():
    try:
        with open({file!r}) as file:
            return _time() + float(file.read() or 0)
    except OSError:
        return _time()
time.time = jumped
"""
YEAR = 365 * 86400.0


def jumping_clock(process: Daemon, directory: Path) -> Path:
    """Make the daemon's wall clock the host's plus the seconds in the returned file."""
    ahead = directory / "ahead"
    (directory / "sitecustomize.py").write_text(JUMPING.format(file=str(ahead)))
    process.environment = {"PYTHONPATH": str(directory)}
    return ahead


@slow
@pytest.mark.timeout(300)
async def test_the_clock_jumps(tmp_path: Path) -> None:
    """Jumps by an hour and by years: no record is lost, and no meter goes offline."""
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            recording(broker.port) as recorder,
            emulated(METERS[0], tmp_path) as entry,
            daemon(tmp_path) as process,
            watching(broker.port) as watcher,
        ):
            ahead = jumping_clock(process, tmp_path)
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            await process.start()
            await watcher.until(f"{ROOT}/first/status", "online", 20)
            for jumps, seconds in enumerate((3600.0, -3600.0, 9 * YEAR, 0.0), 1):
                ahead.write_text(str(seconds))
                await eventually(
                    lambda jumps=jumps: process.log.count("clock was set by") == jumps,  # type: ignore[misc]
                    "the step is logged",
                    20,
                )
                before = len(recorder.seen)
                await eventually(lambda n=before: len(recorder.seen) > n + 10, "records", 20)  # type: ignore[misc]
                assert clock_error(recorder.seen[-1], seconds) < timedelta(seconds=30)
                assert watcher.last[f"{ROOT}/first/status"] == "online"
                code, output = await process.command("health")
                assert code == 0, output
            assert watcher.seen.count((f"{ROOT}/first/status", "offline")) == 0
            check_records(recorder.seen, set())
            assert process.log.count("WARNING") == 4
            assert await process.end() == 0
            # the next run accepts the clock although it was nine years ahead before
            memory = json.loads((tmp_path / "state" / "memory.json").read_text())
            assert memory["meters"]["first"]["device"]["readings"]["live"]["time"] < "2035"
            await process.start()
            before = len(recorder.seen)
            await eventually(lambda: len(recorder.seen) > before + 10, "records", 20)
            assert clock_error(recorder.seen[-1], 0.0) < timedelta(seconds=30)
            assert await process.end() == 0
            assert "Traceback" not in process.log


def clock_error(payload: str, seconds: float) -> timedelta:
    published = datetime.fromisoformat(json.loads(payload)["time"])
    return abs(published - datetime.fromtimestamp(time.time() + seconds, UTC))


@pytest.mark.timeout(120)
async def test_the_clock_is_not_set_at_the_start(tmp_path: Path) -> None:
    """A Pi without a network starts in 1970; times are null until the clock is set."""
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            recording(broker.port) as recorder,
            emulated(METERS[0], tmp_path) as entry,
            daemon(tmp_path) as process,
        ):
            ahead = jumping_clock(process, tmp_path)
            ahead.write_text(str(-time.time()))
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            await process.start()
            await eventually(lambda: len(recorder.seen) > 10, "records", 20)
            assert {json.loads(payload)["time"] for payload in recorder.seen} == {None}
            ahead.write_text("0")
            await eventually(
                lambda: json.loads(recorder.seen[-1])["time"] is not None, "the time is known", 20
            )
            await eventually(lambda: "clock was set by" in process.log, "the step is logged", 20)
            assert clock_error(recorder.seen[-1], 0.0) < timedelta(seconds=30)
            check_records(recorder.seen, set())
            assert await process.end() == 0
