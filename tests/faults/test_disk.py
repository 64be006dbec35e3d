"""The disk under the history and the memory is full, read-only, corrupt. The user is told in one
line, readings go on, and once it is repaired everything is as before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.test_kills import spooling, stored
from tests.support.broker import eventually, running
from tests.support.daemon import Daemon, daemon, emulated
from tests.support.fault_rig import METERS
from tests.support.scenario import burden, staged

Messages = list[str]
FAILING = "history continues in memory: "


@contextlib.contextmanager
def small_disk(directory: Path, size: str = "1m") -> Iterator[Path]:
    """A file system of its own, which only root can mount."""
    at = directory / "disk"
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", at], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system of its own needs root")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def fill(at: Path) -> Path:
    filler = at / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"0")
    return filler


def remount(at: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", at], check=True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_the_disk_is_full(
    tmp_path: Path, mode: str, expected_logs: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    expected_logs += ["broker: ", "the bridge closed", FAILING, "memory.json cannot be written"]
    expected_logs += ["were neither delivered nor stored"]  # at the end, should the test fail
    with small_disk(tmp_path) as disk:
        async with staged(tmp_path, caplog, mode=mode, state=disk) as stage:
            before = burden()
            filler = fill(disk)
            if mode == "offline":
                stage.proxy.closed = True
                stage.proxy.reset()
            history = "kamstrup_mqtt.storage.history"
            await eventually(lambda: len(stage.said(history, 30)) > 0, "it is told", 40)
            told = f"{FAILING}{disk}/history.db: database or disk is full; free or repair the disk"
            assert stage.said(history, 30)[0] == told
            await asyncio.sleep(1.0)
            stage.proxy.closed = False
            await stage.flows()
            filler.unlink()
            if mode == "offline":
                stage.proxy.closed = True
                stage.proxy.reset()
            await eventually(
                lambda: stage.said(history)[-1] == "history: the spool can be written again",
                "written again",
                40,
            )
            stage.proxy.closed = False
            await stage.flows()
            # told again only where something fitted in between
            back = stage.said(history).count("history: the spool can be written again")
            assert stage.said(history, 30) == [told] * back
            await stage.all_there()
            await stage.flat(before)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_the_disk_is_read_only_for_a_while(
    tmp_path: Path, mode: str, expected_logs: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    """From the start on; a mount that is in use cannot be made read-only by the test."""
    expected_logs += ["broker: ", "the bridge closed", FAILING, "memory.json cannot be written"]
    expected_logs += ["no control socket"]  # it is in the same directory here
    with small_disk(tmp_path, "64m") as disk:
        remount(disk, "ro")
        async with staged(tmp_path, caplog, mode=mode, state=disk) as stage:
            history = "kamstrup_mqtt.storage.history"
            await eventually(lambda: len(stage.said(history, 30)) > 0, "it is told", 40)
            (told,) = stage.said(history, 30)
            assert told == (
                f"{FAILING}{disk}/history.db: unable to open database file (Read-only file"
                " system); free or repair the disk"
            )
            (memory,) = stage.said("kamstrup_mqtt.storage.state_file", 30)
            assert memory.startswith(f"{disk}/memory.json cannot be written (Read-only file ")
            stage.proxy.reset()
            await stage.until_lost()
            await stage.flows()
            await stage.all_there()
            remount(disk, "rw")
            stage.proxy.closed = True
            stage.proxy.reset()
            await eventually(
                lambda: stage.said(history)[-1] == "history: the spool can be written again",
                "written again",
                40,
            )
            await eventually(lambda: stage.health()["history"]["on_disk"] > 5, "it spools", 20)
            stage.proxy.closed = False
            await stage.flows()
            assert stage.said(history, 30) == [told]
            await stage.all_there()
            async with stage.fault():
                stage.proxy.reset()
                await stage.until_lost()


@pytest.mark.timeout(180)
async def test_the_file_is_damaged_while_it_is_used(
    tmp_path: Path, expected_logs: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    """It is set aside, and a new one made: what was only in it is lost, what comes is not."""
    expected_logs += ["broker: ", "the bridge closed", "history.db is corrupt", FAILING]
    async with staged(tmp_path, caplog, mode="always") as stage:
        before = burden()
        await stage.all_there()
        file = tmp_path / "history.db"
        with contextlib.closing(sqlite3.connect(file, timeout=10)) as other:
            other.execute("CREATE TABLE another (it INTEGER)")  # what is cached is old now
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.write_bytes(os.urandom(file.stat().st_size))
        spool = "kamstrup_mqtt.storage.spool"
        await eventually(lambda: len(stage.said(spool, 30)) > 0, "it is told", 40)
        (told,) = stage.said(spool, 30)
        assert told.startswith(f"{file} is corrupt (")
        assert told.endswith("); set aside as history.db.corrupt-1, going on with a new one")
        assert (tmp_path / "history.db.corrupt-1").exists()
        await stage.flows()
        assert stage.said(spool, 30) == [told]
        await stage.flat(before)


@contextlib.asynccontextmanager
async def told_at_the_start(directory: Path, state: Path) -> AsyncIterator[Daemon]:
    """The daemon in a process of its own, with `state` as it is."""
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        async with emulated(METERS[0], directory) as entry, daemon(directory) as process:
            process.environment = {"STATE_DIRECTORY": str(state)}
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            spooling(process, {"mode": "always"})
            await process.start()
            await eventually(lambda: "connected to the broker" in process.log, "connected", 20)
            await eventually(lambda: "meter.first: readings come" in process.log, "read", 20)
            yield process
            assert await process.end() == 0
            assert "Traceback" not in process.log


def warnings(process: Daemon) -> Messages:
    return [line for line in process.log.splitlines() if "WARNING" in line or "ERROR" in line]


@pytest.mark.timeout(60)
async def test_a_read_only_state_directory_at_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        remount(disk, "ro")
        async with told_at_the_start(tmp_path, disk) as process:
            await eventually(lambda: len(warnings(process)) >= 2, "told", 20)
        memory, history = sorted(warnings(process), key=lambda line: "history" in line)[:2]
        assert "memory.json cannot be written (Read-only file system)" in memory
        assert "set STATE_DIRECTORY" in memory
        assert f"{FAILING}{disk}/history.db: unable to open database file (Read-only" in history
        # at the end the records that nobody has are counted, if there are any
        assert len(warnings(process)) <= 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("history.db", lambda file: file.write_bytes(b"this is no database, but text" * 99)),
        ("memory.json", lambda file: file.write_text('{"version": 1, "meters": {"first": ')),
    ],
)
async def test_a_corrupt_file_at_the_start(
    tmp_path: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    spoil(state / name)
    async with told_at_the_start(tmp_path, state) as process:
        await eventually(lambda: len(warnings(process)) == 1, "told", 20)
        assert f"{state}/{name}" in warnings(process)[0]
        assert "set aside as" in warnings(process)[0]
        assert [path.name for path in state.glob(f"{name}.*-1")]
    assert len(warnings(process)) == 1
    if name == "history.db":
        with contextlib.closing(sqlite3.connect(state / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.timeout(60)
async def test_stopped_while_the_broker_is_away_and_started_again(tmp_path: Path) -> None:
    """SIGTERM: within 5 s, and what is not delivered is on disk; the next run delivers it."""
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with emulated(METERS[0], tmp_path) as entry, daemon(tmp_path) as process:
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            await process.start()
            await eventually(lambda: "connected to the broker" in process.log, "connected", 20)
            broker.stop()
            await eventually(lambda: "broker: " in process.log, "lost", 20)
            await asyncio.sleep(1.0)
            assert await process.end(within=5.5) == 0
            left = stored(tmp_path / "state" / "history.db")
            assert len(left) >= 15
            assert process.log.count("WARNING") == 1
            broker.start()
            await process.start()
            await eventually(
                lambda: f"history: {len(left)} records of an earlier run" in process.log, "told", 20
            )
            await eventually(
                lambda: (
                    not left & stored(tmp_path / "state" / "history.db")
                    or process.log.count("connected to the broker") == 2
                ),
                "connected again",
                20,
            )
            assert await process.end() == 0
