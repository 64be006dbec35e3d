"""The scenario in which faults happen, and the checks after each fault."""

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
from tests.support.fault_rig import (
    NAMES,
    bridges_to,
    daemon_in_process,
    emulated_meters,
    history_payloads,
)
from tests.support.history_recorder import Recorder, check_records, record_id, recording
from tests.support.mqtt_proxy import Proxy, proxied
from tests.support.serial_bridge import Bridge

ROOT = "kamstrup/main"


class LogSource(NamedTuple):
    """A logger, and parts of its messages for a loss (at WARNING) and for the recovery."""

    logger: str
    lost: str
    restored: str


BROKER_LOG = LogSource("kamstrup_mqtt.mqtt", "broker: ", "connected to the broker")
MAX_MORE_RESOURCES = 2
"""Tolerance for tasks, descriptors and threads, each."""
MAX_MORE_MEMORY = 24_000
"""Tolerance in kB for the memory of the process, which includes the test."""


class ResourceUsage(NamedTuple):
    """Resources of the process; memory in kB. The descriptors exclude the file of the history,
    which is opened on demand."""

    tasks: int
    descriptors: int
    threads: int
    memory: int


def resource_usage() -> ResourceUsage:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    descriptors = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return ResourceUsage(
        len(asyncio.all_tasks()),
        len([path for path in descriptors if "history.db" not in path]),
        threading.active_count(),
        next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")),
    )


def meter_log(id_: str) -> LogSource:
    """Return the log of a meter."""
    return LogSource(f"kamstrup_mqtt.meter.{id_}", "", "readings arrive again")


@dataclass(slots=True)
class Scenario:
    """A broker behind a proxy, two meters behind bridges, the daemon, and a recorder of records."""

    broker: Mosquitto
    proxy: Proxy
    recorder: Recorder
    app: App
    bridges: dict[str, Bridge]
    caplog: pytest.LogCaptureFixture

    @contextlib.asynccontextmanager
    async def fault(self, source: LogSource = BROKER_LOG) -> AsyncIterator[None]:
        """Context in which something is broken and repaired.

        Afterwards readings flow without a restart, the log has one line for the loss and one for
        the recovery, every accepted record has arrived unaltered and in order without a gap, and
        the process uses no more resources than before.
        """
        before = resource_usage()
        lost, restored = self.count_lost(source), self.count_restored(source)
        yield
        await self.wait_for_records()
        await eventually(
            lambda: self.count_restored(source) > restored, "the recovery is logged", 20
        )
        await self.wait_for_accepted()
        assert self.count_lost(source) == lost + 1, self.messages(source.logger)
        assert self.count_restored(source) == restored + 1, self.messages(source.logger)
        await self.assert_no_growth(before)

    async def wait_for_records(self, *ids: str, within: float = 30.0) -> None:
        """Wait for new records of these meters (default: all)."""
        for id_ in ids or NAMES:
            before = self.newest_number(id_)
            await eventually(
                lambda id_=id_, before=before: self.newest_number(id_) > before + 5,  # type: ignore[misc]
                f"new records of {id_}",
                within,
            )

    def newest_number(self, id_: str) -> int:
        """Return the number of the newest record of a meter."""
        for payload in reversed(self.recorder.seen):
            meter, _, seq = record_id(payload)
            if meter == id_:
                return seq
        return 0

    async def wait_for_accepted(self) -> None:
        """Wait until all acknowledged records have arrived, and check their order."""
        accepted = history_payloads(self.proxy.acknowledged)
        await eventually(lambda: accepted <= set(self.recorder.seen), "all accepted records", 30)
        check_records(self.recorder.seen, accepted)

    async def assert_no_growth(self, before: ResourceUsage) -> None:
        """Wait until the process uses no more resources than before."""

        def has_no_growth() -> bool:
            now = resource_usage()
            return now.memory <= before.memory + MAX_MORE_MEMORY and all(
                x <= y + MAX_MORE_RESOURCES for x, y in zip(now[:3], before[:3], strict=True)
            )

        try:
            await eventually(has_no_growth, "no growth", 20)
        except AssertionError as error:
            raise AssertionError(f"resources grew from {before} to {resource_usage()}") from error

    def messages(self, logger: str, level: int = logging.INFO) -> list[str]:
        return [
            record.getMessage()
            for record in self.caplog.records
            if record.name == logger and record.levelno >= level
        ]

    def count_lost(self, source: LogSource = BROKER_LOG) -> int:
        lines = self.messages(source.logger, logging.WARNING)
        return sum(source.lost in line for line in lines)

    def count_restored(self, source: LogSource = BROKER_LOG) -> int:
        return sum(source.restored in line for line in self.messages(source.logger))

    async def wait_until_lost(self, source: LogSource = BROKER_LOG, within: float = 20.0) -> None:
        before = self.count_lost(source)
        await eventually(lambda: self.count_lost(source) > before, "the loss is logged", within)

    def status(self) -> str:
        """Return the status line, empty before the daemon has its components."""
        commands = self.app._control_commands
        return "" if commands is None else commands.status_text()

    def health(self) -> dict[str, Any]:
        commands = self.app._control_commands
        assert commands is not None
        return dict(commands.handlers["health"]({}))

    def waiting(self) -> int:
        """Return the number of records that are not delivered yet."""
        return int(self.health()["history"]["waiting"])

    async def wait_for_frames(self, count: int) -> None:
        """Wait until the daemon has read `count` more frames of each meter."""
        for id_ in NAMES:
            counters = self.app.counters[id_]
            target = counters.frames + count
            await eventually(
                lambda counters=counters, target=target: counters.frames >= target,  # type: ignore[misc]
                f"{count} frames of {id_}",
                30,
            )

    def records(self, id_: str) -> list[dict[str, Any]]:
        """Return the records of one meter, each once."""
        found = [json.loads(payload) for payload in dict.fromkeys(self.recorder.seen)]
        return [record for record in found if record["meter"] == id_]


@contextlib.asynccontextmanager
async def running_scenario(
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    mode: str = "offline",
    state: Path | None = None,
    wait: bool = True,
    **options: Any,
) -> AsyncIterator[Scenario]:
    """Run two meters behind bridges, the daemon, and a broker behind a proxy.

    state  directory of the daemon's files
    wait   wait for the first records; otherwise the broker refuses connections at first
    """
    caplog.set_level(logging.INFO, logger="kamstrup_mqtt")  # DEBUG logs each byte
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            emulated_meters(directory) as entries,
            bridges_to(entries) as (bridges, bridged_entries),
        ):
            if not wait:
                proxy.refuses = True
            async with daemon_in_process(
                state or directory, bridged_entries, proxy, mode, **options
            ) as app:
                scenario = Scenario(broker, proxy, recorder, app, bridges, caplog)
                if wait:
                    await scenario.wait_for_records()
                yield scenario
