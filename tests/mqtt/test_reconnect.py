"""Losing the broker and connecting again, with a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from kamstrup_mqtt.mqtt import PublisherLimits
from kamstrup_mqtt.mqtt.broker_errors import BrokerError, Trouble
from kamstrup_mqtt.mqtt.reconnect_policy import ReconnectPolicy
from tests.support.broker import Mosquitto, eventually, free_port, running, watching
from tests.support.publisher import (
    QUICK,
    ROOT,
    PublisherRig,
    make_config,
    password_file,
)


@pytest.mark.usefixtures("interface")
async def test_reports_are_applied_while_the_broker_is_away(
    rig: PublisherRig,
    broker: Mosquitto,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs.append("broker: ")
    async with rig.run() as publisher:
        rig.identify("heat")
        rig.read("heat", "1")
        await rig.connected()
        broker.kill()
        await eventually(lambda: not publisher.is_connected, "loss noticed")
        rig.read("heat", "2")
        rig.read("heat", "3.50")
        await eventually(lambda: len(rig.report_queue) == 0, "outbox drained")
        broker.start()
        await rig.connected()
        async with watching(broker.port) as watcher:
            state = json.loads(
                await watcher.until(f"{ROOT}/heat/state/values"), parse_float=Decimal
            )
            assert state["energy_import"] == Decimal("3.50")
        assert publisher.reconnects == 1
    warnings = logged(30)
    assert len(warnings) <= 2, warnings
    assert sum("connected to the broker" in line for line in logged(20)) == 2


async def test_a_broker_that_is_not_running_at_the_start(
    tmp_path: Path, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("connection refused; is the broker running")
    broker = Mosquitto(tmp_path)
    rig = PublisherRig(make_config(broker.port))
    async with rig.run():
        await eventually(lambda: bool(logged(30)), "loss logged")
        broker.start()
        try:
            await rig.connected()
        finally:
            broker.kill()
            expected_logs.append("went away")
    assert sum("connection refused" in line for line in logged(30)) == 1


@pytest.mark.usefixtures("interface")
async def test_a_frozen_broker_ends_the_session_after_the_ack_timeout(
    rig: PublisherRig, broker: Mosquitto, expected_logs: list[str]
) -> None:
    expected_logs.append("broker: ")
    rig.limits = replace(QUICK, ack=0.3, connect=1.0)
    async with rig.run() as publisher:
        rig.identify("heat")
        await rig.connected()
        broker.pause()
        rig.read("heat", "7")
        await eventually(lambda: publisher.reconnects == 1, "session given up")
        broker.resume()
        await rig.connected()
        async with watching(broker.port) as watcher:
            assert '"energy_import": 7' in await watcher.until(f"{ROOT}/heat/state/values")


@pytest.mark.usefixtures("interface")
async def test_a_broker_that_never_acknowledges_is_logged_once(
    expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    async def connack_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(bytes.fromhex("20 02 00 00"))  # MQTT 3.1.1, 3.2
        await reader.read()
        writer.close()

    expected_logs.append("does not acknowledge messages any more")
    server = await asyncio.start_server(connack_only, "127.0.0.1", 0)
    rig = PublisherRig(make_config(server.sockets[0].getsockname()[1]))
    rig.limits = replace(QUICK, ack=0.05, quick_loss=0.0, leave=0.05)
    async with server, rig.run() as publisher:
        await eventually(lambda: publisher.reconnects >= 4, "tried again and again")
        assert not publisher.is_connected
    assert len(logged(30)) == 1
    assert not [line for line in logged(20) if "connected to the broker" in line]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_two_daemons_with_one_client_id_are_reported(
    broker: Mosquitto,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
    version: str,
) -> None:
    expected_logs += ["another daemon uses instance main", "broker: "]
    config = make_config(broker.port, version=version)
    one, two = PublisherRig(config), PublisherRig(config)
    one.limits = two.limits = replace(QUICK, slow_backoff=30.0)
    async with one.run(), two.run():
        await eventually(
            lambda: any("3 times within 10 s" in line for line in logged(40)), "noticed"
        )


async def test_user_name_and_password(
    tmp_path: Path, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("check mqtt.username and mqtt.password")
    expected_logs.append("not authorized")
    passwords = password_file(tmp_path)
    settings = ["allow_anonymous false", f"password_file {passwords}"]
    with running(tmp_path, settings) as broker:
        wrong = PublisherRig(make_config(broker.port, username="km", password="wrong"))
        async with wrong.run():
            await eventually(lambda: bool(logged(30)), "refusal logged")
            await eventually(
                lambda: sum("refused the connection" in line for line in logged(10)) > 2,
                "tried again",
            )
        assert len(logged(30)) == 1
        assert "wrong" not in "".join(logged(0)).replace("password is wrong", "")
        right = PublisherRig(make_config(broker.port, username="km", password="right"))
        async with right.run():
            await right.connected()


async def test_stopping_without_a_broker(expected_logs: list[str]) -> None:
    expected_logs.append("connection refused")
    rig = PublisherRig(make_config(free_port()))
    rig.limits = replace(QUICK, first_backoff=20.0, backoff_cap=20.0)
    async with rig.run():
        rig.read("heat", "4")
    assert len(rig.report_queue) == 0


# The policy


@pytest.fixture
def now() -> list[float]:
    """The monotonic time."""
    return [1000.0]


@pytest.fixture
def policy(now: list[float]) -> ReconnectPolicy:
    return ReconnectPolicy(PublisherLimits(), "main", random.Random(1), lambda: now[0])


def test_the_pause_doubles_up_to_a_minute(
    policy: ReconnectPolicy, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("broker: away")
    pauses = [policy.handle_loss(BrokerError("away")) for _ in range(9)]
    for pause, full in zip(pauses, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert full / 2 <= pause <= full
    assert len(logged(30)) == 1


@pytest.mark.parametrize("trouble", [Trouble.REFUSED, Trouble.TLS])
def test_the_pause_after_a_refusal_is_at_least_a_minute(
    policy: ReconnectPolicy, expected_logs: list[str], trouble: Trouble
) -> None:
    expected_logs.append("broker: no")
    assert all(policy.handle_loss(BrokerError("no", trouble)) >= 60 for _ in range(5))


def test_a_session_that_lasted_resets_the_pause(
    policy: ReconnectPolicy, now: list[float], expected_logs: list[str]
) -> None:
    expected_logs.append("broker: away")
    for _ in range(9):
        policy.handle_loss(BrokerError("away"))
    policy.mark_connected()
    policy.mark_announced("broker")
    now[0] += 10.0
    assert policy.handle_loss(BrokerError("away")) <= 1
    assert policy.reconnects == 1


def test_three_quick_losses_mean_another_daemon(
    policy: ReconnectPolicy,
    now: list[float],
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs += ["broker: away", "another daemon uses instance main"]
    for losses in range(1, 5):
        policy.mark_connected()
        policy.mark_announced("broker")
        now[0] += 1.0
        pause = policy.handle_loss(BrokerError("away"))
        assert (pause >= 60) is (losses >= 3)
    assert len(logged(40)) == 1
    policy.mark_connected()
    policy.mark_announced("broker")
    now[0] += 10.0
    assert policy.handle_loss(BrokerError("away")) <= 1, "the other daemon is gone"
