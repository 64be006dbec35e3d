"""Faults of lines, bridges and ports. The other meter is read meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import Server, serve_pty
from tests.faults import rounds
from tests.support.broker import POLL_INTERVAL, eventually, running
from tests.support.daemon import Daemon, daemon, emulated
from tests.support.fault_rig import METERS
from tests.support.scenario import Scenario, meter_log

FIRST_LOG = meter_log("first")


def link_state(scenario: Scenario) -> str:
    return str(scenario.health()["meters"]["first"]["link_state"])


def expect_frequent_lists(scenario: Scenario, id_: str) -> None:
    """Shorten the timeouts of the reader to those of a meter that sends every 0.1 s."""
    push_reader = scenario.app.components.readers[id_]._push_reader
    assert push_reader is not None
    push_reader._no_bytes_timeout, push_reader._no_frames_timeout, push_reader._reopen_after = (
        1.0,
        1.0,
        2.0,
    )


@pytest.mark.timeout(300)
async def test_a_bridge_resets_its_connections(scenario: Scenario) -> None:
    for _ in range(min(rounds(2), 20)):
        async with scenario.fault(FIRST_LOG):
            scenario.bridges["first"].reset()
            await scenario.wait_until_lost(FIRST_LOG)
            await scenario.wait_for_records("second")


@pytest.mark.timeout(120)
async def test_a_connection_to_a_bridge_is_half_open(
    scenario: Scenario, expected_logs: list[str]
) -> None:
    """No bytes and no end of the connection: it is detected by the silence and reopened."""
    expected_logs += ["nothing came for"]
    bridge = scenario.bridges["first"]
    expect_frequent_lists(scenario, "first")
    async with scenario.fault(FIRST_LOG):
        connections = bridge.accepted
        bridge.is_stalled = True
        await scenario.wait_until_lost(FIRST_LOG)
        await eventually(lambda: link_state(scenario) == "no_bytes", "the state of the link", 20)
        await scenario.wait_for_records("second")
        await eventually(lambda: bridge.accepted > connections, "reopened", 30)
        bridge.is_stalled = False


@pytest.mark.timeout(120)
async def test_a_bridge_that_serves_another_client(scenario: Scenario) -> None:
    """The message of ser2net, then the end of the connection: retried with pauses."""
    bridge = scenario.bridges["first"]
    async with scenario.fault(FIRST_LOG):
        bridge.greeting, bridge.refuses = b"Port already in use\r\n", True
        bridge.reset()
        await scenario.wait_until_lost(FIRST_LOG)
        await eventually(lambda: link_state(scenario) == "busy", "the link is busy", 20)
        connections = bridge.accepted
        await scenario.wait_for_records("second")
        await asyncio.sleep(1.0)  # the pause between attempts is the subject
        assert bridge.accepted - connections <= 3
        bridge.refuses = False


@pytest.mark.timeout(180)
async def test_a_line_full_of_noise(scenario: Scenario) -> None:
    """Most frames are damaged; the published readings are right."""
    bridge = scenario.bridges["first"]
    bridge.noise = 0.7
    await eventually(lambda: bridge.damaged > 60, "damaged", 60)
    bridge.noise = 0.0
    await scenario.wait_for_records()
    await scenario.wait_for_accepted()
    records = scenario.records("first")
    assert {record["serial"] for record in records} == {"1" * 16}
    live = [record["readings"] for record in records if record["kind"] == "live"]
    assert {reading["power_import"] for reading in live} == {4187}
    energy = [
        record["readings"]["energy_import"] for record in records if record["kind"] == "hourly"
    ]
    assert energy == sorted(energy)
    assert energy[-1] - energy[0] < 1  # 4187 W for some seconds


@contextlib.asynccontextmanager
async def meter_at(path: Path) -> AsyncIterator[Server]:
    make = functools.partial(make_emulator, METERS[0].model, "han", METERS[0].settings)
    server = await serve_pty(make, path, interval=0.1)
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def daemon_with_port(directory: Path) -> AsyncIterator[Daemon]:
    """Provide a daemon in a separate process, with a meter at a port that may vanish."""
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        async with daemon(directory) as process, emulated(METERS[1], directory) as other:
            entry = {"id": "first", "name": "First", "protocol": "han", "energy_scale": 10}
            entry |= {"model": METERS[0].model, "port": str(directory / "head")}
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry, other)
            yield process


def count_messages(process: Daemon, part: str, level: str = "") -> int:
    return sum(
        part in line and level in line and "meter.first" in line
        for line in process.log.splitlines()
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def occupied(path: Path) -> Iterator[None]:
    """Occupy the pty `path`, which was just closed.

    The kernel assigns the lowest free number. Parallel tests open and close ptys as well.
    """
    end = time.monotonic() + 20
    while True:
        with contextlib.ExitStack() as stack:
            for _ in range(int(path.name) + 1):
                master, slave = os.openpty()
                stack.callback(os.close, master)
                stack.callback(os.close, slave)
                if os.ttyname(slave) == str(path):
                    yield
                    return
        assert time.monotonic() < end, f"{path} stays in use"
        time.sleep(POLL_INTERVAL)


@pytest.mark.timeout(180)
async def test_a_head_is_replugged_as_another_device(tmp_path: Path) -> None:
    head = tmp_path / "head"
    async with daemon_with_port(tmp_path) as process:
        async with meter_at(head):
            await process.start()
            await eventually(lambda: count_messages(process, "readings arrive") == 1, "read", 20)
            before = head.readlink()
            descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
        await eventually(lambda: count_messages(process, "WARNING") == 1, "lost", 20)
        used = cpu_seconds(process.pid)
        await asyncio.sleep(2.0)  # the load during this time is the subject
        assert cpu_seconds(process.pid) - used < 1.0  # with the other meter
        with occupied(before):  # the old number is in use
            async with meter_at(head):
                assert head.readlink() != before
                await eventually(lambda: count_messages(process, "arrive again") == 1, "back", 30)
                assert len(os.listdir(f"/proc/{process.pid}/fd")) <= descriptors + 1
        await eventually(lambda: count_messages(process, "WARNING") == 2, "lost", 20)
        assert count_messages(process, "WARNING") == 2
        assert await process.end() == 0
        assert "Traceback" not in process.log


HOLDER = (
    "import fcntl, sys; port = open(sys.argv[1], 'rb'); fcntl.flock(port, fcntl.LOCK_EX);"
    " print(flush=True); sys.stdin.read()"
)


@pytest.mark.timeout(120)
async def test_a_port_that_another_program_uses(tmp_path: Path) -> None:
    """The program is named, and the port is opened once it is free."""
    head = tmp_path / "head"
    async with daemon_with_port(tmp_path) as process, meter_at(head):
        other = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HOLDER, str(head)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert other.stdout is not None
        assert other.stdin is not None
        try:
            await other.stdout.readline()
            await process.start()
            await eventually(
                lambda: count_messages(process, f"(pid {other.pid})") == 1,
                "the program is named",
                20,
            )
            await asyncio.sleep(2.0)  # further attempts in this time are not logged
        finally:
            other.stdin.close()
            await other.wait()
        await eventually(lambda: count_messages(process, "arrive again") == 1, "opened", 30)
        assert count_messages(process, "WARNING") == 1
        assert await process.end() == 0
