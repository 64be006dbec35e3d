"""Repeated kills while meters push: all accepted records arrive in order.

A record is accepted if the proxy has relayed its PUBACK to the daemon, or if it is on disk
after a kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import rounds
from tests.support.broker import eventually, running
from tests.support.daemon import Daemon
from tests.support.fault_rig import (
    daemon_in_process,
    emulated_meters,
    history_payloads,
    kill_broker,
)
from tests.support.history_recorder import check_records, recording
from tests.support.mqtt_proxy import proxied


def stored_records(path: Path) -> set[str]:
    """Return the records in the file of the spool."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        if ("history",) not in tables:
            return set()
        return {row[0] for row in database.execute("SELECT payload FROM history")}


@pytest.mark.timeout(3600)
async def test_the_daemon_is_killed_repeatedly(
    tmp_path: Path, figures: Callable[[str], None]
) -> None:
    rng = random.Random(5)
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            emulated_meters(tmp_path) as entries,
        ):
            daemon = Daemon(tmp_path)
            daemon.configure({"host": "127.0.0.1", "port": proxy.port}, *entries)
            configure_spool(daemon, {"mode": "always", "resend": 0.5})
            accepted: set[str] = set()
            for life in range(rounds(3)):
                delivered = len(proxy.acknowledged)
                await daemon.start()
                if life % 4:  # otherwise it may be killed before the first reading
                    await eventually(
                        lambda n=delivered: len(proxy.acknowledged) > n + 10,  # type: ignore[misc]
                        "records are delivered",
                        60,
                    )
                await asyncio.sleep(rng.uniform(0.0, 2.0))  # killed at a random moment
                assert await daemon.end(9) == -9
                accepted |= stored_records(tmp_path / "state" / "history.db")
            before = daemon.log.count("connected to the broker")
            await daemon.start()
            accepted |= history_payloads(proxy.acknowledged)
            await eventually(
                lambda: daemon.log.count("connected to the broker") > before, "connected", 30
            )
            await eventually(lambda: accepted <= set(recorder.seen), "all accepted records", 300)
            assert await daemon.end() == 0
            await eventually(
                lambda: history_payloads(proxy.acknowledged) <= set(recorder.seen),
                "the last records",
            )
            assert len(accepted) > 5 * rounds(3)
            summary = check_records(recorder.seen, accepted | history_payloads(proxy.acknowledged))
            figures(f"{rounds(3)} times: {summary}")
            assert "WARNING" not in daemon.log
            assert "Traceback" not in daemon.log


def configure_spool(daemon: Daemon, spool: dict[str, Any]) -> None:
    """Add the section to the written configuration."""
    text = daemon.config.read_text()
    daemon.config.write_text(text.rstrip()[:-1] + f', "spool": {spool}}}'.replace("'", '"'))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_the_broker_is_killed_repeatedly(
    tmp_path: Path, mode: str, expected_logs: list[str], figures: Callable[[str], None]
) -> None:
    expected_logs += ["broker: ", "the bridge closed the connection"]
    rng = random.Random(6)
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            emulated_meters(tmp_path) as entries,
        ):
            # on a loaded machine the broker may delay messages for a slow recorder
            async with daemon_in_process(tmp_path, entries, proxy, mode, {"resend": 3.0}):
                await eventually(lambda: len(recorder.seen) > 10, "records come")
                for life in range(rounds(4)):
                    delivered = len(history_payloads(proxy.acknowledged))
                    if life % 4:  # otherwise it may be killed before the discovery
                        await eventually(
                            lambda n=delivered: len(history_payloads(proxy.acknowledged)) > n,  # type: ignore[misc]
                            "records are accepted",
                            60,
                        )
                    await asyncio.sleep(rng.uniform(0.0, 0.9))  # killed at a random moment
                    await kill_broker(broker, proxy, recorder)
                accepted = history_payloads(proxy.acknowledged)
                await eventually(lambda: accepted <= set(recorder.seen), "all accepted records", 60)
            await eventually(
                lambda: history_payloads(proxy.acknowledged) <= set(recorder.seen),
                "the last records",
            )
        assert len(accepted) > rounds(4) // 2
        summary = check_records(recorder.seen, history_payloads(proxy.acknowledged))
        figures(f"{rounds(4)} times: {summary}")
