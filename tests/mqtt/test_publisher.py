"""The publisher at a real Mosquitto. Topics and payloads: docs/topics.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import replace

import pytest

from kamstrup_mqtt.mqtt import PublisherLimits
from tests.support.broker import Mosquitto, Watcher, watching
from tests.support.publisher import (
    DISCOVERY,
    QUICK,
    ROOT,
    PublisherRig,
    components,
    make_config,
)


def test_the_default_limits() -> None:
    limits = PublisherLimits()
    assert (limits.connect, limits.ack) == (30.0, 10.0)
    assert (limits.first_backoff, limits.backoff_cap, limits.slow_backoff) == (1.0, 60.0, 60.0)
    assert (limits.quick_loss, limits.quick_losses) == (10.0, 3)
    assert (limits.diagnostics, limits.tick) == (60.0, 5.0)
    assert limits.farewell + limits.leave < 5.0
    assert limits.session.birth == (1.0, 3.0)


async def test_a_reading_becomes_a_retained_state_with_all_digits(
    rig: PublisherRig, broker: Mosquitto, watcher: Watcher
) -> None:
    async with rig.run():
        rig.identify("heat")
        rig.read("heat", "65535.123456789012", operating_hours="0.0")
        state = await watcher.until(f"{ROOT}/heat/state/values")
        assert state == (
            '{"time": "2026-11-21T03:30:00.123Z", "energy_import": 65535.123456789012,'
            ' "operating_hours": 0.0}'
        )
        await watcher.until(f"{ROOT}/heat/status", "online")
        await watcher.until(f"{ROOT}/power/status", "offline")
        await watcher.until(f"{ROOT}/bridge/status", "online")
        found = components(await watcher.until(DISCOVERY.format("heat")))
        assert "energy_import" in found
    await watcher.until(f"{ROOT}/bridge/status", "offline")
    async with watching(broker.port) as later:
        assert await later.until(f"{ROOT}/heat/state/values") == state


@pytest.mark.usefixtures("interface")
async def test_the_order_of_messages_on_connect(rig: PublisherRig, watcher: Watcher) -> None:
    rig.identify("heat")
    rig.read("heat", "1")
    async with rig.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        wanted = [
            f"{ROOT}/heat/status",
            DISCOVERY.format("heat"),
            f"{ROOT}/heat/state/values",
            f"{ROOT}/heat/diagnostics",
            f"{ROOT}/bridge/info",
            f"{ROOT}/bridge/status",
        ]
        assert watcher.order(*wanted) == wanted
        info = json.loads(watcher.last[f"{ROOT}/bridge/info"])
        history = info.pop("history")
        assert re.fullmatch("[0-9a-f]{16}", history.pop("boot"))
        assert history == {
            "spool": "memory",
            "disk": "unused",
            "waiting": 1,
            "on_disk": 0,
            "delivered": 0,
            "dropped": 0,
        }
        assert info == {
            "version": "1.2.3",
            "instance": "main",
            "host": "pi",
            "boot": "boot-1",
            "started": "2026-11-21T03:00:00.000Z",
            "config_hash": "abc",
            "meters": ["heat", "power"],
            "queue": 0,
            "dropped": 0,
            "reconnects": 0,
        }
        assert DISCOVERY.format("power") not in watcher.last, "its serial number is not known"


@pytest.mark.usefixtures("interface")
async def test_leaving_a_frozen_broker_takes_no_longer_than_the_farewell(
    rig: PublisherRig, broker: Mosquitto
) -> None:
    rig.limits = replace(QUICK, farewell=0.3, leave=0.2)
    async with rig.run():
        await rig.connected()
        broker.pause()
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 2.0
    broker.resume()


async def test_a_restart_beside_a_frozen_broker_publishes_no_status(
    rig: PublisherRig, broker: Mosquitto, watcher: Watcher
) -> None:
    rig.limits = replace(QUICK, farewell=0.3, leave=0.2)
    async with rig.run(offline=False):
        await watcher.until(f"{ROOT}/bridge/status", "online")
        broker.pause()
        rig.read("heat", "1")  # waits for an acknowledgement
    broker.resume()
    await watcher.publish("done", "1")
    await watcher.until("done")
    # The will may come: the broker fails to write acknowledgements to the closed connection before
    # it reads DISCONNECT
    log = broker.log.read_text().splitlines()
    ours = [line for line in log if "Received PUBLISH from kamstrup-mqtt-kamstrup-main" in line]
    assert len([line for line in ours if f"'{ROOT}/bridge/status'" in line]) == 1


async def test_a_restart_publishes_no_status(rig: PublisherRig, watcher: Watcher) -> None:
    async with rig.run(offline=False):
        await watcher.until(f"{ROOT}/bridge/status", "online")
    await watcher.publish("done", "1")
    await watcher.until("done")
    assert watcher.last[f"{ROOT}/bridge/status"] == "online"


async def test_a_cancelled_publisher_publishes_offline(rig: PublisherRig, watcher: Watcher) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with rig.run():
            await watcher.until(f"{ROOT}/bridge/status", "online")
            raise ZeroDivisionError
    await watcher.until(f"{ROOT}/bridge/status", "offline")


async def test_mqtt_5(broker: Mosquitto, watcher: Watcher) -> None:
    rig = PublisherRig(make_config(broker.port, version="5"))
    rig.identify("heat")
    rig.read("heat", "4")
    async with rig.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        assert '"energy_import": 4' in await watcher.until(f"{ROOT}/heat/state/values")
