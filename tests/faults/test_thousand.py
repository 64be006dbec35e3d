"""The start of the daemon, the broker and a thousand meters at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import rounds, slow
from tests.support.broker import eventually, running, watching
from tests.support.daemon import Meter, daemon, emulated
from tests.support.scenario import ROOT

MEMORY = 400_000
"""kB for a thousand meters."""


def resource_usage(pid: int) -> tuple[int, int]:
    """Return the peak memory of a process in kB, and the number of its descriptors."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM"))
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


def tasks_of(health: tuple[int, str]) -> int:
    return int(json.loads(health[1])["tasks"])


@slow
@pytest.mark.timeout(1800)
async def test_a_thousand_meters_at_once(tmp_path: Path, figures: Callable[[str], None]) -> None:
    """All meters are read and announced while the daemon responds to commands."""
    number = min(1000, 10 * rounds(6))
    meters = [
        Meter(
            id=f"m{n}",
            protocol="kmp",
            model="multical_403",
            settings={"serial": f"{n + 1000}"},
            options={"interval": "30s"},
        )
        for n in range(number)
    ]
    (tmp_path / "broker").mkdir()
    # by default Mosquitto drops messages beyond 1000 for a slow subscriber
    settings = ("allow_anonymous true", "max_queued_messages 0")
    with running(tmp_path / "broker", settings, careful=False) as broker:
        async with contextlib.AsyncExitStack() as stack:
            entries = [await stack.enter_async_context(emulated(m, tmp_path)) for m in meters]
            process = await stack.enter_async_context(daemon(tmp_path))
            watcher = await stack.enter_async_context(watching(broker.port))
            process.configure({"host": "127.0.0.1", "port": broker.port}, *entries)
            start = time.monotonic()
            await process.start()

            def online() -> int:
                return sum(watcher.last.get(f"{ROOT}/{m.id}/status") == "online" for m in meters)

            await eventually(lambda: online() == number, "all of them are online", 900)
            await watcher.until(f"{ROOT}/bridge/status", "online", 60)
            all_online = time.monotonic() - start
            request_time = time.monotonic()
            code, output = await process.command("health", "--json")
            response_time = time.monotonic() - request_time
            health = json.loads(output)
            assert code == 0
            assert health["status"] == f"{number} of {number} meters online, broker connected"
            assert all(
                f"homeassistant/device/kamstrup_main_{m.id}/config" in watcher.last for m in meters
            )
            memory, descriptors = resource_usage(process.pid)
            assert memory < MEMORY
            assert descriptors < number + 50
            # the broker restarts: everything is announced again
            broker.kill()
            broker.start()
            await eventually(
                lambda: process.log.count("connected to the broker") == 2, "connected again", 600
            )
            code, output = await process.command("health", "--json")
            assert code == 0
            async with asyncio.timeout(60):
                while tasks_of(await process.command("health", "--json")) > health["tasks"] + 25:
                    pass  # each command takes a while
            assert await process.end(within=30) == 0
            assert "Traceback" not in process.log
            assert process.log.count("kamstrup_mqtt.mqtt: broker: ") == 1
            figures(
                f"{number} meters online after {all_online:.1f} s, health answered in"
                f" {response_time:.2f} s (with the start of its process), at most {memory} kB,"
                f" {descriptors} descriptors, {health['tasks']} tasks"
            )
