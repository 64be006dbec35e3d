"""Faults of brokers and networks (docs/faults.md), with a real Mosquitto behind a proxy.

`scenario.fault()` checks the recovery after each fault.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import rounds
from tests.support.broker import eventually, watching
from tests.support.fault_rig import PUBLISHER_LIMITS, TIMEOUTS, history_payloads
from tests.support.history_recorder import check_records
from tests.support.scenario import BROKER_LOG, ROOT, Scenario, resource_usage, running_scenario


@pytest.mark.timeout(120)
async def test_the_broker_is_absent_at_the_start(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon reads and spools; the records are delivered when the broker is there."""
    expected_logs += ["broker: ", "the bridge closed the connection"]
    async with running_scenario(tmp_path, caplog, wait=False) as scenario:
        await eventually(
            lambda: scenario.status() == "2 of 2 meters online, broker away",
            "the meters are online",
        )
        await eventually(
            lambda: scenario.health()["history"]["on_disk"] > 20, "records are spooled", 20
        )
        await eventually(lambda: scenario.count_lost() == 1, "the loss is logged", 30)
        scenario.proxy.refuses = False
        await scenario.wait_for_records()
        assert scenario.status() == "2 of 2 meters online, broker connected"
        assert scenario.count_restored() == 1
        await scenario.wait_for_accepted()
        numbers = [record["seq"] for record in scenario.records("first")]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.timeout(600)
async def test_connections_are_reset(scenario: Scenario) -> None:
    before = resource_usage()
    for _ in range(min(rounds(2), 20)):
        async with scenario.fault():
            scenario.proxy.reset()
            await scenario.wait_until_lost()
    await scenario.assert_no_growth(before)


@pytest.mark.timeout(180)
async def test_the_broker_is_stopped_for_a_while(scenario: Scenario) -> None:
    async with scenario.fault():
        before = scenario.count_lost()
        scenario.broker.stop()
        await scenario.recorder.ended()
        await eventually(lambda: scenario.count_lost() > before, "the loss is logged", 30)
        await eventually(lambda: scenario.waiting() > 20, "records wait", 20)
        # the recorder must connect before the daemon
        scenario.proxy.refuses = True
        scenario.broker.start()
        await scenario.recorder.start()
        scenario.proxy.refuses = False


@pytest.mark.timeout(120)
async def test_the_broker_never_acknowledges(scenario: Scenario) -> None:
    """Each message has a time limit; after a reconnection the same records are sent again."""
    async with scenario.fault():
        scenario.proxy.drops_acks = True
        await scenario.wait_until_lost()
        sent = len(history_payloads(scenario.proxy.published))
        scenario.proxy.drops_acks = False
        await scenario.wait_for_records()
        assert len(history_payloads(scenario.proxy.published)) > sent


