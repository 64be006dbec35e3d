"""Killed again and again while meters push: every accepted record arrives, in order.

A record is accepted when the broker's PUBACK went back to the daemon (seen by a proxy between
them), or when the spool had committed it (seen in the file after a kill).
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
from tests.support.fault_rig import daemon_here, history, kill, meters
from tests.support.history_recorder import judge, recording
from tests.support.mqtt_proxy import proxied


def stored(path: Path) -> set[str]:
    """What the killed daemon left on disk."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        if ("history",) not in tables:
            return set()
        return {row[0] for row in database.execute("SELECT payload FROM history")}


@pytest.mark.timeout(3600)
async def test_the_daemon_is_killed_again_and_again(
    tmp_path: Path, figures: Callable[[str], None]
) -> None:
    chance = random.Random(5)
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            meters(tmp_path) as entries,
        ):
            daemon = Daemon(tmp_path)
            daemon.configure({"host": "127.0.0.1", "port": proxy.port}, *entries)
            spooling(daemon, {"mode": "always", "resend": 0.5})
            accepted: set[str] = set()
            for life in range(rounds(3)):
                delivered = len(proxy.acknowledged)
                await daemon.start()
                if life % 4:  # else it may die before it has read anything
                    await eventually(
                        lambda n=delivered: len(proxy.acknowledged) > n + 10,  # type: ignore[misc]
                        "it works",
                        60,
                    )
                await asyncio.sleep(chance.uniform(0.0, 2.0))
                assert await daemon.end(9) == -9
                accepted |= stored(tmp_path / "state" / "history.db")
            before = daemon.log.count("connected to the broker")
            await daemon.start()
            accepted |= history(proxy.acknowledged)
            await eventually(
                lambda: daemon.log.count("connected to the broker") > before, "connected", 30
            )
            await eventually(lambda: accepted <= set(recorder.seen), "all accepted", 300)
            assert await daemon.end() == 0
            await eventually(lambda: history(proxy.acknowledged) <= set(recorder.seen), "the last")
            assert len(accepted) > 5 * rounds(3)
            counted = judge(recorder.seen, accepted | history(proxy.acknowledged))
            figures(f"{rounds(3)} times: {counted}")
            assert "WARNING" not in daemon.log
            assert "Traceback" not in daemon.log


def spooling(daemon: Daemon, spool: dict[str, Any]) -> None:
    """Add the section to the configuration that was written."""
    text = daemon.config.read_text()
    daemon.config.write_text(text.rstrip()[:-1] + f', "spool": {spool}}}'.replace("'", '"'))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_the_broker_is_killed_again_and_again(
    tmp_path: Path, mode: str, expected_logs: list[str], figures: Callable[[str], None]
) -> None:
    expected_logs += ["broker: ", "the bridge closed the connection"]
    chance = random.Random(6)
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            meters(tmp_path) as entries,
        ):
            # the broker may hold back what the recorder has not taken yet, for longer than 0.5 s
            # on a loaded machine; the default is 60 s
            async with daemon_here(tmp_path, entries, proxy, mode, {"resend": 3.0}):
                await eventually(lambda: len(recorder.seen) > 10, "records come")
                for life in range(rounds(4)):
                    delivered = len(history(proxy.acknowledged))
                    if life % 4:  # else it may die before it was announced to
                        await eventually(
                            lambda n=delivered: len(history(proxy.acknowledged)) > n,  # type: ignore[misc]
                            "it takes records",
                            60,
                        )
                    await asyncio.sleep(chance.uniform(0.0, 0.9))
                    await kill(broker, proxy, recorder)
                wanted = history(proxy.acknowledged)
                await eventually(lambda: wanted <= set(recorder.seen), "all of them", 60)
            await eventually(lambda: history(proxy.acknowledged) <= set(recorder.seen), "the last")
        assert len(wanted) > rounds(4) // 2
        counted = judge(recorder.seen, history(proxy.acknowledged))
        figures(f"{rounds(4)} times: {counted}")
