"""A power cut ends: the daemon, the broker and a thousand meters at once."""

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


def taken_by(pid: int) -> tuple[int, int]:
    """The most memory that a process ever had, in kB, and its descriptors."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM"))
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


@slow
@pytest.mark.timeout(1800)
async def test_a_thousand_meters_at_once(tmp_path: Path, figures: Callable[[str], None]) -> None:
    """All are read and announced; meanwhile the loop answers, and connects are spread out."""
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
    # by default Mosquitto keeps 1000 messages for a subscriber that is slower, and drops the others
    settings = ("allow_anonymous true", "max_queued_messages 0")
    with running(tmp_path / "broker", settings, careful=False) as broker:
        async with contextlib.AsyncExitStack() as stack:
            entries = [await stack.enter_async_context(emulated(m, tmp_path)) for m in meters]
            process = await stack.enter_async_context(daemon(tmp_path))
            watcher = await stack.enter_async_context(watching(broker.port))
            process.configure({"host": "127.0.0.1", "port": broker.port}, *entries)
            begun = time.monotonic()
            await process.start()

            def online() -> int:
                return sum(watcher.last.get(f"{ROOT}/{m.id}/status") == "online" for m in meters)

            await eventually(lambda: online() == number, "all of them are online", 900)
            await watcher.until(f"{ROOT}/bridge/status", "online", 60)
            all_online = time.monotonic() - begun
            asked = time.monotonic()
            code, said = await process.command("health", "--json")
            answered = time.monotonic() - asked
            health = json.loads(said)
            assert code == 0
            assert health["status"] == f"{number} of {number} meters online, broker connected"
            assert all(
                f"homeassistant/device/kamstrup_main_{m.id}/config" in watcher.last for m in meters
            )
            memory, descriptors = taken_by(process.pid)
            assert memory < MEMORY
            assert descriptors < number + 50
            # the broker goes as well, and comes back: everything is announced again
            broker.kill()
            broker.start()
            await eventually(
                lambda: process.log.count("connected to the broker") == 2, "connected again", 600
            )
            code, said = await process.command("health", "--json")
            assert code == 0
            await asyncio.sleep(1.0)
            again = json.loads((await process.command("health", "--json"))[1])
            assert again["tasks"] <= health["tasks"] + 25
            assert await process.end(within=30) == 0
            assert "Traceback" not in process.log
            assert process.log.count("publisher: broker: ") == 1
            figures(
                f"{number} meters online after {all_online:.1f} s, health answered in"
                f" {answered:.2f} s (with the start of its process), at most {memory} kB,"
                f" {descriptors} descriptors, {health['tasks']} tasks"
            )
