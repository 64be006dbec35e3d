"""The composition root: makes the components of the daemon and connects them."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from kamstrup_mqtt.config import Config, Meter
from kamstrup_mqtt.core.clock import Clock, rfc3339
from kamstrup_mqtt.core.environment import uses_fast_path
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.daemon import factory
from kamstrup_mqtt.daemon.clock_watch import ClockWatch
from kamstrup_mqtt.daemon.supervisor import Supervisor
from kamstrup_mqtt.daemon.timeouts import DaemonTimeouts
from kamstrup_mqtt.daemon.watchdog import Watchdog
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Opener
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.meters.plan import PlanPool, ReadingPlan
from kamstrup_mqtt.mqtt import Connector, DaemonInfo, Publisher
from kamstrup_mqtt.mqtt.incoming import Host
from kamstrup_mqtt.reading.reader import Reader
from kamstrup_mqtt.storage.history.queue import HistoryQueue
from kamstrup_mqtt.storage.state_file import StateFile

DISTRIBUTION = "kamstrup-mqtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The environment of the daemon besides its configuration.

    environ    environment variables
    open_link  opens the links to the meters
    connect    connects to the broker
    seed       makes random pauses and ids reproducible
    """

    environ: Mapping[str, str]
    clock: Clock
    timeouts: DaemonTimeouts
    open_link: Opener
    connect: Connector
    seed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The components of a running daemon."""

    ports: Mapping[PortAddress, Port]
    devices: Mapping[str, Device]
    readers: Mapping[str, Reader]
    supervisor: Supervisor
    publisher: Publisher
    history: HistoryQueue
    state_file: StateFile
    clock_watch: ClockWatch
    watchdog: Watchdog
    clock: Clock


class ComponentBuilder:
    """Makes the components.

    on_model_found  called with the detected model of a meter that is configured as `auto`
    kick            called while no task is stuck, for the service manager
    exit_timer      called at the same time, to restart the exit timer of the process
    """

    def __init__(
        self,
        config: Config,
        surroundings: Surroundings,
        state_file: StateFile,
        history: HistoryQueue,
        *,
        on_model_found: Callable[[str], None],
        kick: Callable[[], None],
        exit_timer: Callable[[], None],
    ) -> None:
        self._config = config
        self._surroundings = surroundings
        self._state_file = state_file
        self._history = history
        self._on_model_found = on_model_found
        self._kick = kick
        self._exit_timer = exit_timer
        self._report_queue = ReportQueue(monotonic=surroundings.clock.monotonic)
        self._ports: dict[PortAddress, Port] = {}
        self._readers: dict[str, Reader] = {}

    def build(self) -> Components:
        """Make and connect the components."""
        clock = self._surroundings.clock
        started = clock.monotonic()
        plans = PlanPool()
        devices = {}
        for meter in self._config.meters:
            plan = plans.share(meter.plan())
            devices[meter.id] = self._make_device(meter, plan, started)
            self._readers[meter.id] = self._make_reader(meter, plan)
        supervisor = Supervisor(self._readers.values(), clock.monotonic)
        publisher = self._make_publisher(devices)
        return Components(
            ports=self._ports,
            devices=devices,
            readers=self._readers,
            supervisor=supervisor,
            publisher=publisher,
            history=self._history,
            state_file=self._state_file,
            clock_watch=ClockWatch(
                clock,
                self._state_file,
                self._report_queue,
                devices,
                lambda: publisher.is_connected,
                interval=self._surroundings.timeouts.clock,
            ),
            watchdog=Watchdog(
                (*publisher.heartbeats, supervisor.heartbeat),
                self._kick,
                clock.monotonic,
                exit_timer=self._exit_timer,
            ),
            clock=clock,
        )

    def _make_device(self, meter: Meter, plan: ReadingPlan, started: float) -> Device:
        return factory.make_device(
            meter,
            self._config,
            self._state_file.meter(meter.id),
            started,
            exact=self._state_file.clean_shutdown,
            merge_live=lambda retained: self._readers[retained.meter].merge_retained(retained),
            plan=plan,
        )

    def _make_reader(self, meter: Meter, plan: ReadingPlan) -> Reader:
        surroundings = self._surroundings
        # a generator takes 2.5 kB: the meters share the default one if there is no seed
        seed = surroundings.seed
        rng = None if seed is None else random.Random(f"{seed} {meter.id}")  # noqa: S311
        if meter.port not in self._ports:
            self._ports[meter.port] = Port(meter.port, rng=rng, opener=surroundings.open_link)
        return Reader(
            factory.reader_config(
                meter,
                self._state_file.meter(meter.id).reader.learned,
                self._on_model_found if meter.model == AUTO else None,
                fast_path=uses_fast_path(surroundings.environ),
                plan=plan,
            ),
            self._ports[meter.port],
            self._report_queue,
            self._state_file,
            surroundings.clock,
            Heartbeat(f"reader of {meter.id}", surroundings.clock.monotonic),
            timeouts=surroundings.timeouts.reader,
            rng=rng,
        )

    def _make_publisher(self, devices: Mapping[str, Device]) -> Publisher:
        surroundings = self._surroundings
        return Publisher(
            self._config,
            devices,
            self._state_file,
            self._report_queue,
            surroundings.clock,
            DaemonInfo(
                version=version(DISTRIBUTION),
                host=Host(name=socket.gethostname(), boot=_boot_id()),
                started=rfc3339(surroundings.clock.now()),
                config_hash=_config_hash(self._config),
            ),
            request_read=lambda meter: self._readers[meter].request_read(),
            history=self._history,
            limits=surroundings.timeouts.publisher,
            rng=random.Random(surroundings.seed),  # noqa: S311  # jitter, no secret
            connect=surroundings.connect,
        )


def _boot_id() -> str | None:
    """Return the kernel's id of this boot, None in the unit's sandbox and on macOS."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _config_hash(config: Config) -> str:
    """Return a short hash of the configuration, in which secrets are masked."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:12]
