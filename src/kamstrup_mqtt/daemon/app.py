"""The daemon: makes every object, starts the tasks, stops them in order.

Readers and publisher meet only at the outbox. A programming error in any task ends the process
with its traceback; a reader's own faults never get here.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import version
from pathlib import Path

from kamstrup_mqtt.config import Config, Meter, with_models
from kamstrup_mqtt.core.clock import Clock, rfc3339
from kamstrup_mqtt.core.environment import uses_fast_path
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.daemon import clock_watch, factory
from kamstrup_mqtt.daemon.clock_watch import ClockWatch
from kamstrup_mqtt.daemon.control_commands import Components, ControlCommands
from kamstrup_mqtt.daemon.control_socket import ControlServer, control_address
from kamstrup_mqtt.daemon.supervisor import Supervisor
from kamstrup_mqtt.daemon.systemd import Notifier
from kamstrup_mqtt.daemon.watchdog import EXIT_AFTER, Watchdog, start_exit_timer
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Opener
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.meters.plan import PlanPool
from kamstrup_mqtt.mqtt import Connector, DaemonInfo, Publisher, PublisherLimits, connect
from kamstrup_mqtt.mqtt.incoming import Host
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.reader import Reader
from kamstrup_mqtt.reading.reader import ReaderTimeouts as ReaderLimits
from kamstrup_mqtt.storage import spool
from kamstrup_mqtt.storage.history.spooler import HistoryLimits
from kamstrup_mqtt.storage.state_file import StateFile, detected_models, state_directory

_LOG = logging.getLogger(__name__)

DISTRIBUTION = "kamstrup-mqtt"


class ExitReason(Enum):
    """Why the daemon ended."""

    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonTimeouts:
    """Seconds. `stop`: for the whole end; `status`: between two looks at the status line; `clock`:
    at the clock; `detection_grace`: for the polls that are under way when a model was found."""

    stop: float = 5.0
    status: float = 5.0
    clock: float = clock_watch.INTERVAL
    detection_grace: float = 60.0
    history: HistoryLimits = field(default_factory=HistoryLimits)
    publisher: PublisherLimits = field(default_factory=PublisherLimits)
    reader: ReaderLimits = field(default_factory=ReaderLimits)


class App:
    """One run of the daemon.

    `reload` reads the configuration anew (raises ConfigError), None: SIGHUP ends the run;
    `exit_timer` ends the process by itself after so many seconds unless it is called again.
    `open_link` and `connect` reach the meters and the broker. With a `seed` nothing is left to
    chance."""

    def __init__(
        self,
        config: Config,
        *,
        reload: Callable[[], Config] | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
        timeouts: DaemonTimeouts | None = None,
        exit_timer: Callable[[float], None] | None = None,
        open_link: Opener = open_link,
        connect: Connector = connect,
        seed: str | None = None,
    ) -> None:
        self._config = config
        self._reload = reload
        self._environ = environ
        self._fast_path = uses_fast_path(environ)
        self._clock = clock or Clock()
        self._timeouts = timeouts or DaemonTimeouts()
        self._exit_timer = exit_timer or start_exit_timer
        self._open_link = open_link
        self._connect = connect
        self._seed = seed
        self._notifier = Notifier(environ)
        self._exit_reason: ExitReason | None = None
        self._exit_requested = asyncio.Event()
        self._restart_requested = asyncio.Event()
        self._status = ""
        self._readers: dict[str, Reader] = {}
        directory = config.state_directory or state_directory(environ)
        self._state_file = StateFile(Path(directory) / "memory.json", self._clock)
        file = Path(directory) / spool.FILE
        self._history = factory.make_history(
            config.spool, file, self._clock.monotonic, seed, self._timeouts.history
        )

    async def run(self) -> ExitReason:
        """Until a signal ends it. Raises ConfigError when another daemon has our memory."""
        self._state_file.open()
        try:
            self._build()
            await self._history.open()
            await self._run()
        finally:
            await self._history.close()
            self._state_file.close()
        return self._exit_reason or ExitReason.STOPPED

    def request_exit(self, reason: ExitReason) -> None:
        """Ask for the end; the first to ask decides."""
        if self._exit_reason is None:
            self._exit_reason = reason
            self._exit_timer(self._timeouts.stop)
            self._exit_requested.set()

    @property
    def counters(self) -> Mapping[str, Counters]:
        """What each meter's reader has counted."""
        return {id_: reader.counters for id_, reader in self._readers.items()}

    # Making everything

    def _build(self) -> None:
        self._config = with_models(self._config, detected_models(self._state_file.meters))
        config, clock = self._config, self._clock
        self._report_queue = ReportQueue(monotonic=clock.monotonic)
        self._ports: dict[PortAddress, Port] = {}
        started = clock.monotonic()
        plans = PlanPool()
        self._devices = {
            meter.id: factory.make_device(
                meter,
                config,
                self._state_file.meter(meter.id),
                started,
                exact=self._state_file.clean_shutdown,
                merge_live=lambda retained: self._readers[retained.meter].merge_retained(retained),
                plan=plans.share(meter.plan()),
            )
            for meter in config.meters
        }
        for meter in config.meters:
            self._add_reader(meter)
        self._supervisor = Supervisor(self._readers.values(), clock.monotonic)
        self._publisher = self._make_publisher()
        self._clock_watch = ClockWatch(
            clock,
            self._state_file,
            self._report_queue,
            self._devices,
            lambda: self._publisher.is_connected,
            interval=self._timeouts.clock,
        )
        self._watchdog = Watchdog(
            (*self._publisher.heartbeats, self._supervisor.heartbeat),
            lambda: self._notifier.send(WATCHDOG="1"),
            clock.monotonic,
            exit_timer=self._arm_watchdog,
        )
        address = control_address(self._environ, config.mqtt.instance, os.getuid())
        self._control_commands = ControlCommands(
            config,
            Components(
                readers=self._readers,
                devices=self._devices,
                publisher=self._publisher,
                history=self._history,
                watchdog=self._watchdog,
                clock=clock,
            ),
        )
        self._control = ControlServer(address, self._control_commands.handlers)

    def _make_publisher(self) -> Publisher:
        config, clock = self._config, self._clock
        return Publisher(
            config,
            self._devices,
            self._state_file,
            self._report_queue,
            clock,
            DaemonInfo(
                version=version(DISTRIBUTION),
                host=Host(name=socket.gethostname(), boot=_boot_id()),
                started=rfc3339(clock.now()),
                config_hash=_config_hash(config),
            ),
            request_read=lambda meter: self._readers[meter].request_read(),
            history=self._history,
            limits=self._timeouts.publisher,
            rng=random.Random(self._seed),  # noqa: S311  # jitter, no secret
            connect=self._connect,
        )

    def _add_reader(self, meter: Meter) -> None:
        deadline = Heartbeat(f"reader of {meter.id}", self._clock.monotonic)
        # a generator takes 2.5 kB: each meter has its own only where nothing is left to chance
        rng = None if self._seed is None else random.Random(f"{self._seed} {meter.id}")  # noqa: S311
        if meter.port not in self._ports:
            self._ports[meter.port] = Port(meter.port, rng=rng, opener=self._open_link)
        port = self._ports[meter.port]
        self._readers[meter.id] = Reader(
            factory.reader_config(
                meter,
                self._state_file.meter(meter.id).reader.learned,
                self._on_model_found if meter.model == AUTO else None,
                fast_path=self._fast_path,
                plan=self._devices[meter.id].config.plan,
            ),
            port,
            self._report_queue,
            self._state_file,
            self._clock,
            deadline,
            timeouts=self._timeouts.reader,
            rng=rng,
        )

    def _on_model_found(self, model: str) -> None:
        """A meter has told its model: start anew with it."""
        _LOG.info("starting anew to read the meter as a %s", model)
        self._restart_requested.set()

    async def _restart_with_detected_model(self) -> None:
        """Once a model was found: when no meter is just being asked, for a poll that is cut off
        counts, and a battery meter would be left alone until its interval has passed."""
        await self._restart_requested.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.detection_grace):
                readers = self._readers.values()
                while busy := [reader for reader in readers if reader.is_polling]:
                    await busy[0].wait_until_idle()
        self.request_exit(ExitReason.RELOAD)

    # Running

    async def _run(self) -> None:
        await self._control.start()
        try:
            with self._signals():
                async with asyncio.TaskGroup() as group:
                    readers = group.create_task(self._supervisor.run())
                    publisher = group.create_task(self._publisher.run())
                    helpers = [
                        group.create_task(self._state_file.run()),
                        group.create_task(self._control.run()),
                        group.create_task(self._watchdog.run()),
                        group.create_task(self._publish_status()),
                        group.create_task(self._clock_watch.run()),
                        group.create_task(self._restart_with_detected_model()),
                    ]
                    self._notifier.send(READY="1", STATUS=self._control_commands.status_text())
                    # what is there now stays: the collector need not look at it again
                    gc.collect()
                    gc.freeze()
                    _LOG.info(
                        "%s: %s", self._config.mqtt.topics.root, _count_meters(len(self._readers))
                    )
                    await self._exit_requested.wait()
                    self._notify_stopping()
                    await _cancel([readers])
                    # a port that closes slowly takes its time beside the farewell to the broker
                    group.create_task(self._close_ports())
                    self._publisher.stop(offline=self._exit_reason is not ExitReason.RELOAD)
                    await asyncio.wait([publisher])
                    await _cancel(helpers)
        finally:
            self._control.close()
            await self._close_ports()

    async def _close_ports(self) -> None:
        await asyncio.gather(*(port.close() for port in self._ports.values()))

    def _notify_stopping(self) -> None:
        if self._exit_reason is ExitReason.RELOAD:
            now = int(self._clock.monotonic() * 1_000_000)
            self._notifier.send(RELOADING="1", MONOTONIC_USEC=str(now))
        else:
            self._notifier.send(STOPPING="1")
            _LOG.info("stopping")

    def _arm_watchdog(self) -> None:
        if self._exit_reason is None:  # then the end has the shorter limit
            self._exit_timer(EXIT_AFTER)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.request_exit, ExitReason.STOPPED)
        loop.add_signal_handler(signal.SIGINT, self.request_exit, ExitReason.INTERRUPTED)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def reload(self) -> None:
        """Take a new configuration if it is good: by starting anew."""
        if self._reload is None:  # the terminal was closed
            return self.request_exit(ExitReason.STOPPED)
        try:
            self._reload()
        except ConfigError as error:
            for fault in error.faults:
                _LOG.error("%s", fault)
            _LOG.error("the configuration is not taken; going on with the one that was good")
        else:
            _LOG.info("the configuration is good: starting anew with it")
            self.request_exit(ExitReason.RELOAD)

    async def _publish_status(self) -> None:
        while True:
            status = self._control_commands.status_text()
            if status != self._status:
                self._status = status
                self._notifier.send(STATUS=status)
            await asyncio.sleep(self._timeouts.status)


def _count_meters(count: int) -> str:
    return "1 meter" if count == 1 else f"{count} meters"


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _boot_id() -> str | None:
    """The kernel's id of this boot; hidden in the unit's sandbox, and not on macOS."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _config_hash(config: Config) -> str:
    """Tells one configuration from another; secrets are masked before they are hashed."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:12]
