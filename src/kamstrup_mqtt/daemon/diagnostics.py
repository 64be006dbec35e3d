"""Diagnostics for bug reports: the program, its configuration, and the state of its meters.

Serial numbers are masked, but dropped bytes may contain them.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kamstrup_mqtt.config import Config, Meter
from kamstrup_mqtt.config.redaction import MASK, Redaction
from kamstrup_mqtt.core.clock import Clock, rfc3339
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.reading.counters import Counters, Drop
from kamstrup_mqtt.storage.state_schema import MeterState, ReaderState

PACKAGES = (
    "aiomqtt",
    "cryptography",
    "paho-mqtt",
    "pydantic",
    "pydantic-core",
    "pyserial",
    "pyserial-asyncio",
    "PyYAML",
    "rich",
)


def program_info() -> dict[str, Any]:
    """Return versions and memory of this process."""
    return {
        "version": version("kamstrup-mqtt"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.platform()} {platform.machine()}",
        "virtual_environment": sys.prefix != sys.base_prefix,
        "container": Path("/.dockerenv").exists(),
        "service": "INVOCATION_ID" in os.environ,
        "packages": {name: _version(name) for name in PACKAGES},
        "max_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def meter_info(
    device: Device, reader: ReaderState, counters: Counters, online: bool, clock: Clock
) -> dict[str, Any]:
    """One meter of a running daemon."""
    now = clock.monotonic()
    return {
        "model": device.config.model_id,
        "protocol": device.config.plan.protocol,
        "online": online,
        "link_state": device.link_state and device.link_state.value,
        "last_reading": rfc3339(device.last_reading),
        "last_error": device.last_error,
        "problem": device.problem,
        "notes": list(device.notes),
        "held_back": dict(device.held_back),
        "counters": counters.as_dict(now, not device.config.is_polled),
        **_state(MeterState(reader, device.meter_state)),
        "drops": [_drop_info(drop, clock) for drop in counters.drops],
    }


def _state(state: MeterState) -> dict[str, Any]:
    reader, device = state
    return {
        "identified": device.serial is not None,
        "serial_source": device.serial_source,
        "units": dict(device.units),
        "learned": reader.learned.as_mapping(),
        "unsupported": [str(source) for source in reader.unsupported],
        "last_poll": rfc3339(reader.last_poll),
    }


def state_info(state: MeterState) -> dict[str, Any]:
    """One meter as the state file has it; for when no daemon runs."""
    device = state.device
    readings = {group: rfc3339(reading.time) for group, reading in device.readings.items()}
    return {"model": device.model, "readings": readings, **_state(state)}


def port_info(configured: Meter) -> str:
    """Return the state of a meter's port without opening it."""
    address = configured.port
    if not isinstance(address, SerialDevice):
        return "a bridge"
    if not os.path.exists(address.path):
        return "no such device"
    allowed = os.access(address.path, os.R_OK | os.W_OK)
    return "present" if allowed else "present, but this user may not open it"


def _drop_info(drop: Drop, clock: Clock) -> dict[str, Any]:
    now, ago = clock.now(), clock.monotonic() - drop.at
    return {
        "time": rfc3339(now and now - timedelta(seconds=ago)),
        "seconds_ago": round(ago, 1),
        "reason": drop.reason,
        "bytes": drop.size,
        "hex": drop.raw.hex(" "),
    }


def redact(info: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return `info` and the configuration without secrets, user name and hosts."""
    redaction = Redaction(config)
    redacted: dict[str, Any] = redaction.tree(dict(info))
    config_tree = redaction.config()
    for entry in config_tree["meters"]:
        if "serial" in entry:
            entry["serial"] = MASK
    return {**redacted, "config": config_tree}
