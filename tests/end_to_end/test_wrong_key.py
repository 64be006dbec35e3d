"""A wrong key at the first start is a problem in Home Assistant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.broker import Watcher, eventually, running, watching
from tests.support.daemon import Meter, daemon, emulated

EK, AK = "000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
METER = Meter(
    id="main",
    protocol="han",
    model="kamstrup_han_3phase",
    settings={"encryption_key": EK, "authentication_key": AK},
    options={"energy_scale": 10, "authentication_key": AK},
    push_interval=0.1,
)
BRIDGE = "homeassistant/device/kamstrup_main_bridge/config"
DEVICE = "homeassistant/device/kamstrup_main_main/config"
DIAGNOSTICS = "kamstrup/main/main/diagnostics"


def component(watcher: Watcher, topic: str, name: str) -> dict[str, Any] | None:
    message = json.loads(watcher.last.get(topic) or '{"components": {}}')
    found: dict[str, Any] | None = message["components"].get(name)
    return found


async def test_a_wrong_key_is_a_problem_of_an_unidentified_meter(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        async with (
            watching(broker.port) as watcher,
            emulated(METER, tmp_path) as entry,
            daemon(tmp_path) as process,
        ):
            mqtt = {"host": "127.0.0.1", "port": broker.port}
            process.configure(mqtt, {**entry, "encryption_key": "F" * 32})
            await process.start()
            await eventually(
                lambda: component(watcher, BRIDGE, "main_problem") is not None, "a problem", 20
            )
            sensor = component(watcher, BRIDGE, "main_problem")
            assert sensor is not None
            assert sensor["platform"] == "binary_sensor"
            assert sensor["name"] == "main problem"
            assert sensor["unique_id"] == "kamstrup_mqtt_main_main_problem"
            assert (sensor["device_class"], sensor["state_topic"]) == ("problem", DIAGNOSTICS)
            await eventually(lambda: DIAGNOSTICS in watcher.last, "diagnostics")
            diagnostics = json.loads(watcher.last[DIAGNOSTICS])
            assert diagnostics["link_state"] == "wrong_key"
            assert "encrypted with another key" in diagnostics["problem"]
            assert DEVICE not in watcher.last  # no device without a serial number
            await process.end()

            process.configure(mqtt, {**entry, "encryption_key": EK})
            await process.start()
            await eventually(
                lambda: component(watcher, DEVICE, "problem") is not None, "the device", 20
            )
            await eventually(
                lambda: component(watcher, BRIDGE, "main_problem") is None, "no problem", 20
            )
            # removed in two steps, otherwise Home Assistant keeps the entity
            steps = [
                json.loads(p)["components"].get("main_problem")
                for t, p in watcher.seen
                if t == BRIDGE
            ]
            assert {"platform": "binary_sensor"} in steps
            assert "problem" in json.loads(watcher.last[DIAGNOSTICS])
            await process.end()
