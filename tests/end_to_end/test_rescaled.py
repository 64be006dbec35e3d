"""A changed `energy_scale`: totals are held back until they are accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.broker import Watcher, eventually, running, watching
from tests.support.daemon import Meter, daemon, emulated

BASE = "kamstrup/main/main"
METER = Meter(
    id="main",
    protocol="han",
    model="kamstrup_han_3phase",
    settings={"hourly": "always", "power_import": "0", "energy_import": "44228.00"},
    options={"energy_scale": 10},
    push_interval=0.1,
)
HELD = (
    "energy_scale is 1, but the totals were published with 10 Wh per count: they are held back."
    " Set `energy_scale` back to 10, or let `kamstrup-mqtt accept METER` take 1"
)


def says(watcher: Watcher, topic: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(watcher.last.get(f"{BASE}/{topic}", "{}"))
    return found


async def test_another_energy_scale_is_held_back_until_it_is_accepted(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        async with watching(broker.port) as watcher, daemon(tmp_path) as process:

            def hourly() -> dict[str, Any]:
                return says(watcher, "state/hourly")

            def live() -> Any:
                return says(watcher, "state/live").get("energy_import_live")

            async with emulated(METER, tmp_path) as entry:
                mqtt = {"host": "127.0.0.1", "port": broker.port}
                process.configure(mqtt, entry)
                await process.start()
                await eventually(
                    lambda: live() == 44228 == hourly().get("energy_import"), "as 10", 20
                )
                await process.end()
                process.configure(mqtt, {**entry, "energy_scale": 1})
                seen = len(watcher.seen)
                await process.start()
                await eventually(
                    lambda: says(watcher, "diagnostics").get("problem") == HELD, "held back", 20
                )
                await eventually(lambda: hourly().get("energy_import") is None, "no total", 20)
                states = [json.loads(p) for t, p in watcher.seen[seen:] if "/state/" in t]
                totals = {s.get("energy_import", s.get("energy_import_live")) for s in states}
                assert totals <= {44228, None}
                assert process.log.count(HELD) == 1
                assert await process.command("accept", "main") == (
                    0,
                    "main: accepted energy_scale 1\n",
                )
                await eventually(
                    lambda: (hourly().get("energy_import"), live()) == (4422.8, 4422.8), "as 1", 20
                )
                await process.end()
                # the acceptance is stored
                await process.start()
                await eventually(lambda: process.log.count("connected to the broker") == 3, "again")
                await eventually(lambda: live() == 4422.8, "still as 1", 20)
                await eventually(
                    lambda: says(watcher, "diagnostics")["problem"] is None, "no problem", 20
                )
                await process.end()
                assert process.log.count(HELD) == 1
                assert "is held back" not in process.log
