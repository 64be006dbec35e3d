"""What lines, bridges and ports do at their worst. The other meter is read all the while."""

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
from tests.support.broker import eventually, running
from tests.support.daemon import Daemon, daemon, emulated
from tests.support.fault_rig import METERS
from tests.support.scenario import Stage, meter_voice

FIRST = meter_voice("first")


def link_state(stage: Stage) -> str:
    return str(stage.health()["meters"]["first"]["link_state"])


def impatient(stage: Stage, id_: str) -> None:
    """The meter is known to send each 0.1 s, not each 10 s: three missed lists are soon over."""
    assert stage.app.components is not None
    listening = stage.app.components.readers[id_]._push_reader
    assert listening is not None
    listening._no_bytes_timeout, listening._no_frames_timeout, listening._reopen_after = (
        1.0,
        1.0,
        2.0,
    )


@pytest.mark.timeout(300)
async def test_a_bridge_resets_its_connections(stage: Stage) -> None:
    for _ in range(min(rounds(2), 20)):
        async with stage.fault(FIRST):
            stage.bridges["first"].reset()
            await stage.until_lost(FIRST)
            await stage.flows("second")


@pytest.mark.timeout(120)
async def test_a_connection_to_a_bridge_is_half_open(
    stage: Stage, expected_logs: list[str]
) -> None:
    """Nothing comes and nothing is closed: noticed by the silence, and opened anew."""
    expected_logs += ["nothing came for"]
    bridge = stage.bridges["first"]
    impatient(stage, "first")
    async with stage.fault(FIRST):
        connections = bridge.accepted
        bridge.black = True
        await stage.until_lost(FIRST)
        await eventually(lambda: link_state(stage) == "no_bytes", "it says why", 20)
        await stage.flows("second")
        await eventually(lambda: bridge.accepted > connections, "opened anew", 30)
        bridge.black = False


@pytest.mark.timeout(120)
async def test_a_bridge_that_serves_somebody_else(stage: Stage) -> None:
    """ser2net's words, then the end of the connection; it is not knocked at without a pause."""
    bridge = stage.bridges["first"]
    async with stage.fault(FIRST):
        bridge.greeting, bridge.closed = b"Port already in use\r\n", True
        bridge.reset()
        await stage.until_lost(FIRST)
        await eventually(lambda: link_state(stage) == "busy", "it says busy", 20)
        connections = bridge.accepted
        await stage.flows("second")
        await asyncio.sleep(1.0)
        assert bridge.accepted - connections <= 3
        bridge.closed = False


@pytest.mark.timeout(180)
async def test_a_line_full_of_noise(stage: Stage) -> None:
    """Most frames are damaged: what comes through is right, and nobody stumbles."""
    bridge = stage.bridges["first"]
    bridge.noise = 0.7
    await eventually(lambda: bridge.damaged > 60, "damaged", 60)
    bridge.noise = 0.0
    await stage.flows()
    await stage.all_there()
    told = stage.records("first")
    assert {record["serial"] for record in told} == {"1" * 16}
    live = [record["readings"] for record in told if record["kind"] == "live"]
    assert {reading["power_import"] for reading in live} == {4187}
    energy = [record["readings"]["energy_import"] for record in told if record["kind"] == "hourly"]
    assert energy == sorted(energy)
    assert energy[-1] - energy[0] < 1  # 4187 W for some seconds


@contextlib.asynccontextmanager
async def at_a_port(path: Path) -> AsyncIterator[Server]:
    make = functools.partial(make_emulator, METERS[0].model, "han", METERS[0].settings)
    server = await serve_pty(make, path, interval=0.1)
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def with_a_port(directory: Path) -> AsyncIterator[Daemon]:
    """The daemon in a process of its own, with a meter at a port that may vanish."""
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        async with daemon(directory) as process, emulated(METERS[1], directory) as other:
            entry = {"id": "first", "name": "First", "protocol": "han", "energy_scale": 10}
            entry |= {"model": METERS[0].model, "port": str(directory / "head")}
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry, other)
            yield process


def told(process: Daemon, part: str, level: str = "") -> int:
    return sum(
        part in line and level in line and "meter.first" in line
        for line in process.log.splitlines()
    )


def seconds_of_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def taking(path: Path) -> Iterator[None]:
    """Hold the pty `path`, which was just closed. The kernel gives the lowest number that is free;
    other tests beside this one take and leave some."""
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
        assert time.monotonic() < end, f"{path} stays somebody else's"
        time.sleep(0.02)


@pytest.mark.timeout(180)
async def test_a_head_is_unplugged_and_comes_back_as_another_device(tmp_path: Path) -> None:
    head = tmp_path / "head"
    async with with_a_port(tmp_path) as process:
        async with at_a_port(head):
            await process.start()
            await eventually(lambda: told(process, "readings come") == 1, "read", 20)
            before = head.readlink()
            descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
        await eventually(lambda: told(process, "WARNING") == 1, "lost", 20)
        used = seconds_of_cpu(process.pid)
        await asyncio.sleep(2.0)
        assert seconds_of_cpu(process.pid) - used < 1.0  # the other meter is read meanwhile
        with taking(before):  # the old number is another's now
            async with at_a_port(head):
                assert head.readlink() != before
                await eventually(lambda: told(process, "come again") == 1, "back", 30)
                assert len(os.listdir(f"/proc/{process.pid}/fd")) <= descriptors + 1
        await eventually(lambda: told(process, "WARNING") == 2, "lost", 20)
        assert told(process, "WARNING") == 2
        assert await process.end() == 0
        assert "Traceback" not in process.log


HOLDER = (
    "import fcntl, sys; port = open(sys.argv[1], 'rb'); fcntl.flock(port, fcntl.LOCK_EX);"
    " print(flush=True); sys.stdin.read()"
)


@pytest.mark.timeout(120)
async def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    """It is named, and the port is taken when it is free."""
    head = tmp_path / "head"
    async with with_a_port(tmp_path) as process, at_a_port(head):
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
            await eventually(lambda: told(process, f"(pid {other.pid})") == 1, "it is named", 20)
            await asyncio.sleep(2.0)
        finally:
            other.stdin.close()
            await other.wait()
        await eventually(lambda: told(process, "come again") == 1, "taken", 30)
        assert told(process, "WARNING") == 1
        assert await process.end() == 0
