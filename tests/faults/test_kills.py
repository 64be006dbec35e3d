"""Killed again and again while meters push: every accepted record arrives, in order.

A record is accepted when the broker's PUBACK went back to the daemon (seen by a proxy between
them), or when the spool had committed it (seen in the file after a kill).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.app import App, Ending
from kamstrup_mqtt.app import Limits as AppLimits
from kamstrup_mqtt.config import Config
from kamstrup_mqtt.publisher import Limits as PublisherLimits
from kamstrup_mqtt.publisher.session import SessionLimits
from tests.broker import Mosquitto, eventually, running
from tests.daemon import Daemon, Meter, emulated
from tests.faults import rounds
from tests.proxy import Proxy, proxied
from tests.recorder import Recorder, judge, recording

METERS = tuple(
    Meter(
        id=name,
        protocol="han",
        model="kamstrup_han_3phase",
        settings={"hourly": "always", "meter_id": f"{n}" * 16},
        options={"energy_scale": 10},
        push_interval=0.05,
    )
    for n, name in enumerate(("first", "second"), 1)
)
PUSHY = PublisherLimits(
    connect=5.0,
    ack=1.0,
    first_backoff=0.02,
    backoff_cap=0.05,
    slow_backoff=0.05,
    quick_loss=0.0,
    session=SessionLimits(settle=0.05, settle_cap=1.0, idle=0.5),
)


@contextlib.asynccontextmanager
async def meters(directory: Path) -> AsyncIterator[list[dict[str, Any]]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(emulated(meter, directory)) for meter in METERS]


def stored(path: Path) -> set[str]:
    """What the killed daemon left on disk."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        if ("history",) not in tables:
            return set()
        return {row[0] for row in database.execute("SELECT payload FROM history")}


def history(messages: list[tuple[str, str]]) -> set[str]:
    return {payload for topic, payload in messages if topic.endswith("/history")}


@pytest.mark.timeout(3600)
async def test_the_daemon_is_killed_again_and_again(tmp_path: Path) -> None:
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
            for _ in range(rounds(6)):
                await daemon.start()
                await asyncio.sleep(chance.uniform(0.5, 2.5))
                assert await daemon.end(9) == -9
                accepted |= stored(tmp_path / "state" / "history.db")
            await daemon.start()
            accepted |= history(proxy.acknowledged)
            await eventually(lambda: accepted <= set(recorder.seen), "all accepted", 60)
            assert await daemon.end() == 0
            await eventually(lambda: history(proxy.acknowledged) <= set(recorder.seen), "the last")
            assert len(accepted) > 20 * rounds(6)
            judge(recorder.seen, accepted | history(proxy.acknowledged))
            assert "WARNING" not in daemon.log
            assert "Traceback" not in daemon.log


def spooling(daemon: Daemon, spool: dict[str, Any]) -> None:
    """Add the section to the configuration that was written."""
    text = daemon.config.read_text()
    daemon.config.write_text(text.rstrip()[:-1] + f', "spool": {spool}}}'.replace("'", '"'))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["offline", "always"])
async def test_the_broker_is_killed_again_and_again(
    tmp_path: Path, mode: str, expected_logs: list[str]
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
            async with daemon_here(tmp_path, entries, proxy, mode):
                await eventually(lambda: len(recorder.seen) > 10, "records come")
                for _ in range(rounds(8)):
                    await asyncio.sleep(chance.uniform(0.3, 1.2))
                    await kill(broker, proxy, recorder)
                wanted = history(proxy.acknowledged)
                await eventually(lambda: wanted <= set(recorder.seen), "all of them", 60)
            await eventually(lambda: history(proxy.acknowledged) <= set(recorder.seen), "the last")
        assert len(wanted) > 5 * rounds(8)
        judge(recorder.seen, history(proxy.acknowledged))


async def kill(broker: Mosquitto, proxy: Proxy, recorder: Recorder) -> None:
    """Kill and start the broker; the recorder is there before the daemon is let through."""
    proxy.closed = True
    broker.kill()
    proxy.reset()
    await recorder.stop()
    broker.start()
    await recorder.start()
    proxy.closed = False


@contextlib.asynccontextmanager
async def daemon_here(
    directory: Path, entries: list[dict[str, Any]], proxy: Proxy, mode: str
) -> AsyncIterator[App]:
    """The whole daemon in this process, with a broker back-off fit for tests."""
    config = Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": proxy.port},
            "meters": entries,
            "spool": {"mode": mode, "resend": 0.5},
            "state_directory": str(directory),
        }
    )
    app = App(
        config,
        reload=lambda: config,
        environ={"RUNTIME_DIRECTORY": str(directory)},
        limits=replace(AppLimits(), publisher=PUSHY),
        arm=lambda _: None,
    )
    task = asyncio.create_task(app.run())
    try:
        yield app
        app.end(Ending.STOPPED)
        await asyncio.wait_for(task, 10)
    finally:
        task.cancel()
        await asyncio.wait([task])
