"""The components of the running daemon, and how they are connected."""

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
    """What the daemon is given besides its configuration.

    open_link, connect  reach the meters and the broker
    seed                makes a run repeatable: nothing is left to chance
    """

    environ: Mapping[str, str]
    clock: Clock
    timeouts: DaemonTimeouts
    open_link: Opener
    connect: Connector
    seed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Everything that runs. `ports`, `devices` and `readers` are those of the configured meters."""

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

    on_model_found  called with the model of a meter whose model is `auto`
    kick            tells the service manager that the daemon is alive
    exit_timer      ends the process after so many seconds unless it is called again
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
        """Make and connect all of them."""
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
        # a generator takes 2.5 kB: a meter has its own only if the run is repeatable
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
    """Return the kernel's id of this boot; it is hidden in the unit's sandbox, and macOS has
    none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _config_hash(config: Config) -> str:
    """Return a hash that tells configurations apart; secrets are masked before they are hashed."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:12]
