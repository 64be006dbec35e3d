"""Takes the readers' reports and publishes them, whether the broker is connected or not."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig
from kamstrup_mqtt.mqtt.callbacks import SessionCallbacks
from kamstrup_mqtt.mqtt.connection import Connector
from kamstrup_mqtt.mqtt.connector import connect
from kamstrup_mqtt.mqtt.incoming import Host
from kamstrup_mqtt.mqtt.limits import PublisherLimits
from kamstrup_mqtt.mqtt.publish_queue import PublishQueue
from kamstrup_mqtt.mqtt.reconnect_policy import ReconnectPolicy
from kamstrup_mqtt.mqtt.session import SessionContext
from kamstrup_mqtt.mqtt.session_runner import SessionRunner
from kamstrup_mqtt.storage.history.queue import HistoryQueue
from kamstrup_mqtt.storage.state_file import StateFile

_LOG = logging.getLogger(__package__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonInfo:
    """This daemon, for bridge/info. `started` is in RFC 3339, None if the clock was not set."""

    version: str
    host: Host
    started: str | None
    config_hash: str


class Publisher:
    """Publishes from `run` until `stop`."""

    def __init__(
        self,
        config: Config,
        devices: Mapping[str, Device],
        state_file: StateFile,
        report_queue: ReportQueue,
        clock: Clock,
        daemon: DaemonInfo,
        *,
        request_read: Callable[[str], str | None],
        history: HistoryQueue | None = None,
        limits: PublisherLimits | None = None,
        rng: random.Random | None = None,
        connect: Connector = connect,
    ) -> None:
        self._limits = limits = limits or PublisherLimits()
        rng = rng or random.Random()  # noqa: S311  # jitter, no secret
        self._instance = config.mqtt.topics.instance
        self._report_queue = report_queue
        self._clock = clock
        self._daemon = daemon
        self._queue = PublishQueue(
            devices,
            state_file,
            clock,
            history=history,
            diagnostics_interval=limits.diagnostics,
        )
        self._heartbeat = Heartbeat("publisher", clock.monotonic)
        self._session_heartbeat = Heartbeat("broker session", clock.monotonic)
        self._policy = ReconnectPolicy(limits, self._instance, rng, clock.monotonic)
        context = SessionContext(
            config=config,
            discovery=_discovery_config(config, daemon),
            queue=self._queue,
            host=daemon.host,
            callbacks=self._callbacks(request_read),
            ack_timeout=limits.ack,
            limits=limits.session,
            rng=rng,
        )
        self._runner = SessionRunner(
            context, self._policy, connect, limits, self._session_heartbeat
        )
        self._drain_failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._warnings: set[str] = set()

    def _callbacks(self, request_read: Callable[[str], str | None]) -> SessionCallbacks:
        return SessionCallbacks(
            bridge_info=self._bridge_info,
            request_read=request_read,
            report_conflict=self._policy.report_conflict,
            expect_progress=self._session_heartbeat.expect_within,
            warn_once=self._warn_once,
            update_backpressure=self._update_backpressure,
        )

    @property
    def heartbeats(self) -> tuple[Heartbeat, Heartbeat]:
        """The heartbeats that the watchdog checks."""
        return self._heartbeat, self._session_heartbeat

    @property
    def is_connected(self) -> bool:
        """Whether the broker is connected and everything is announced."""
        return self._policy.is_announced

    @property
    def online(self) -> Mapping[str, bool]:
        """Whether each meter is online, by meter id."""
        return self._queue.online

    @property
    def reconnects(self) -> int:
        """How many connections were lost."""
        return self._policy.reconnects

    def stop(self, *, offline: bool) -> None:
        """End `run` after publishing the reports in the queue.

        With `offline`, publish that the bridge is offline. Not wanted before a restart.
        """
        for report in self._report_queue.take_all():
            self._queue.apply(report)
            self._queue.add_record(report)
        self._runner.stop(offline=offline)
        self._queue.changed.set()

    async def run(self) -> None:
        """Publish until stopped or cancelled."""
        self._report_queue.set_consumer(self._drain)
        self._drain()
        async with asyncio.TaskGroup() as group:
            work = (self._raise_drain_failure(), self._tick(), self._queue.history.run())
            helpers = [group.create_task(task) for task in work]
            sessions = group.create_task(self._runner.run())
            await self._runner.wait_stopped()
            if not self._policy.is_connected:
                sessions.cancel()
            await asyncio.wait([sessions], timeout=self._limits.farewell)
            for task in (sessions, *helpers):
                task.cancel()

    def _drain(self) -> None:
        """Apply the reports in the queue and send the changes at once. Called by the loop."""
        try:
            for report in self._report_queue.take_all():
                self._queue.apply(report)
                self._push()  # sends the state before the record is made
                self._queue.add_record(report)
            self._update_backpressure()
        except Exception as bug:  # noqa: BLE001 - raised by a task, the loop would only log it
            if not self._drain_failure.done():
                self._drain_failure.set_exception(bug)

    async def _raise_drain_failure(self) -> None:
        await self._drain_failure

    def _update_backpressure(self) -> None:
        self._report_queue.set_backpressure(self._queue.history.is_backlogged)

    def _push(self) -> None:
        if not self._runner.push():
            self._queue.changed.set()

    async def _tick(self) -> None:
        while True:
            pause = self._queue.tick() - self._clock.monotonic()
            self._push()
            pause = min(max(pause, 0.0), self._limits.tick)
            self._heartbeat.expect_within(pause)
            await asyncio.sleep(pause)

    def _warn_once(self, message: str) -> None:
        # Not per session: the broker sends a retained message on each connection
        if message not in self._warnings:
            self._warnings.add(message)
            _LOG.warning("%s", message)

    def _bridge_info(self) -> Json:
        return {
            "version": self._daemon.version,
            "instance": self._instance,
            "host": self._daemon.host.name,
            "boot": self._daemon.host.boot,
            "started": self._daemon.started,
            "config_hash": self._daemon.config_hash,
            "meters": list(self._queue.devices),
            "queue": len(self._report_queue),
            "dropped": self._report_queue.dropped,
            "reconnects": self.reconnects,
            "history": self._queue.history.info(),
        }


def _discovery_config(config: Config, daemon: DaemonInfo) -> DiscoveryConfig:
    return DiscoveryConfig(
        topics=config.mqtt.topics,
        prefix=config.homeassistant.prefix,
        is_modern=config.homeassistant.is_modern,
        version=daemon.version,
    )