@pytest.mark.timeout(120)
async def test_at_most_twenty_records_are_in_flight(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    expected_logs += ["broker: ", "the bridge closed the connection"]
    timeouts = replace(TIMEOUTS, publisher=replace(PUBLISHER_LIMITS, ack=30.0))
    async with running_scenario(tmp_path, caplog, timeouts=timeouts) as scenario:
        await scenario.wait_for_accepted()
        scenario.proxy.drops_acks = True
        acknowledged = len(scenario.proxy.acknowledged)
        await eventually(lambda: scenario.waiting() > 40, "more records than fit", 30)
        window = [t for t, _ in scenario.proxy.published[acknowledged:] if t.endswith("/history")]
        assert 15 <= len(window) <= 21
        scenario.proxy.drops_acks = False
        scenario.proxy.reset()  # the dropped acknowledgements never arrive
        await scenario.wait_for_records()
        await scenario.wait_for_accepted()


@pytest.mark.timeout(120)
async def test_the_network_drops_everything(scenario: Scenario) -> None:
    """A connection that stays open but delivers nothing."""
    async with scenario.fault():
        scenario.proxy.is_stalled = True
        await scenario.wait_until_lost()
        scenario.proxy.is_stalled = False


@pytest.mark.timeout(120)
async def test_the_broker_is_frozen_for_a_while(scenario: Scenario) -> None:
    async with scenario.fault():
        scenario.broker.pause()
        await scenario.wait_until_lost()
        scenario.broker.resume()


@pytest.mark.timeout(120)
async def test_the_broker_refuses_for_a_while(scenario: Scenario) -> None:
    async with scenario.fault():
        scenario.proxy.refuses = True
        scenario.proxy.reset()
        await scenario.wait_until_lost()
        accepted, start = scenario.proxy.accepted, time.monotonic()
        await eventually(lambda: scenario.proxy.accepted > accepted + 10, "attempts", 30)
        # pauses of 20 to 50 ms, shortened at random by up to a half
        assert scenario.proxy.accepted - accepted <= (time.monotonic() - start) / 0.02 + 1
        scenario.proxy.refuses = False


@pytest.mark.timeout(180)
async def test_a_broker_that_rejects_the_login_is_retried_slowly(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A changed password: one line in the log, and one attempt per `slow_backoff`."""
    expected_logs += ["broker: ", "the bridge closed the connection"]
    timeouts = replace(TIMEOUTS, publisher=replace(PUBLISHER_LIMITS, slow_backoff=2.0))
    async with running_scenario(tmp_path, caplog, timeouts=timeouts) as scenario, scenario.fault():
        users = tmp_path / "broker" / "users"
        users.write_text("")
        scenario.proxy.refuses = True
        scenario.broker.stop()
        await scenario.recorder.ended()
        anonymous = scenario.broker.settings
        scenario.broker.settings = ("allow_anonymous false", f"password_file {users}")
        scenario.broker.start()
        scenario.proxy.refuses = False
        refused = "refused the connection"
        await eventually(
            lambda: any(refused in line for line in scenario.messages(BROKER_LOG[0])), "refused", 20
        )
        attempts, start = scenario.proxy.accepted, time.monotonic()
        await eventually(lambda: scenario.proxy.accepted > attempts, "the next attempt", 20)
        assert time.monotonic() - start > 1.5
        caplog.records[:] = [r for r in caplog.records if refused not in r.getMessage()]
        scenario.proxy.refuses = True
        scenario.broker.stop()
        scenario.broker.settings = anonymous
        scenario.broker.start()
        await scenario.recorder.start()
        scenario.proxy.refuses = False


@pytest.mark.timeout(120)
async def test_the_broker_loses_its_retained_messages(scenario: Scenario, tmp_path: Path) -> None:
    async with scenario.fault():
        scenario.proxy.refuses = True
        scenario.broker.kill()
        await scenario.recorder.ended()
        (tmp_path / "broker" / "mosquitto.db").unlink(missing_ok=True)
        scenario.broker.start()
        await scenario.recorder.start()
        scenario.proxy.refuses = False
        scenario.proxy.reset()
        async with watching(scenario.broker.port) as watcher:
            await watcher.until(f"{ROOT}/bridge/status", "online", 20)
            for meter in ("first", "second"):
                await watcher.until(f"{ROOT}/{meter}/status", "online")
                await watcher.until(f"{ROOT}/{meter}/state/live")
                await watcher.until(f"homeassistant/device/kamstrup_main_{meter}/config")


@pytest.mark.timeout(180)
async def test_live_state_comes_before_the_history_after_a_long_outage(scenario: Scenario) -> None:
    """Live state is published first, then the history at a limited rate, on its own topic."""
    async with scenario.fault():
        scenario.proxy.refuses = True
        scenario.proxy.reset()
        await eventually(lambda: scenario.waiting() > 180, "records wait", 60)
        mark, start = len(scenario.proxy.published), time.monotonic()
        scenario.proxy.refuses = False
        await scenario.wait_for_records()
        await eventually(lambda: scenario.waiting() < 25, "the history is delivered", 60)
        elapsed = time.monotonic() - start
        topics = [topic for topic, _ in scenario.proxy.published[mark:]]
        first = topics.index(f"{ROOT}/first/history")
        assert f"{ROOT}/first/state/live" in topics[:first]
        assert f"{ROOT}/second/state/live" in topics[:first]
        assert topics.index(f"{ROOT}/bridge/status") < first
        sent = sum(topic.endswith("/history") for topic in topics)
        assert sent <= 4 * 40 * elapsed * 1.25 + 50  # 40 new records per second
        for topic, payload in scenario.proxy.published:
            is_record = payload.startswith("{") and "seq" in json.loads(payload)
            assert is_record == topic.endswith("/history")


@pytest.mark.timeout(180)
async def test_more_records_than_the_history_keeps(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest records are dropped and counted; the others arrive in order."""
    expected_logs += ["broker: ", "the bridge closed the connection", "history is full"]
    expected_logs += ["neither delivered nor stored (spool: memory)"]  # at the end
    session = replace(PUBLISHER_LIMITS.session, info=1.0)
    timeouts = replace(TIMEOUTS, publisher=replace(PUBLISHER_LIMITS, session=session))
    async with running_scenario(
        tmp_path, caplog, mode="memory", spool={"rows": 100}, timeouts=timeouts
    ) as scenario:
        before = resource_usage()
        scenario.proxy.refuses = True
        scenario.proxy.reset()
        await eventually(
            lambda: scenario.health()["history"]["dropped"] > 100, "records are dropped", 30
        )
        assert scenario.health()["history"]["waiting"] <= 100
        seen = len(scenario.recorder.seen)
        scenario.proxy.refuses = False
        await eventually(
            lambda: scenario.messages("kamstrup_mqtt.storage.history")[-1].startswith(
                "history is delivered"
            ),
            "delivered",
            60,
        )
        info = scenario.health()["history"]
        assert [
            line for line in scenario.messages("kamstrup_mqtt.storage.history") if "full" in line
        ] == [
            "history is full: the oldest records are dropped and counted until the broker accepts"
            " them; increase spool.rows or spool.megabytes to keep more"
        ]
        accepted = history_payloads(scenario.proxy.acknowledged)
        await eventually(lambda: accepted <= set(scenario.recorder.seen), "all accepted", 30)
        check_records(scenario.recorder.seen[:seen], set())
        gaps = 0
        for meter in ("first", "second"):
            numbers = [record["seq"] for record in scenario.records(meter)]
            assert numbers == sorted(numbers)
            gaps += numbers[-1] - numbers[0] + 1 - len(numbers)
        # some of the dropped ones were in flight and reached the broker
        assert gaps <= info["dropped"] <= gaps + 20
        async with watching(scenario.broker.port) as watcher:
            await watcher.until(f"{ROOT}/bridge/info")
            await eventually(
                lambda: (
                    json.loads(watcher.last[f"{ROOT}/bridge/info"])["history"]["dropped"]
                    == info["dropped"]
                ),
                "published",
                20,
            )
        await scenario.assert_no_growth(before)


@pytest.mark.timeout(180)
async def test_a_network_that_is_slower_than_the_meters(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty messages per second instead of forty: records wait, connections stay open."""
    expected_logs += ["broker: ", "the bridge closed the connection"]
    timeouts = replace(TIMEOUTS, publisher=replace(PUBLISHER_LIMITS, ack=10.0))
    async with running_scenario(tmp_path, caplog, timeouts=timeouts) as scenario:
        before = resource_usage()
        scenario.proxy.delay = 0.05
        await eventually(lambda: scenario.waiting() > 60, "records wait", 30)
        assert scenario.count_lost() == 0
        scenario.proxy.delay = 0.0
        await eventually(lambda: scenario.waiting() < 25, "the history is delivered", 60)
        assert scenario.count_lost() == 0
        await scenario.wait_for_accepted()
        await scenario.assert_no_growth(before)
