"""A full, read-only or corrupt disk under the history and the state file.

The log has one line, readings go on, and the spool is used again after the repair."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.test_kills import configure_spool, stored_records
from tests.support.broker import eventually, running
from tests.support.daemon import Daemon, daemon, emulated
from tests.support.fault_rig import METERS
from tests.support.scenario import resource_usage, running_scenario

Messages = list[str]
FAILING = "history continues in memory: "


@contextlib.contextmanager
def small_disk(directory: Path, size: str = "16m") -> Iterator[Path]:
    """Mount a small file system, which needs root.

    It has room for the journal of SQLite, 4 MB, and for the records of a slow machine.
    """
    at = directory / "disk"
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", at], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"0")
    return filler


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_the_disk_is_full(
    tmp_path: Path, mode: str, expected_logs: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    expected_logs += ["broker: ", "the bridge closed", FAILING, "memory.json cannot be written"]
    expected_logs += ["neither delivered nor stored"]  # at the end if the test fails
    with small_disk(tmp_path) as disk:
        async with running_scenario(tmp_path, caplog, mode=mode, state=disk) as scenario:
            before = resource_usage()
            filler = fill(disk)
            if mode == "offline":
                scenario.proxy.refuses = True
                scenario.proxy.reset()
            history = "kamstrup_mqtt.storage.history"
            await eventually(
                lambda: len(scenario.messages(history, 30)) > 0, "the fault is logged", 40
            )
            message = (
                f"{FAILING}{disk}/history.db: database or disk is full; free or repair the disk"
            )
            assert scenario.messages(history, 30)[0] == message
            await scenario.wait_for_frames(20)
            scenario.proxy.refuses = False
            await scenario.wait_for_records()
            filler.unlink()
            if mode == "offline":
                scenario.proxy.refuses = True
                scenario.proxy.reset()
            await eventually(
                lambda: scenario.messages(history)[-1] == "history: the spool can be written again",
                "written again",
                40,
            )
            scenario.proxy.refuses = False
            await scenario.wait_for_records()
            # logged again only if a write succeeded in between
            back = scenario.messages(history).count("history: the spool can be written again")
            assert scenario.messages(history, 30) == [message] * back
            await scenario.wait_for_accepted()
            await scenario.assert_no_growth(before)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_the_disk_is_read_only_for_a_while(
    tmp_path: Path, mode: str, expected_logs: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    """Read-only from the start, because a mount in use cannot be made read-only."""
    expected_logs += ["broker: ", "the bridge closed", FAILING, "memory.json cannot be written"]
    expected_logs += ["no control socket"]  # in the same directory here
    with small_disk(tmp_path, "64m") as disk:
        remount(disk, "ro")
        async with running_scenario(tmp_path, caplog, mode=mode, state=disk) as scenario:
            history = "kamstrup_mqtt.storage.history"
            await eventually(
                lambda: len(scenario.messages(history, 30)) > 0, "the fault is logged", 40
            )
            (message,) = scenario.messages(history, 30)
            assert message == (
                f"{FAILING}{disk}/history.db: unable to open database file (Read-only file"
                " system); free or repair the disk"
            )
            (memory,) = scenario.messages("kamstrup_mqtt.storage.state_file", 30)
            assert memory.startswith(f"{disk}/memory.json cannot be written (Read-only file ")
            scenario.proxy.reset()
            await scenario.wait_until_lost()
            await scenario.wait_for_records()
            await scenario.wait_for_accepted()
            remount(disk, "rw")
            scenario.proxy.refuses = True
            scenario.proxy.reset()
            await eventually(
                lambda: scenario.messages(history)[-1] == "history: the spool can be written again",
                "written again",
                40,
            )
            await eventually(lambda: scenario.health()["history"]["on_disk"] > 5, "it spools", 20)
            scenario.proxy.refuses = False
            await scenario.wait_for_records()
            assert scenario.messages(history, 30) == [message]
            await scenario.wait_for_accepted()
            async with scenario.fault():
                scenario.proxy.reset()
                await scenario.wait_until_lost()


@pytest.mark.timeout(180)
async def test_the_file_is_damaged_while_it_is_open(
    tmp_path: Path, expected_logs: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is set aside and replaced. Only records in the damaged file are lost."""
    expected_logs += ["broker: ", "the bridge closed", "history.db is corrupt", FAILING]
    async with running_scenario(tmp_path, caplog, mode="always") as scenario:
        before = resource_usage()
        await scenario.wait_for_accepted()
        file = tmp_path / "history.db"
        with contextlib.closing(sqlite3.connect(file, timeout=10)) as other:
            other.execute("CREATE TABLE another (it INTEGER)")  # invalidates the cached pages
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.write_bytes(os.urandom(file.stat().st_size))
        spool = "kamstrup_mqtt.storage.spool"
        await eventually(lambda: len(scenario.messages(spool, 30)) > 0, "the fault is logged", 40)
        (message,) = scenario.messages(spool, 30)
        assert message.startswith(f"{file} is corrupt (")
        assert message.endswith("); set aside as history.db.corrupt-1, a new one is used")
        assert (tmp_path / "history.db.corrupt-1").exists()
        await scenario.wait_for_records()
        assert scenario.messages(spool, 30) == [message]
        await scenario.assert_no_growth(before)


