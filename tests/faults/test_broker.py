"""What brokers and networks do (operations.md 4), with a real Mosquitto and a proxy before it.

After each: recovery without restart, one line in the log when lost and one when back, and no task,
descriptor or thread more than before.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kamstrup_mqtt.app import App
from tests.broker import Mosquitto, eventually, running, watching
from tests.faults import rounds
from tests.faults.here import daemon_here, history, meters
from tests.proxy import Proxy, proxied
from tests.recorder import Recorder, judge, recording

ROOT = "kamstrup/main"


@dataclass(slots=True)
class Stage:
    """Everything runs, and readings flow."""

    broker: Mosquitto
    proxy: Proxy
    recorder: Recorder
    app: App
    logged: Callable[..., list[str]]

    async def flows(self, within: float = 15.0) -> None:
        """New records come."""
        before = len(set(self.recorder.seen))
        await eventually(
            lambda: len(set(self.recorder.seen)) > before + 10, "new records come", within
        )

    async def all_there(self) -> None:
        """Every record that was acknowledged until now is there, in order."""
        accepted = history(self.proxy.acknowledged)
        await eventually(lambda: accepted <= set(self.recorder.seen), "all accepted", 30)
        judge(self.recorder.seen, accepted)

    def lines(self, part: str) -> int:
        return len([line for line in self.logged(20) if part in line])

    def burden(self) -> tuple[int, int]:
        """Tasks and descriptors, without those of the history's file, which is opened when it is
        needed first."""
        gc.collect()
        descriptors = [
            os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
        ]
        own = [path for path in descriptors if "history.db" not in path]
        return len(asyncio.all_tasks()), len(own)


@pytest.fixture
async def stage(
    tmp_path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> AsyncIterator[Stage]:
    expected_logs += ["broker: ", "the bridge closed the connection"]
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            meters(tmp_path) as entries,
            daemon_here(tmp_path, entries, proxy, "offline") as app,
        ):
            found = Stage(broker, proxy, recorder, app, logged)
            await found.flows()
            yield found


@pytest.mark.timeout(600)
async def test_connections_are_reset(stage: Stage) -> None:
    before = stage.burden()
    for n in range(rounds(3)):
        stage.proxy.reset()
        await stage.flows()
        # once lost, once back; very quick losses are not told each time
        assert stage.lines("broker: ") <= n + 1
        assert stage.lines("connected to the broker") <= n + 1
    await stage.all_there()
    await eventually(
        lambda: all(now <= then + 2 for now, then in zip(stage.burden(), before, strict=True)),
        f"no more than {before}, now {stage.burden()}",
    )


@pytest.mark.timeout(120)
async def test_the_broker_never_acknowledges(stage: Stage) -> None:
    """A limit for each message, another connection, and the same records again."""
    stage.proxy.silent = True
    await eventually(lambda: stage.lines("broker: ") == 1, "lost")
    sent = len(history(stage.proxy.published))
    stage.proxy.silent = False
    await stage.flows()
    assert len(history(stage.proxy.published)) > sent
    assert stage.lines("connected to the broker") == 1
    await stage.all_there()


async def test_at_most_twenty_are_on_their_way(stage: Stage) -> None:
    await stage.all_there()
    stage.proxy.silent = True
    acknowledged = len(stage.proxy.acknowledged)
    await asyncio.sleep(0.8)  # 32 records are made meanwhile; the limit for one is 1 s
    window = [t for t, _ in stage.proxy.published[acknowledged:] if t.endswith("/history")]
    assert 15 <= len(window) <= 21


@pytest.mark.timeout(120)
async def test_the_network_swallows_everything(stage: Stage) -> None:
    """A connection that is open and dead; the broker's side is fine."""
    stage.proxy.black = True
    await eventually(lambda: stage.lines("broker: ") == 1, "lost")
    stage.proxy.black = False
    await stage.flows()
    await stage.all_there()


@pytest.mark.timeout(120)
async def test_the_broker_is_frozen_and_goes_on(stage: Stage) -> None:
    stage.broker.pause()
    await eventually(lambda: stage.lines("broker: ") >= 1, "lost")
    stage.broker.resume()
    await stage.flows()
    await stage.all_there()


@pytest.mark.timeout(120)
async def test_the_broker_refuses_for_a_while(stage: Stage) -> None:
    stage.proxy.closed = True
    stage.proxy.reset()
    await eventually(lambda: stage.lines("broker: ") >= 1, "lost")
    knocked = stage.proxy.accepted
    await asyncio.sleep(0.5)
    assert stage.proxy.accepted - knocked < 60  # 20 to 50 ms from one try to the next here
    stage.proxy.closed = False
    await stage.flows()
    await stage.all_there()


@pytest.mark.timeout(120)
async def test_the_broker_forgets_what_it_retained(stage: Stage, tmp_path: Path) -> None:
    stage.proxy.closed = True
    stage.broker.kill()
    await stage.recorder.stop()
    (tmp_path / "broker" / "mosquitto.db").unlink(missing_ok=True)
    stage.broker.start()
    await stage.recorder.start()
    stage.proxy.closed = False
    stage.proxy.reset()
    async with watching(stage.broker.port) as watcher:
        await watcher.until(f"{ROOT}/bridge/status", "online", 20)
        for meter in ("first", "second"):
            await watcher.until(f"{ROOT}/{meter}/status", "online")
            await watcher.until(f"{ROOT}/{meter}/state/live")
            await watcher.until(f"homeassistant/device/kamstrup_main_{meter}/config")
    await stage.flows()
    await stage.all_there()


@pytest.mark.timeout(120)
async def test_live_state_comes_before_the_history(stage: Stage) -> None:
    """After an outage, and the history is never on the state topic."""
    stage.proxy.closed = True
    stage.proxy.reset()
    await asyncio.sleep(2.0)  # 80 records are made
    mark = len(stage.proxy.published)
    stage.proxy.closed = False
    await stage.flows()
    topics = [topic for topic, _ in stage.proxy.published[mark:]]
    first = topics.index(f"{ROOT}/first/history")
    assert f"{ROOT}/first/state/live" in topics[:first]
    assert f"{ROOT}/second/state/live" in topics[:first]
    assert topics.index(f"{ROOT}/bridge/status") < first
    for topic, payload in stage.proxy.published:
        is_record = payload.startswith("{") and "seq" in json.loads(payload)
        assert is_record == topic.endswith("/history")
    await stage.all_there()


@pytest.mark.timeout(120)
async def test_threads_do_not_pile_up(stage: Stage) -> None:
    before = threading.active_count()
    for _ in range(3):
        stage.proxy.reset()
        await stage.flows()
    with contextlib.suppress(AssertionError):
        await eventually(lambda: threading.active_count() <= before, "as many as before", 3.0)
    assert threading.active_count() <= before + 2
