"""What brokers and networks do (docs/operations.md, Faults), with a real Mosquitto behind a proxy.

`stage.fault()` asserts after each: recovery without restart, one line in the log when lost and one
when back, every accepted record there and in order, no task, descriptor, thread or memory more.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import rounds
from tests.support.broker import eventually, watching
from tests.support.fault_rig import LIMITS, PUSHY, history
from tests.support.history_recorder import judge
from tests.support.scenario import BROKER, ROOT, Stage, burden, staged


@pytest.mark.timeout(120)
async def test_the_broker_is_absent_at_the_start(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon starts, reads, spools, and says so; what was read before is delivered then."""
    expected_logs += ["broker: ", "the bridge closed the connection"]
    async with staged(tmp_path, caplog, wait=False) as stage:
        await eventually(
            lambda: stage.status() == "2 of 2 meters online, broker away", "they are read"
        )
        await eventually(lambda: stage.health()["history"]["on_disk"] > 20, "it spools", 20)
        await eventually(lambda: stage.lost() == 1, "told that it is not there", 30)
        stage.proxy.closed = False
        await stage.flows()
        assert stage.status() == "2 of 2 meters online, broker connected"
        assert stage.back() == 1
        await stage.all_there()
        numbers = [record["seq"] for record in stage.records("first")]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.timeout(600)
async def test_connections_are_reset(stage: Stage) -> None:
    before = burden()
    for _ in range(min(rounds(2), 20)):
        async with stage.fault():
            stage.proxy.reset()
            await stage.until_lost()
    await stage.flat(before)


@pytest.mark.timeout(180)
async def test_the_broker_is_stopped_for_a_while(stage: Stage) -> None:
    async with stage.fault():
        before = stage.lost()
        stage.broker.stop()
        await stage.recorder.ended()
        await eventually(lambda: stage.lost() > before, "told that it is lost", 30)
        await asyncio.sleep(1.0)
        # the recorder must be there before the daemon is let through
        stage.proxy.closed = True
        stage.broker.start()
        await stage.recorder.start()
        stage.proxy.closed = False


@pytest.mark.timeout(120)
async def test_the_broker_never_acknowledges(stage: Stage) -> None:
    """A limit for each message, another connection, and the same records again."""
    async with stage.fault():
        stage.proxy.silent = True
        await stage.until_lost()
        sent = len(history(stage.proxy.published))
        stage.proxy.silent = False
        await stage.flows()
        assert len(history(stage.proxy.published)) > sent


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
    async with stage.fault():
        stage.proxy.black = True
        await stage.until_lost()
        stage.proxy.black = False


@pytest.mark.timeout(120)
async def test_the_broker_is_frozen_and_goes_on(stage: Stage) -> None:
    async with stage.fault():
        stage.broker.pause()
        await stage.until_lost()
        stage.broker.resume()


@pytest.mark.timeout(120)
async def test_the_broker_refuses_for_a_while(stage: Stage) -> None:
    async with stage.fault():
        stage.proxy.closed = True
        stage.proxy.reset()
        await stage.until_lost()
        knocked, since = stage.proxy.accepted, time.monotonic()
        await asyncio.sleep(0.5)
        # 20 to 50 ms, halved by chance, from one try to the next here
        assert stage.proxy.accepted - knocked <= (time.monotonic() - since) / 0.02 + 1
        stage.proxy.closed = False


