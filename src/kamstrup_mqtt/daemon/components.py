"""The composition root: makes the components of the daemon and connects them."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from kamstrup_mqtt.config import Config, Meter
from kamstrup_mqtt.config.environment import uses_fast_path
from kamstrup_mqtt.core.clock import Clock, rfc3339
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.daemon import clock_watch, factory
from kamstrup_mqtt.daemon.clock_watch import ClockWatch
from kamstrup_mqtt.daemon.supervisor import Supervisor
from kamstrup_mqtt.daemon.watchdog import Watchdog
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Opener
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.mqtt import Connector, DaemonInfo, Publisher, PublisherLimits
from kamstrup_mqtt.mqtt.incoming import Host
from kamstrup_mqtt.reading.reader import Reader, ReaderTimeouts
from kamstrup_mqtt.storage.history.queue import HistoryQueue
from kamstrup_mqtt.storage.history.spooler import HistoryLimits
from kamstrup_mqtt.storage.state_file import StateFile

DISTRIBUTION = "kamstrup-mqtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonTimeouts:
    """Time limits of the daemon, in seconds.

    stop             for the whole shutdown
    status           interval of the status line
    clock            interval of the checks of the clock
    detection_grace  for running polls before the restart with a detected model
    """

    stop: float = 5.0
    status: float = 5.0
    clock: float = clock_watch.INTERVAL
    detection_grace: float = 60.0
    history: HistoryLimits = field(default_factory=HistoryLimits)
    publisher: PublisherLimits = field(default_factory=PublisherLimits)
    reader: ReaderTimeouts = field(default_factory=ReaderTimeouts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the daemon takes from its surroundings. `replay`, `capture` and tests replace parts.

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
    seed: str | None

    def rng(self, purpose: str = "") -> random.Random | None:
        """Return a reproducible generator, or None without a seed.

        A generator takes 2.5 kB, so the meters share the default one if there is no seed.
        """
        if self.seed is None:
            return None
        return random.Random(f"{self.seed}{purpose}")  # noqa: S311 - jitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The components of a running daemon."""

    clock: Clock
    state_file: StateFile
    history: HistoryQueue
    ports: Mapping[PortAddress, Port]
    devices: Mapping[str, Device]
    readers: Mapping[str, Reader]
    supervisor: Supervisor
    publisher: Publisher
    clock_watch: ClockWatch
    watchdog: Watchdog


def build(
    config: Config,
    context: Context,
    state_file: StateFile,
    history: HistoryQueue,
    *,
    on_model_found: Callable[[str], None],
    kick_watchdog: Callable[[], None],
    arm_exit_timer: Callable[[], None],
) -> Components:
    """Make the components of the daemon.

    on_model_found  called with the detected model of a meter that is configured as `auto`
    kick_watchdog   called while no task is stuck, for the service manager
    arm_exit_timer  called at the same time, for the exit timer of the process
    """
    clock = context.clock
    report_queue = ReportQueue(monotonic=clock.monotonic)
    started = clock.monotonic()
    devices = {
        meter.id: factory.make_device(
            meter,
            config,
            state_file.meter(meter.id),
            started,
            exact=state_file.clean_shutdown,
            merge_live=lambda retained: readers[retained.meter].merge_retained(retained),
        )
        for meter in config.meters
    }
    ports = _make_ports(config, context)
    readers = {
        meter.id: _make_reader(
            meter, context, state_file, ports[meter.port], report_queue, on_model_found
        )
        for meter in config.meters
    }
    supervisor = Supervisor(readers.values(), clock.monotonic)
    publisher = Publisher(
        config,
        devices,
        state_file,
        report_queue,
        clock,
        _daemon_info(config, clock),
        request_read=lambda meter: readers[meter].request_read(),
        history=history,
        limits=context.timeouts.publisher,
        rng=context.rng() or random.Random(),  # noqa: S311 - jitter
        connect=context.connect,
    )
    return Components(
        clock=clock,
        state_file=state_file,
        history=history,
        ports=ports,
        devices=devices,
        readers=readers,
        supervisor=supervisor,
        publisher=publisher,
        clock_watch=ClockWatch(
            clock,
            state_file,
            report_queue,
            devices,
            lambda: publisher.is_connected,
            interval=context.timeouts.clock,
        ),
        watchdog=Watchdog(
            (*publisher.heartbeats, supervisor.heartbeat),
            kick_watchdog,
            clock.monotonic,
            exit_timer=arm_exit_timer,
        ),
    )


def _make_ports(config: Config, context: Context) -> dict[PortAddress, Port]:
    ports: dict[PortAddress, Port] = {}
    for meter in config.meters:
        if meter.port not in ports:
            ports[meter.port] = Port(
                meter.port, rng=context.rng(f" port of {meter.id}"), opener=context.open_link
            )
    return ports


def _make_reader(
    meter: Meter,
    context: Context,
    state_file: StateFile,
    port: Port,
    report_queue: ReportQueue,
    on_model_found: Callable[[str], None],
) -> Reader:
    clock = context.clock
    return Reader(
        factory.reader_config(
            meter,
            state_file.meter(meter.id).reader.learned,
            on_model_found if meter.model == AUTO else None,
            fast_path=uses_fast_path(context.environ),
        ),
        port,
        report_queue,
        state_file,
        clock,
        Heartbeat(f"reader of {meter.id}", clock.monotonic),
        timeouts=context.timeouts.reader,
        rng=context.rng(f" {meter.id}"),
    )


def _daemon_info(config: Config, clock: Clock) -> DaemonInfo:
    return DaemonInfo(
        version=version(DISTRIBUTION),
        host=Host(name=socket.gethostname(), boot=_boot_id()),
        started=rfc3339(clock.now()),
        config_hash=_config_hash(config),
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
