"""The stage on which faults happen, and what must hold after each of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kamstrup_mqtt.daemon.app import App
from tests.support.broker import Mosquitto, eventually, running
from tests.support.fault_rig import NAMES, behind_bridges, daemon_here, history, meters
from tests.support.history_recorder import Recorder, identity, judge, recording
from tests.support.mqtt_proxy import Proxy, proxied
from tests.support.serial_bridge import Bridge

ROOT = "kamstrup/main"
BROKER = ("kamstrup_mqtt.mqtt", "broker: ", "connected to the broker")
"""Who says that the broker is lost, and back."""
SLACK = 2
"""Tasks, descriptors and threads that come and go."""
MEMORY = 24_000
"""kB by which the process, with the test in it, may grow."""


class Burden(NamedTuple):
    """What the daemon takes; memory in kB. The history's file, which is opened when it is needed
    first, is none of the descriptors."""

    tasks: int
    descriptors: int
    threads: int
    memory: int


def burden() -> Burden:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    descriptors = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return Burden(
        len(asyncio.all_tasks()),
        len([path for path in descriptors if "history.db" not in path]),
        threading.active_count(),
        next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")),
    )


def meter_voice(id_: str) -> tuple[str, str, str]:
    """Who says that a meter is lost, and back."""
    return f"kamstrup_mqtt.meter.{id_}", "", "readings come again"


@dataclass(slots=True)
class Stage:
    """Everything runs, and readings flow."""

    broker: Mosquitto
    proxy: Proxy
    recorder: Recorder
    app: App
    bridges: dict[str, Bridge]
    caplog: pytest.LogCaptureFixture

    @contextlib.asynccontextmanager
    async def fault(self, voice: tuple[str, str, str] = BROKER) -> AsyncIterator[None]:
        """Something is broken and repaired within the `with`. Afterwards: readings flow without a
        restart; told once when lost and once when back; every accepted record is there, unaltered,
        and first deliveries ascend without a gap; nothing has grown."""
        before = burden()
        lost, back = self.lost(voice), self.back(voice)
        yield
        await self.flows()
        await eventually(lambda: self.back(voice) > back, "told that it is back", 20)
        await self.all_there()
        assert self.lost(voice) == lost + 1, self.said(voice[0])
        assert self.back(voice) == back + 1, self.said(voice[0])
        await self.flat(before)

    async def flows(self, *ids: str, within: float = 30.0) -> None:
        """New records of these meters (of all) come."""
        for id_ in ids or NAMES:
            before = self.newest(id_)
            await eventually(
                lambda id_=id_, before=before: self.newest(id_) > before + 5,  # type: ignore[misc]
                f"new records of {id_} come",
                within,
            )

    def newest(self, id_: str) -> int:
        """The number of the newest record that came."""
        for payload in reversed(self.recorder.seen):
            meter, _, seq = identity(payload)
            if meter == id_:
                return seq
        return 0

    async def all_there(self) -> None:
        """Every record that was acknowledged until now is there, in order."""
        accepted = history(self.proxy.acknowledged)
        await eventually(lambda: accepted <= set(self.recorder.seen), "all accepted", 30)
        judge(self.recorder.seen, accepted)

    async def flat(self, before: Burden) -> None:
        def small() -> bool:
            now = burden()
            return now.memory <= before.memory + MEMORY and all(
                x <= y + SLACK for x, y in zip(now[:3], before[:3], strict=True)
            )

        try:
            await eventually(small, "nothing has grown", 20)
        except AssertionError as error:
            raise AssertionError(f"grown from {before} to {burden()}") from error

    def said(self, logger: str, level: int = logging.INFO) -> list[str]:
        return [
            record.getMessage()
            for record in self.caplog.records
            if record.name == logger and record.levelno >= level
        ]

    def lost(self, voice: tuple[str, str, str] = BROKER) -> int:
        logger, part, _ = voice
        return sum(part in line for line in self.said(logger, logging.WARNING))

    def back(self, voice: tuple[str, str, str] = BROKER) -> int:
        logger, _, part = voice
        return sum(part in line for line in self.said(logger))

    async def until_lost(self, voice: tuple[str, str, str] = BROKER, within: float = 20.0) -> None:
        before = self.lost(voice)
        await eventually(lambda: self.lost(voice) > before, "told that it is lost", within)

    def status(self) -> str:
        """Empty while the daemon is being made."""
        commands = self.app._commands
        return "" if commands is None else str(commands.status_text())

    def health(self) -> dict[str, Any]:
        commands = self.app._commands
        assert commands is not None
        return dict(commands.handlers["health"]({}))

    def records(self, id_: str) -> list[dict[str, Any]]:
        """What came of one meter, each record once."""
        found = [json.loads(payload) for payload in dict.fromkeys(self.recorder.seen)]
        return [record for record in found if record["meter"] == id_]


@contextlib.asynccontextmanager
async def staged(
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    mode: str = "offline",
    state: Path | None = None,
    wait: bool = True,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Two meters behind bridges, the daemon, the broker behind a proxy. `state`: where the daemon
    keeps its files; not `wait`: nobody waits for the first records."""
    caplog.set_level(logging.INFO, logger="kamstrup_mqtt")  # each byte is logged below that
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            meters(directory) as entries,
            behind_bridges(entries) as (bridges, bridged_entries),
        ):
            if not wait:
                proxy.closed = True
            async with daemon_here(
                state or directory, bridged_entries, proxy, mode, **options
            ) as app:
                stage = Stage(broker, proxy, recorder, app, bridges, caplog)
                if wait:
                    await stage.flows()
                yield stage