@pytest.mark.timeout(180)
async def test_a_broker_that_does_not_know_us_is_not_hammered(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The password was changed: one line, and one try in `slow_backoff` (60 s by default)."""
    expected_logs += ["broker: ", "the bridge closed the connection"]
    limits = replace(LIMITS, publisher=replace(PUSHY, slow_backoff=2.0))
    async with staged(tmp_path, caplog, limits=limits) as stage, stage.fault():
        users = tmp_path / "broker" / "users"
        users.write_text("")
        stage.proxy.closed = True
        stage.broker.stop()
        await stage.recorder.ended()
        open_to_all = stage.broker.settings
        stage.broker.settings = ("allow_anonymous false", f"password_file {users}")
        stage.broker.start()
        stage.proxy.closed = False
        refused = "refused the connection"
        await eventually(
            lambda: any(refused in line for line in stage.said(BROKER[0])), "refused", 20
        )
        knocked = stage.proxy.accepted
        await asyncio.sleep(1.5)
        assert stage.proxy.accepted == knocked
        caplog.records[:] = [r for r in caplog.records if refused not in r.getMessage()]
        stage.proxy.closed = True
        stage.broker.stop()
        stage.broker.settings = open_to_all
        stage.broker.start()
        await stage.recorder.start()
        stage.proxy.closed = False


@pytest.mark.timeout(120)
async def test_the_broker_forgets_what_it_retained(stage: Stage, tmp_path: Path) -> None:
    async with stage.fault():
        stage.proxy.closed = True
        stage.broker.kill()
        await stage.recorder.ended()
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


@pytest.mark.timeout(180)
async def test_live_state_comes_before_the_history_after_a_long_outage(stage: Stage) -> None:
    """Live state first; then the history, oldest first and no faster than its pace; and it is
    never on the state topic."""
    async with stage.fault():
        stage.proxy.closed = True
        stage.proxy.reset()
        await asyncio.sleep(5.0)  # 200 records are made
        mark, since = len(stage.proxy.published), time.monotonic()
        stage.proxy.closed = False
        await stage.flows()
        await eventually(lambda: stage.health()["history"]["waiting"] < 25, "drained", 60)
        took = time.monotonic() - since
        topics = [topic for topic, _ in stage.proxy.published[mark:]]
        first = topics.index(f"{ROOT}/first/history")
        assert f"{ROOT}/first/state/live" in topics[:first]
        assert f"{ROOT}/second/state/live" in topics[:first]
        assert topics.index(f"{ROOT}/bridge/status") < first
        sent = sum(topic.endswith("/history") for topic in topics)
        assert sent <= 4 * 40 * took * 1.25 + 50  # 40 records a second are made
        for topic, payload in stage.proxy.published:
            is_record = payload.startswith("{") and "seq" in json.loads(payload)
            assert is_record == topic.endswith("/history")


@pytest.mark.timeout(180)
async def test_more_than_is_kept(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest records go, counted and published; the rest comes in order."""
    expected_logs += ["broker: ", "the bridge closed the connection", "history is full"]
    expected_logs += ["neither delivered nor stored (spool: memory)"]  # at the end
    session = replace(PUSHY.session, info=1.0)
    limits = replace(LIMITS, publisher=replace(PUSHY, session=session))
    async with staged(tmp_path, caplog, mode="memory", spool={"rows": 100}, limits=limits) as stage:
        before = burden()
        stage.proxy.closed = True
        stage.proxy.reset()
        await eventually(lambda: stage.health()["history"]["dropped"] > 100, "dropped", 30)
        assert stage.health()["history"]["waiting"] <= 100
        seen = len(stage.recorder.seen)
        stage.proxy.closed = False
        await eventually(
            lambda: stage.said("kamstrup_mqtt.storage.history")[-1].startswith(
                "history is delivered"
            ),
            "delivered",
            60,
        )
        info = stage.health()["history"]
        assert [line for line in stage.said("kamstrup_mqtt.storage.history") if "full" in line] == [
            "history is full: the oldest records are dropped and counted until the broker accepts"
            " them; increase spool.rows or spool.megabytes to keep more"
        ]
        accepted = history(stage.proxy.acknowledged)
        await eventually(lambda: accepted <= set(stage.recorder.seen), "all accepted", 30)
        judge(stage.recorder.seen[:seen], set())
        gaps = 0
        for meter in ("first", "second"):
            numbers = [record["seq"] for record in stage.records(meter)]
            assert numbers == sorted(numbers)
            gaps += numbers[-1] - numbers[0] + 1 - len(numbers)
        # of those dropped some were on their way: the broker had them, and we never heard of it
        assert gaps <= info["dropped"] <= gaps + 20
        async with watching(stage.broker.port) as watcher:
            await watcher.until(f"{ROOT}/bridge/info")
            await eventually(
                lambda: (
                    json.loads(watcher.last[f"{ROOT}/bridge/info"])["history"]["dropped"]
                    == info["dropped"]
                ),
                "published",
                20,
            )
        await stage.flat(before)


@pytest.mark.timeout(180)
async def test_a_network_that_is_slower_than_the_meters(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty messages a second, where forty are made: the rest waits, and nobody is lost."""
    expected_logs += ["broker: ", "the bridge closed the connection"]
    limits = replace(LIMITS, publisher=replace(PUSHY, ack=10.0))
    async with staged(tmp_path, caplog, limits=limits) as stage:
        before = burden()
        stage.proxy.delay = 0.05
        await eventually(lambda: stage.health()["history"]["waiting"] > 60, "they wait", 30)
        assert stage.lost() == 0
        stage.proxy.delay = 0.0
        await eventually(lambda: stage.health()["history"]["waiting"] < 25, "delivered", 60)
        assert stage.lost() == 0
        await stage.all_there()
        await stage.flat(before)
