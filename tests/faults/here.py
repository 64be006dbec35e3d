"""Two pushing meters, and the whole daemon in this process with limits fit for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kamstrup_mqtt.app import App, Ending
from kamstrup_mqtt.app import Limits as AppLimits
from kamstrup_mqtt.config import Config
from kamstrup_mqtt.publisher import Limits as PublisherLimits
from kamstrup_mqtt.publisher.session import SessionLimits
from tests.broker import Mosquitto
from tests.daemon import Meter, emulated
from tests.proxy import Proxy
from tests.recorder import Recorder

METERS = tuple(
    Meter(
        id=name,
        protocol="han",
        model="kamstrup_han_3phase",
        settings={"hourly": "always", "meter_id": f"{n}" * 16},
        options={"energy_scale": 10},
        push_interval=0.1,
    )
    for n, name in enumerate(("first", "second"), 1)
)
PUSHY = PublisherLimits(
    connect=5.0,
    ack=1.0,
    first_backoff=0.02,
    backoff_cap=0.05,
    slow_backoff=0.05,
    quick_loss=0.0,
    session=SessionLimits(settle=0.05, settle_cap=1.0, idle=0.5),
)


@contextlib.asynccontextmanager
async def meters(directory: Path) -> AsyncIterator[list[dict[str, Any]]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(emulated(meter, directory)) for meter in METERS]


def history(messages: list[tuple[str, str]]) -> set[str]:
    return {payload for topic, payload in messages if topic.endswith("/history")}


async def kill(broker: Mosquitto, proxy: Proxy, recorder: Recorder) -> None:
    """Kill and start the broker; the recorder is there before the daemon is let through."""
    proxy.closed = True
    broker.kill()
    proxy.reset()
    await recorder.stop()
    broker.start()
    await recorder.start()
    proxy.closed = False


@contextlib.asynccontextmanager
async def daemon_here(
    directory: Path, entries: list[dict[str, Any]], proxy: Proxy, mode: str
) -> AsyncIterator[App]:
    """The whole daemon in this process, with a broker back-off fit for tests."""
    config = Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": proxy.port},
            "meters": entries,
            "spool": {"mode": mode, "resend": 1.5},
            "state_directory": str(directory),
        }
    )
    app = App(
        config,
        reload=lambda: config,
        environ={"RUNTIME_DIRECTORY": str(directory)},
        limits=replace(AppLimits(), publisher=PUSHY),
        arm=lambda _: None,
    )
    task = asyncio.create_task(app.run())
    try:
        yield app
        app.end(Ending.STOPPED)
        await asyncio.wait_for(task, 10)
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10)
