"""What a session does with incoming messages and pending topics, at a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from kamstrup_mqtt.core.model import LinkState
from tests.support.broker import Mosquitto, Watcher, eventually
from tests.support.mqtt_proxy import proxied
from tests.support.publisher import (
    DISCOVERY,
    QUICK,
    ROOT,
    PublisherRig,
    make_config,
)


async def test_the_birth_message_is_answered_with_discovery_status_and_then_states(
    rig: PublisherRig, watcher: Watcher
) -> None:
    rig.identify("heat")
    rig.read("heat", "1")
    async with rig.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        watcher.seen.clear()
        watcher.last.clear()
        await watcher.publish("homeassistant/status", "offline")
        await watcher.publish("homeassistant/status", "online")
        await watcher.until(f"{ROOT}/heat/state/values")
        wanted = [
            DISCOVERY.format("heat"),
            f"{ROOT}/heat/status",
            f"{ROOT}/heat/state/values",
        ]
        assert watcher.order(*wanted) == wanted


async def test_many_birth_messages_get_one_answer(
    rig: PublisherRig, watcher: Watcher, logged: Callable[[int], list[str]]
) -> None:
    async with rig.run():
        rig.identify("heat")
        rig.read("heat", "1")
        await watcher.until(DISCOVERY.format("heat"))
        await watcher.until(f"{ROOT}/bridge/status", "online")
        watcher.last.clear()
        birth = [watcher.publish("homeassistant/status", "online") for _ in range(50)]
        await asyncio.gather(*birth)
        await watcher.until(f"{ROOT}/heat/state/values")
    births = [line for line in logged(20) if line.startswith("Home Assistant has started")]
    assert len(births) < 10


async def test_a_read_command_reaches_the_reader(
    rig: PublisherRig, watcher: Watcher, expected_logs: list[str]
) -> None:
    expected_logs += ["over 64 bytes is ignored"]
    async with rig.run():
        await rig.connected()
        await watcher.publish(f"{ROOT}/attic/read", "PRESS")
        await watcher.publish(f"{ROOT}/heat/read", "x" * 65)
        await watcher.publish(f"{ROOT}/heat/read", "x" * 64)
        rig.refusal = "read a moment ago"
        await watcher.publish(f"{ROOT}/power/read", "")
        await eventually(lambda: len(rig.read_requests) == 2, "readers asked")
        assert rig.read_requests == ["heat", "power"]


async def test_a_retained_command_is_ignored_and_logged_once(
    rig: PublisherRig,
    watcher: Watcher,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs += ["holds a retained message"]
    await watcher.publish(f"{ROOT}/heat/read", "PRESS", retain=True)
    async with rig.run():
        await rig.connected()
        assert rig.read_requests == []
        assert len(logged(30)) == 1


async def test_a_retained_command_is_logged_once_in_several_sessions(
    rig: PublisherRig,
    broker: Mosquitto,
    watcher: Watcher,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs += ["holds a retained message", "the connection broke"]
    await watcher.publish(f"{ROOT}/heat/read", "PRESS", retain=True)
    async with rig.run() as publisher:
        await rig.connected()
        broker.restart()
        await eventually(lambda: publisher.reconnects == 1, "the loss noticed")
        await rig.connected()
        assert rig.read_requests == []
    assert sum("holds a retained message" in line for line in logged(30)) == 1


async def test_bridge_info_is_published_although_readings_never_pause(broker: Mosquitto) -> None:
    async with proxied(broker.port) as proxy:
        rig = PublisherRig(make_config(proxy.port))
        rig.limits = replace(QUICK, session=replace(QUICK.session, info=0.2))
        rig.identify("heat")
        info, state = f"{ROOT}/bridge/info", f"{ROOT}/heat/state/values"
        async with rig.run():
            await rig.connected()
            proxy.delay = 0.005
            until = len(proxy.published) + 400  # some two seconds
            count = 0
            while len(proxy.published) < until:
                count += 1
                rig.read("heat", str(count))
                await asyncio.sleep(0)
            topics = [topic for topic, _ in proxy.published[until - 400 :]]
            proxy.delay = 0.0
        assert state in topics
        assert topics.count(info) >= 3


async def test_commands_can_be_switched_off(broker: Mosquitto, watcher: Watcher) -> None:
    rig = PublisherRig(make_config(broker.port, commands=False))
    rig.identify("heat")
    # without a warning that explains how to send commands, which would fail this test
    await watcher.publish(f"{ROOT}/heat/read", "PRESS", retain=True)
    async with rig.run():
        await rig.connected()
        await watcher.publish(f"{ROOT}/heat/read", "PRESS")
        rig.read("heat", "5")
        await watcher.until(f"{ROOT}/heat/state/values")
        assert rig.read_requests == []


async def test_diagnostics_are_deferred_unless_the_link_state_changes(
    rig: PublisherRig, watcher: Watcher
) -> None:
    rig.limits = replace(QUICK, diagnostics=0.4)
    async with rig.run():
        await rig.connected()
        rig.diagnose("heat", LinkState.OK, 1)
        topic = f"{ROOT}/heat/diagnostics"
        await eventually(
            lambda: json.loads(watcher.last.get(topic, "{}")).get("link_state") == "ok",
            "ok published",
        )
        watcher.seen.clear()
        for frames in range(2, 6):
            rig.diagnose("heat", LinkState.OK, frames)
        await eventually(
            lambda: json.loads(watcher.last[topic]).get("frames") == 5, "frames published"
        )
        assert sum(seen == topic for seen, _ in watcher.seen) == 1
        rig.limits = QUICK
        rig.diagnose("heat", LinkState.NO_BYTES, 5)
        await eventually(
            lambda: json.loads(watcher.last[topic])["link_state"] == "no_bytes",
            "loss published",
            0.35,
        )


async def test_another_host_with_the_same_instance_is_reported(
    rig: PublisherRig,
    watcher: Watcher,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs.append("another daemon uses instance main on this broker; set mqtt.instance")
    async with rig.run():
        await rig.connected()
        for info in ("[]", "{", '{"host": "pi", "boot": "b2"}', '{"host": "x", "boot": "boot-1"}'):
            await watcher.publish(f"{ROOT}/bridge/info", info)
        await watcher.publish(f"{ROOT}/bridge/info", '{"host": "nas", "boot": "boot-9"}')
        await watcher.publish(f"{ROOT}/bridge/info", '{"host": "nas", "boot": "boot-9"}')
        await eventually(lambda: bool(logged(40)), "conflict logged")
        await watcher.publish(f"{ROOT}/heat/read", "")
        await eventually(lambda: bool(rig.read_requests), "still working")
    assert len(logged(40)) == 1
    assert "'nas'" in logged(40)[0]


@pytest.mark.parametrize("status", ["online", "offline"])
async def test_retained_info_of_another_host_counts_only_while_it_is_online(
    rig: PublisherRig,
    watcher: Watcher,
    expected_logs: list[str],
    status: str,
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs.append("another daemon uses instance main")
    await watcher.publish(f"{ROOT}/bridge/info", '{"host": "nas", "boot": "b"}', retain=True)
    await watcher.publish(f"{ROOT}/bridge/status", status, retain=True)
    async with rig.run():
        await rig.connected()
    assert len(logged(40)) == (status == "online")


@pytest.mark.parametrize(
    "topic", [f"{ROOT}/bridge/info", DISCOVERY.format("gone"), DISCOVERY.format("heat")]
)
@pytest.mark.parametrize("payload", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"])
async def test_rubbish_that_no_parser_accepts_is_ignored(
    rig: PublisherRig, watcher: Watcher, topic: str, payload: str
) -> None:
    await watcher.publish(f"{ROOT}/bridge/status", "online", retain=True)
    await watcher.publish(topic, payload, retain=True)
    rig.identify("heat")
    async with rig.run():
        await rig.connected()
        await watcher.publish(f"{ROOT}/bridge/info", payload)
        await watcher.publish(f"{ROOT}/heat/read", "")
        await eventually(lambda: bool(rig.read_requests), "still working")


async def test_an_offline_meter_and_expired_values(rig: PublisherRig, watcher: Watcher) -> None:
    now = [1000.0]
    rig.clock.monotonic = lambda: now[0]
    rig.identify("heat")
    rig.read("heat", "4")
    async with rig.run():
        await watcher.until(f"{ROOT}/heat/status", "online")
        now[0] += 3 * 60 + 1
        await watcher.until(f"{ROOT}/heat/status", "offline")
        await eventually(
            lambda: '"energy_import": null' in watcher.last[f"{ROOT}/heat/state/values"], "nulled"
        )
        rig.read("heat", "5")
        await watcher.until(f"{ROOT}/heat/status", "online")
