"""Announcing and removing devices, at a real Mosquitto."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.config import Config, HomeAssistantConfig
from kamstrup_mqtt.mqtt.paho_connection import PahoConnection
from tests.support.broker import Mosquitto, Watcher, eventually
from tests.support.publisher import (
    DISCOVERY,
    ROOT,
    SERIAL,
    PublisherRig,
    components,
    make_config,
)


async def test_devices_are_announced_without_waiting_for_each_other(
    rig: PublisherRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand meters, each a round trip to a slow broker, would be offline for long."""
    events: list[tuple[str, str]] = []
    send = PahoConnection.send

    def send_and_record(
        self: PahoConnection, topic: str, payload: str, acked: Any, *, retain: bool
    ) -> None:
        def record_ack() -> None:
            events.append(("acked", topic))
            acked()

        events.append(("sent", topic))
        send(self, topic, payload, record_ack, retain=retain)

    monkeypatch.setattr(PahoConnection, "send", send_and_record)
    for meter in ("heat", "power"):
        rig.identify(meter)
        rig.read(meter, "1")
    async with rig.run():
        await rig.connected()
    one, other = DISCOVERY.format("heat"), DISCOVERY.format("power")
    assert events.index(("sent", other)) < events.index(("acked", one))
    last = max(events.index(("acked", topic)) for topic in (one, other))
    assert last < events.index(("sent", f"{ROOT}/heat/state/values"))


async def test_an_exchanged_meter_becomes_another_device(
    rig: PublisherRig, watcher: Watcher, expected_logs: list[str]
) -> None:
    expected_logs.append("another meter answers: serial number 777, until now 6654321")
    rig.identify("heat")
    rig.read("heat", "99999")
    async with rig.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        watcher.seen.clear()
        rig.identify("heat", "777")
        rig.read("heat", "1")
        await eventually(
            lambda: '"energy_import": 1}' in watcher.last.get(f"{ROOT}/heat/state/values", ""),
            "state of the new meter",
        )
        topic = DISCOVERY.format("heat")
        payloads = [payload for seen, payload in watcher.seen if seen == topic]
        assert payloads[0] == ""
        assert "kamstrup_777" in payloads[1]
        order = [seen for seen, _ in watcher.seen]
        assert order.index(topic) < order.index(f"{ROOT}/heat/state/values")


async def test_former_meters_and_values_are_removed_after_a_restart(
    broker: Mosquitto, tmp_path: Path, watcher: Watcher
) -> None:
    path = tmp_path / "state" / "memory.json"
    first = PublisherRig(make_config(broker.port), path)
    for meter in ("heat", "power"):
        first.identify(meter)
        first.read(meter, "1", operating_hours="5")
    stranger = DISCOVERY.format("stranger")
    await watcher.publish(stranger, '{"device": {}, "origin": {"name": "x"}}', retain=True)
    async with first.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        assert "operating_hours" in components(watcher.last[DISCOVERY.format("heat")])
    watcher.seen.clear()
    # the power meter is configured no longer, and of the heat meter only one value
    config = make_config(broker.port).model_dump(exclude={"meters"})
    heat = {
        "name": "Varme",
        "id": "heat",
        "protocol": "kmp-ascii",
        "port": "tcp://127.0.0.1:9",
        "values": ["energy_import"],
    }
    second = PublisherRig(make_config(broker.port), path)
    second.config = Config.model_validate({"mqtt": config["mqtt"], "meters": [heat]})
    async with second.run():
        await eventually(
            lambda: (f"{ROOT}/bridge/status", "online") in watcher.seen, "second daemon online"
        )
        assert "power" not in second.state_file.meters
    heat_topic, power_topic = DISCOVERY.format("heat"), DISCOVERY.format("power")
    steps = [components(payload) for topic, payload in watcher.seen if topic == heat_topic]
    assert steps[0]["operating_hours"] == {"platform": "sensor"}
    assert "operating_hours" not in steps[1]
    assert [payload for topic, payload in watcher.seen if topic == power_topic] == [""]
    for topic in ("status", "state/values", "diagnostics"):
        assert (f"{ROOT}/power/{topic}", "") in watcher.seen
    assert stranger in watcher.last
    # nothing is cleared a second time: Home Assistant would complain
    watcher.seen.clear()
    third = PublisherRig(second.config, path)
    async with third.run():
        await eventually(
            lambda: (f"{ROOT}/bridge/status", "online") in watcher.seen, "third daemon online"
        )
    assert not [seen for seen in watcher.seen if not seen[1]]


@pytest.mark.parametrize(
    "foreign",
    [
        {"components": {"x": {"platform": "\ud800"}}},
        {"components": {"\ud800": {"platform": "sensor"}}},
        {"components": {"x": {"platform": float("nan")}}},
        {"components": {"x": {"platform": {"a": [1]}}}},
    ],
)
async def test_invalid_text_in_a_retained_discovery_message_is_replaced(
    rig: PublisherRig, watcher: Watcher, foreign: dict[str, Any]
) -> None:
    ours = {
        "origin": {"name": "kamstrup-mqtt"},
        "device": {"identifiers": [f"kamstrup_{SERIAL['heat']}"]},
        "availability": [{"topic": f"{ROOT}/bridge/status"}],
    }
    topic = DISCOVERY.format("heat")
    await watcher.publish(topic, json.dumps({**ours, **foreign}), retain=True)
    rig.identify("heat")
    async with rig.run():
        await rig.connected()
        await eventually(lambda: "link_state" in components(watcher.last[topic]), "ours again")


async def test_two_meters_with_one_serial_number_become_two_devices(
    rig: PublisherRig, watcher: Watcher, expected_logs: list[str]
) -> None:
    expected_logs.append("have the same serial number 6654321")
    async with rig.run():
        await rig.connected()
        rig.identify("heat")
        first = await watcher.until(DISCOVERY.format("heat"))
        rig.identify("power", "6654321")
        second = await watcher.until(DISCOVERY.format("power"))
    assert json.loads(first)["device"]["identifiers"] == ["kamstrup_6654321"]
    assert json.loads(second)["device"]["identifiers"] == ["kamstrup_6654321_power"]


async def test_without_home_assistant_nothing_is_announced(
    broker: Mosquitto, watcher: Watcher
) -> None:
    rig = PublisherRig(make_config(broker.port))
    rig.config = rig.config.model_copy(update={"homeassistant": HomeAssistantConfig(enabled=False)})
    rig.identify("heat")
    rig.read("heat", "1")
    async with rig.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        assert f"{ROOT}/heat/state/values" in watcher.last
        assert not [topic for topic in watcher.last if topic.startswith("homeassistant/")]