@contextlib.asynccontextmanager
async def daemon_with_state(directory: Path, state: Path) -> AsyncIterator[Daemon]:
    """Run the daemon in a separate process on the state directory `state`."""
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        async with emulated(METERS[0], directory) as entry, daemon(directory) as process:
            process.environment = {"STATE_DIRECTORY": str(state)}
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            configure_spool(process, {"mode": "always"})
            await process.start()
            await eventually(lambda: "connected to the broker" in process.log, "connected", 20)
            await eventually(lambda: "meter.first: readings arrive" in process.log, "read", 20)
            yield process
            assert await process.end() == 0
            assert "Traceback" not in process.log


def warnings(process: Daemon) -> Messages:
    return [line for line in process.log.splitlines() if "WARNING" in line or "ERROR" in line]


@pytest.mark.timeout(60)
async def test_a_read_only_state_directory_at_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        remount(disk, "ro")
        async with daemon_with_state(tmp_path, disk) as process:
            await eventually(lambda: len(warnings(process)) >= 2, "message", 20)
        memory, history = sorted(warnings(process), key=lambda line: "history" in line)[:2]
        assert "memory.json cannot be written (Read-only file system)" in memory
        assert "set STATE_DIRECTORY" in memory
        assert f"{FAILING}{disk}/history.db: unable to open database file (Read-only" in history
        # at the end a warning may count the records that are not delivered
        assert len(warnings(process)) <= 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "corrupt"),
    [
        ("history.db", lambda file: file.write_bytes(b"this is no database, but text" * 99)),
        ("memory.json", lambda file: file.write_text('{"version": 1, "meters": {"first": ')),
    ],
)
async def test_a_corrupt_file_at_the_start(
    tmp_path: Path, name: str, corrupt: Callable[[Path], object]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    corrupt(state / name)
    async with daemon_with_state(tmp_path, state) as process:
        await eventually(lambda: len(warnings(process)) == 1, "message", 20)
        assert f"{state}/{name}" in warnings(process)[0]
        assert "set aside as" in warnings(process)[0]
        assert [path.name for path in state.glob(f"{name}.*-1")]
    assert len(warnings(process)) == 1
    if name == "history.db":
        with contextlib.closing(sqlite3.connect(state / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.timeout(60)
async def test_stopped_while_the_broker_is_away_and_started_again(tmp_path: Path) -> None:
    """SIGTERM ends it within 5 s; the next run delivers the records on disk."""
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with emulated(METERS[0], tmp_path) as entry, daemon(tmp_path) as process:
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            await process.start()
            await eventually(lambda: "connected to the broker" in process.log, "connected", 20)
            broker.stop()
            await eventually(lambda: "broker: " in process.log, "lost", 20)
            spool = tmp_path / "state" / "history.db"
            await eventually(lambda: len(stored_records(spool)) >= 15, "records are stored", 20)
            assert await process.end(within=5.5) == 0
            left = stored_records(spool)
            assert process.log.count("WARNING") == 1
            broker.start()
            await process.start()
            await eventually(
                lambda: f"history: {len(left)} records of an earlier run" in process.log,
                "message",
                20,
            )
            await eventually(
                lambda: (
                    not left & stored_records(spool)
                    or process.log.count("connected to the broker") == 2
                ),
                "connected again",
                20,
            )
            assert await process.end() == 0
