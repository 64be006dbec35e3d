"""The daemon is killed repeatedly: no published total decreases."""

from __future__ import annotations

import json
import signal
from decimal import Decimal
from pathlib import Path

from tests.support.broker import Watcher, eventually, running, watching
from tests.support.daemon import Meter, daemon, emulated

LIVE, HOURLY = "kamstrup/main/main/state/live", "kamstrup/main/main/state/hourly"
METER = Meter(
    id="main",
    protocol="han",
    model="kamstrup_han_3phase",
    # 1 Wh per second and a register in steps of 10 Wh: a live counter that restarts from the
    # register would be less than before
    settings={"hourly": "always", "power_import": "3600", "energy_import": "44228.00"},
    options={"energy_scale": 10},
    push_interval=0.1,
)


def published(watcher: Watcher, topic: str, key: str) -> list[Decimal]:
    states = [json.loads(payload, parse_float=Decimal) for t, payload in watcher.seen if t == topic]
    return [Decimal(state[key]) for state in states if state.get(key) is not None]


async def test_a_killed_daemon_continues_from_the_published_values(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        async with (
            watching(broker.port) as watcher,
            emulated(METER, tmp_path) as entry,
            daemon(tmp_path) as process,
        ):
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            for ends in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
                before = published(watcher, LIVE, "energy_import_live")
                await process.start()
                await eventually(
                    lambda before=before: (  # type: ignore[misc]
                        max(published(watcher, LIVE, "energy_import_live"), default=Decimal(0))
                        >= max(before, default=Decimal("44228")) + Decimal("0.002")
                    ),
                    "the counter counts",
                    20,
                )
                await process.end(ends)
            for topic, key in ((LIVE, "energy_import_live"), (HOURLY, "energy_import")):
                values = published(watcher, topic, key)
                assert values == sorted(values), key
            shown = [json.loads(p)["energy_import_live"] for t, p in watcher.seen if t == LIVE]
            first = next(n for n, value in enumerate(shown) if value is not None)
            assert None not in shown[first:]  # it keeps its value until it counts
            assert "WARNING" not in process.log
