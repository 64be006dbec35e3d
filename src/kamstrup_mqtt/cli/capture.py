"""`kamstrup-mqtt capture`: record what passes on the lines of the configured meters."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import faulthandler
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED
from kamstrup_mqtt.cli.arguments import positive_seconds
from kamstrup_mqtt.cli.replay.connections import without_broker
from kamstrup_mqtt.config import Config, loader
from kamstrup_mqtt.config.redaction import Redaction
from kamstrup_mqtt.core import log
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.daemon.app import App, ExitReason
from kamstrup_mqtt.daemon.control_socket import control_address, format_address, is_answering
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.recording.file_format import (
    Event,
    Header,
    Line,
    Received,
    RecordingFile,
    Sent,
)
from kamstrup_mqtt.links.recording.recorder import Recorder
from kamstrup_mqtt.storage.state_file import FILE, acquire_lock, state_directory

SERVICE = "/run/kamstrup-mqtt/control.sock"
"""Where the systemd unit's daemon listens; only root sees it besides."""

_WHY = {ExitReason.STOPPED: "stopped", ExitReason.INTERRUPTED: "interrupted"}


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "capture",
        help="record what passes on the lines of the configured meters",
        description="Read the configured meters as the daemon would, without a broker, and record"
        " every byte received and sent, with times, for `kamstrup-mqtt replay` or a bug report."
        " The recording holds what the meters say: serial numbers, readings, and encrypted lists"
        " as they came. It holds no passwords and no keys, and host names are masked. Stop the"
        " daemon first: it has the ports. Battery meters are read once at the start.",
        epilog="Ends after --duration, or by Ctrl-C or SIGTERM, which are good ends: the file is"
        " whole. Exit code: 0 recorded, 1 nothing came, or the file could not be written to its"
        " end (what is in it is good), 2 the configuration or FILE is wrong, or a daemon runs.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the recording"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    parser.add_argument(
        "--duration", type=positive_seconds, metavar="S", help="end after S seconds"
    )
    parser.add_argument(
        "--meter",
        action="append",
        default=[],
        metavar="ID",
        help="only the meter with this id (may be repeated)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Record; see `add_parser` for the exit codes."""
    if str(args.output) == "-":
        raise ConfigError("-o -: give the recording a file; - is none")
    config = only(loader.load(args.config), args.meter)
    log.set_up(config.log_level, verbose=args.verbose, secrets=config.secrets())
    if not args.verbose:
        logging.getLogger("kamstrup_mqtt.mqtt").setLevel(logging.WARNING)  # there is no broker
    with beside_no_daemon(config):
        capture = Capture(config, RecordingFile(args.output, replace=args.force))
        try:
            code = asyncio.run(capture.run(args.duration))
        finally:
            faulthandler.cancel_dump_traceback_later()
    return code


def only(config: Config, ids: list[str]) -> Config:
    """The configuration with these meters, all of them for none. Raises ConfigError."""
    known = [meter.id for meter in config.meters]
    for id_ in ids:
        if id_ not in known:
            raise ConfigError(f"--meter {id_}: no such meter; there are {', '.join(known)}")
    meters = tuple(meter for meter in config.meters if not ids or meter.id in ids)
    return config.model_copy(update={"meters": meters})


@contextlib.contextmanager
def beside_no_daemon(config: Config) -> Iterator[None]:
    """Nobody else reads these meters inside. Raises ConfigError when a daemon runs."""
    for address in (control_address(os.environ, config.mqtt.instance, os.getuid()), SERVICE):
        if is_answering(address):
            raise ConfigError(
                f"a daemon is running (it answers at {format_address(address)}) and has the ports:"
                " stop it first (`sudo systemctl stop kamstrup-mqtt`)"
            )
    directory = config.state_directory or state_directory(os.environ)
    held: tuple[int, bool] | None = None
    with contextlib.suppress(OSError):  # no memory there, or somebody else's: nothing to lock
        held = acquire_lock(Path(directory) / FILE) if Path(directory).is_dir() else None
    try:
        yield
    finally:
        if held is not None:
            number, daemon_ended_well = held
            if daemon_ended_well:  # we must not look like a daemon that was killed
                os.truncate(number, 0)
            os.close(number)


class Capture:
    """One recording."""

    def __init__(self, config: Config, file: RecordingFile) -> None:
        self._config = config
        self._file = file
        self._redaction = Redaction(config)
        self._clock = Clock()
        self._started = 0.0
        self._app: App | None = None
        self._received: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()

    async def run(self, duration: float | None) -> int:
        """Record for so many seconds, or until a signal comes."""
        self._started = self._clock.monotonic()
        self._file.begin(
            Header(
                version=version("kamstrup-mqtt"),
                started=self._clock.now(),
                meters=tuple(self._redaction.config()["meters"]),
            )
        )
        print(f"recording to {self._file.path}; {_how_it_ends(duration)}", file=sys.stderr)
        why = "stopped"
        try:
            why = await self._record(duration)
        finally:
            self._file.finish(self._now(), why)
        return self._report()

    async def _record(self, duration: float | None) -> str:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def time_is_over() -> None:
            over.set()
            if self._app is not None:
                self._app.request_exit(ExitReason.STOPPED)

        timer = loop.call_later(duration, time_is_over) if duration is not None else None
        try:
            with tempfile.TemporaryDirectory(prefix="kamstrup-mqtt-") as directory:
                ending = ExitReason.RELOAD
                # a meter that told its model is read anew as that
                while ending is ExitReason.RELOAD and not over.is_set() and not self._file.failure:
                    ending = await self._read_meters(directory)
        finally:
            if timer is not None:
                timer.cancel()
        return "the time is over" if over.is_set() else _WHY.get(ending, "stopped")

    async def _read_meters(self, directory: str) -> ExitReason:
        ports: dict[PortAddress, tuple[str, ...]] = {}
        for meter in self._config.meters:
            ports[meter.port] = (*ports.get(meter.port, ()), meter.id)
        recorder = Recorder(self._put, ports, self._now)
        memory_only = self._config.spool.model_copy(update={"mode": "memory"})
        self._app = App(
            # a directory of its own, which is thrown away
            self._config.model_copy(update={"state_directory": None, "spool": memory_only}),
            environ={"STATE_DIRECTORY": directory, "RUNTIME_DIRECTORY": directory},
            clock=self._clock,
            open_link=recorder.open,
            connect=without_broker(lambda *_: None),
        )
        return await self._app.run()

    def _now(self) -> float:
        return self._clock.monotonic() - self._started

    def _put(self, event: Event) -> None:
        if isinstance(event, Received):
            self._received[event.meter] += len(event.data)
        elif isinstance(event, Sent):
            self._sent[event.meter] += 1
        elif isinstance(event, Line) and event.text is not None:
            event = dataclasses.replace(event, text=self._redaction.text(event.text))
        self._file.put(event)
        if self._file.failure is not None and self._app is not None:
            self._app.request_exit(ExitReason.STOPPED)

    def _report(self) -> int:
        for meter in self._config.meters:
            print(
                f"{meter.id}: {self._sent[meter.id]} requests sent,"
                f" {self._received[meter.id]} bytes received",
                file=sys.stderr,
            )
        if self._file.failure is not None:
            print(f"kamstrup-mqtt: {self._file.failure}", file=sys.stderr)
            return FAILED
        if not self._received:
            print("kamstrup-mqtt: nothing came; the file says only that", file=sys.stderr)
            return FAILED
        print(f"{self._file.path}: {self._now():.0f} s recorded", file=sys.stderr)
        return DONE


def _how_it_ends(duration: float | None) -> str:
    return "Ctrl-C ends" if duration is None else f"ends after {duration:g} s, or by Ctrl-C"
