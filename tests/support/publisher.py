"""A publisher with all it needs but readers: the test makes the reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import Diagnosis, Identity, LinkState, Measurement, Reading
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.devices.device import Device, DeviceConfig
from kamstrup_mqtt.mqtt import DaemonInfo, Publisher, PublisherLimits
from kamstrup_mqtt.mqtt.incoming import Host
from kamstrup_mqtt.mqtt.session import SessionLimits
from kamstrup_mqtt.storage.state_file import StateFile
from tests.support.broker import eventually

ROOT = "kamstrup/main"
DISCOVERY = "homeassistant/device/kamstrup_main_{}/config"
TIME = datetime(2026, 11, 21, 3, 30, 0, 123000, tzinfo=UTC)
QUICK = PublisherLimits(
    connect=5.0,
    ack=2.0,
    first_backoff=0.02,
    backoff_cap=0.05,
    slow_backoff=0.05,
    tick=0.02,
    diagnostics=60.0,
    farewell=2.0,
    leave=0.5,
    session=SessionLimits(quiet_period=0.1, quiet_cap=2.0, birth=(0.05, 0.1), idle=0.1),
)
SERIAL = {"heat": "6654321", "power": "18000001"}


def make_config(port: int, **mqtt: Any) -> Config:
    return Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": port} | mqtt,
            "meters": [
                {
                    "name": name,
                    "id": id_,
                    "protocol": "kmp-ascii",
                    "port": f"tcp://127.0.0.1:{9 + index}",
                    "interval": 60,
                }
                for index, (id_, name) in enumerate([("heat", "Varme"), ("power", "Strøm")])
            ],
        }
    )


class PublisherRig:
    """Runs a publisher. `read_requests`: meters that a command asked to be read."""

    def __init__(self, config: Config, state_path: Path | None = None) -> None:
        self.config = config
        self.clock = Clock(wall=lambda: TIME.timestamp())
        self.state_file = StateFile(state_path, self.clock)
        self.report_queue = ReportQueue()
        self.read_requests: list[str] = []
        self.refusal: str | None = None
        self.limits = QUICK
        self.host = Host(name="pi", boot="boot-1")
        self.publisher: Publisher

    def device_configs(self) -> Iterator[DeviceConfig]:
        for meter in self.config.meters:
            yield DeviceConfig(
                id=meter.id,
                name=meter.name,
                model_id=meter.model,
                model=meter.meter_model,
                plan=meter.plan(),
                interval=meter.interval_seconds,
            )

    def request_read(self, meter: str) -> str | None:
        self.read_requests.append(meter)
        return self.refusal

    @contextlib.asynccontextmanager
    async def run(self, *, offline: bool = True) -> AsyncIterator[Publisher]:
        self.state_file.open()
        now = self.clock.monotonic()
        devices = {
            config.id: Device(config, self.state_file.meter(config.id).device, now)
            for config in self.device_configs()
        }
        self.publisher = Publisher(
            self.config,
            devices,
            self.state_file,
            self.report_queue,
            self.clock,
            DaemonInfo(
                version="1.2.3",
                host=self.host,
                started="2026-11-21T03:00:00.000Z",
                config_hash="abc",
            ),
            request_read=self.request_read,
            limits=self.limits,
            rng=random.Random(1),
        )
        task = asyncio.create_task(self.publisher.run())
        try:
            yield self.publisher
            self.publisher.stop(offline=offline)
            await asyncio.wait_for(task, 10)
        finally:
            task.cancel()
            await asyncio.wait([task])
            self.state_file.close()

    async def connected(self) -> None:
        await eventually(lambda: self.publisher.is_connected, "connected to the broker")

    def identify(self, meter: str, serial: str | None = None) -> None:
        source = next(m for m in self.config.meters if m.id == meter).profile.identity[0]
        self.report_queue.put(Identity(meter=meter, serial=serial or SERIAL[meter], source=source))

    def read(self, meter: str, energy: str | None, **more: str) -> None:
        values = {"energy_import": energy, **more}
        self.report_queue.put(
            Reading(
                meter=meter,
                group="values",
                time=TIME,
                values={
                    key: Measurement(None)
                    if text is None
                    else Measurement(Decimal(text), {"energy_import": "kWh"}.get(key, "h"))
                    for key, text in values.items()
                },
            )
        )

    def diagnose(self, meter: str, state: LinkState, frames: int = 0) -> None:
        self.report_queue.put(
            Diagnosis(meter=meter, link_state=state, last_error=None, counters={"frames": frames})
        )


def components(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["components"]
    return found


def password_file(directory: Path) -> Path:
    path = directory / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "km", "right"], check=True)
    return path
