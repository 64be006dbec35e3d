"""Two pushing meters behind bridges, and the daemon in this process with short timeouts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.daemon.app import App, DaemonTimeouts, ExitReason
from kamstrup_mqtt.mqtt import PublisherLimits
from kamstrup_mqtt.mqtt.session import SessionLimits
from kamstrup_mqtt.reading.reader import ReaderTimeouts as ReaderLimits
from kamstrup_mqtt.storage.history.spooler import HistoryLimits
from tests.support.broker import Mosquitto
from tests.support.daemon import Meter, emulated
from tests.support.history_recorder import Recorder
from tests.support.mqtt_proxy import Proxy
from tests.support.serial_bridge import Bridge, bridged

NAMES = ("first", "second")
METERS = tuple(
    Meter(
        id=name,
        protocol="han",
        model="kamstrup_han_3phase",
        settings={"hourly": "always", "meter_id": f"{n}" * 16},
        options={"energy_scale": 10},
        push_interval=0.1,
    )
    for n, name in enumerate(NAMES, 1)
)
PUBLISHER_LIMITS = PublisherLimits(
    connect=5.0,
    ack=1.0,
    first_backoff=0.02,
    backoff_cap=0.05,
    slow_backoff=0.05,
    quick_loss=0.0,
    session=SessionLimits(quiet_period=0.05, quiet_cap=1.0, idle=0.5),
)
TIMEOUTS = DaemonTimeouts(
    publisher=PUBLISHER_LIMITS,
    history=HistoryLimits(retry=0.3, grace=1.0),
    reader=ReaderLimits(
        no_bytes=1.0,
        no_frames=1.0,
        reopen_after=1.5,
        port_check_interval=0.2,
        reopen_grace=0.1,
        idle_check=0.1,
    ),
)


@contextlib.asynccontextmanager
async def emulated_meters(directory: Path) -> AsyncIterator[list[dict[str, Any]]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(emulated(meter, directory)) for meter in METERS]


@contextlib.asynccontextmanager
async def bridges_to(
    entries: list[dict[str, Any]],
) -> AsyncIterator[tuple[dict[str, Bridge], list[dict[str, Any]]]]:
    """Run bridges to the meters. Yields them by meter id, and the entries with their ports."""
    async with contextlib.AsyncExitStack() as stack:
        bridges = {}
        for entry in entries:
            host, port = entry["port"].removeprefix("tcp://").split(":")
            bridges[entry["id"]] = await stack.enter_async_context(bridged(host, int(port)))
        yield (
            bridges,
            [
                {**entry, "port": f"tcp://127.0.0.1:{bridges[entry['id']].port}"}
                for entry in entries
            ],
        )


def history_payloads(messages: list[tuple[str, str]]) -> set[str]:
    return {payload for topic, payload in messages if topic.endswith("/history")}


async def kill_broker(broker: Mosquitto, proxy: Proxy, recorder: Recorder) -> None:
    """Kill and restart the broker. The recorder connects before the daemon."""
    proxy.refuses = True
    broker.kill()
    proxy.reset()
    await recorder.ended()
    broker.start()
    await recorder.start()
    proxy.refuses = False


@contextlib.asynccontextmanager
async def daemon_in_process(
    directory: Path,
    entries: list[dict[str, Any]],
    proxy: Proxy,
    mode: str,
    spool: Mapping[str, Any] | None = None,
    mqtt: Mapping[str, Any] | None = None,
    timeouts: DaemonTimeouts = TIMEOUTS,
) -> AsyncIterator[App]:
    """Run the daemon in this process."""
    config = Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": proxy.port, **(mqtt or {})},
            "meters": entries,
            "spool": {"mode": mode, "resend": 1.5, **(spool or {})},
            "state_directory": str(directory),
        }
    )
    app = App(
        config,
        reload=lambda: config,
        environ={"RUNTIME_DIRECTORY": str(directory)},
        timeouts=timeouts,
        exit_timer=lambda _: None,
    )
    task = asyncio.create_task(app.run())
    try:
        yield app
        app.request_exit(ExitReason.STOPPED)
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10)
