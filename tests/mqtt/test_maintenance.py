"""`check --connect` and `remove` at a real Mosquitto."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.mqtt import BrokerError, check_broker, clear_retained
from tests.support.broker import Mosquitto, eventually, running, watching
from tests.support.publisher import DISCOVERY, ROOT, PublisherRig, make_config, password_file


async def test_a_check_publishes_and_reads_back(broker: Mosquitto) -> None:
    assert await check_broker(make_config(broker.port).mqtt) == [
        f"connected to 127.0.0.1:{broker.port}",
        f"published to {ROOT}/bridge/check and read it back",
    ]


async def test_a_check_notices_an_access_list_that_drops_messages(
    tmp_path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("does not let us subscribe")
    acl = tmp_path / "acl"
    acl.write_text("user km\ntopic read homeassistant/#\n")
    settings = [
        "allow_anonymous false",
        f"password_file {password_file(tmp_path)}",
        f"acl_file {acl}",
    ]
    with running(tmp_path, settings) as broker:
        config = make_config(broker.port, username="km", password="right")
        with pytest.raises(BrokerError, match=rf"did not come back.*{ROOT}/#"):
            await check_broker(config.mqtt, ack_timeout=0.3)


async def test_remove_clears_only_the_topics_of_this_instance(
    tmp_path: Path, logged: Callable[[int], list[str]]
) -> None:
    with running(tmp_path) as broker:
        config: Config = make_config(broker.port)
        rig = PublisherRig(config)
        rig.identify("heat")
        rig.read("heat", "1")
        async with watching(broker.port) as watcher:
            await watcher.publish("kamstrup/attic/heat/status", "online", retain=True)
            stranger = "homeassistant/device/kamstrup_main_x/config"
            await watcher.publish(stranger, '{"origin": {"name": "zigbee"}}', retain=True)
            async with rig.run():
                await watcher.until(f"{ROOT}/bridge/status", "online")
                with pytest.raises(KamstrupMqttError, match="stop it first"):
                    await clear_retained(config, "1.2.3", quiet_period=0.2)
            await watcher.until(f"{ROOT}/bridge/status", "offline")
            cleared = await clear_retained(config, "1.2.3", quiet_period=0.2)
            assert {
                DISCOVERY.format("heat"),
                DISCOVERY.format("bridge"),
                f"{ROOT}/heat/state/values",
                f"{ROOT}/heat/status",
                f"{ROOT}/power/status",
                f"{ROOT}/heat/diagnostics",
                f"{ROOT}/power/diagnostics",
                f"{ROOT}/bridge/status",
                f"{ROOT}/bridge/info",
            } == set(cleared)
            assert cleared[0].startswith("homeassistant/")
            assert await clear_retained(config, "1.2.3", quiet_period=0.2) == []
            await eventually(
                # a record of the history is not retained, but the watcher has seen one
                lambda: (
                    set(watcher.last) - {f"{ROOT}/heat/history"}
                    == {"kamstrup/attic/heat/status", stranger}
                ),
                "cleared",
            )
