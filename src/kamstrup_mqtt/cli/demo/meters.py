"""The emulated meters of the demo, and the configuration of the daemon that reads them."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_pty, serve_tcp


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoMeter:
    """One emulated meter, on a pty or on a TCP port."""

    id: str
    name: str
    protocol: str
    model: str
    pty: bool
    settings: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    push_interval: float | None = None


METERS = (
    DemoMeter(
        id="heat",
        name="MULTICAL 403",
        protocol="kmp",
        model="multical_403",
        pty=True,
        settings={"serial": "6892850"},  # not that of the 685-382
        options={"interval": "5s"},
    ),
    DemoMeter(
        id="electricity_kmp",
        name="685-382 (KMP-ASCII)",
        protocol="kmp-ascii",
        model="e685_382",
        pty=False,
        options={"interval": "5s"},
    ),
    DemoMeter(
        id="electricity_iec",
        name="685-382 (IEC 61107)",
        protocol="iec62056-21",
        model="e685_382",
        pty=False,
        options={"interval": "5s"},
    ),
    DemoMeter(
        id="han",
        name="HAN, three phases",
        protocol="han",
        model="kamstrup_han_3phase",
        pty=True,
        settings={"hourly": "always", "energy_import": "44228.00"},
        options={"energy_scale": 10},
        push_interval=3.0,
    ),
)


async def start_emulator(stack: contextlib.AsyncExitStack, meter: DemoMeter, folder: Path) -> str:
    """Start an emulated meter; returns its port as written in the configuration."""
    make = functools.partial(make_emulator, meter.model, meter.protocol, meter.settings)
    if meter.pty:
        path = str(folder / f"{meter.id}.tty")
        server = await serve_pty(make, path, interval=meter.push_interval)
        stack.push_async_callback(server.close)
        return path
    server = await serve_tcp(make, "127.0.0.1", 0, interval=meter.push_interval)
    stack.push_async_callback(server.close)
    return f"tcp://127.0.0.1:{server.port}"


def write_configuration(folder: Path, broker_port: int, ports: Mapping[str, str]) -> Path:
    """Write the configuration of the daemon (JSON is valid YAML); returns its path."""
    meters = [
        {
            "id": meter.id,
            "name": meter.name,
            "protocol": meter.protocol,
            "model": meter.model,
            "port": ports[meter.id],
            **meter.options,
        }
        for meter in METERS
    ]
    config = folder / "config.yaml"
    mqtt = {"host": "127.0.0.1", "port": broker_port}
    config.write_text(json.dumps({"mqtt": mqtt, "meters": meters}), encoding="utf-8")
    return config
