"""The installed command, killed with -9 again and again: no total that was published steps back."""

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
    # 1 Wh a second, and a register that shows every tenth: counted from it, the counter would
    # begin below what was published before
    settings={"hourly": "always", "power_import": "3600", "energy_import": "44228.00"},
    options={"energy_scale": 10},
    push_interval=0.1,
)


def told(watcher: Watcher, topic: str, key: str) -> list[Decimal]:
    states = [json.loads(payload, parse_float=Decimal) for t, payload in watcher.seen if t == topic]
    return [Decimal(state[key]) for state in states if state.get(key) is not None]


async def test_a_killed_daemon_goes_on_from_what_it_published(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        async with (
            watching(broker.port) as watcher,
            emulated(METER, tmp_path) as entry,
            daemon(tmp_path) as process,
        ):
            process.configure({"host": "127.0.0.1", "port": broker.port}, entry)
            for ends in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
                before = told(watcher, LIVE, "energy_import_live")
                await process.start()
                await eventually(
                    lambda before=before: (  # type: ignore[misc]
                        max(told(watcher, LIVE, "energy_import_live"), default=Decimal(0))
                        >= max(before, default=Decimal("44228")) + Decimal("0.002")
                    ),
                    "the counter goes on",
                    20,
                )
                await process.end(ends)
            for topic, key in ((LIVE, "energy_import_live"), (HOURLY, "energy_import")):
                values = told(watcher, topic, key)
                assert values == sorted(values), key
            shown = [json.loads(p)["energy_import_live"] for t, p in watcher.seen if t == LIVE]
            first = next(n for n, value in enumerate(shown) if value is not None)
            assert None not in shown[first:]  # it stands where it was until it goes on
            assert "WARNING" not in process.log
