"""`kamstrup-mqtt capture`: record what passes on the lines of the configured meters."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED
from kamstrup_mqtt.cli.arguments import positive_seconds
from kamstrup_mqtt.cli.replay.connections import print_connector
from kamstrup_mqtt.config import Config, loader
from kamstrup_mqtt.config.redaction import Redaction
from kamstrup_mqtt.core import log
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.files import acquire_lock
from kamstrup_mqtt.daemon.app import App, ExitReason
from kamstrup_mqtt.daemon.control_socket import control_address, format_address, is_answering
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.recording.file_format import RecordingFile
from kamstrup_mqtt.links.recording.recorder import Recorder
from kamstrup_mqtt.reading.commissioning.capture import CaptureWriter
from kamstrup_mqtt.storage.state_file import FILE, state_directory

SERVICE = "/run/kamstrup-mqtt/control.sock"
"""Control socket of the systemd service; other users cannot find it in their environment."""

_END_REASONS = {ExitReason.STOPPED: "stopped", ExitReason.INTERRUPTED: "interrupted"}


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "capture",
        help="record what passes on the lines of the configured meters",
        description="Read the configured meters as the daemon would, without a broker, and record"
        " every byte received and sent, with times, for `kamstrup-mqtt replay` or a bug report."
        " The recording contains what the meters send: serial numbers, readings, and encrypted"
        " lists as received. It contains no passwords and no keys, and host names are masked. Stop"
        " the daemon first, because it uses the ports. Battery meters are read once at the start.",
        epilog="Stops after --duration, or at Ctrl-C or SIGTERM; the file is complete in each case."
        " Exit code: 0 recorded, 1 no bytes were received or the file could not be written to its"
        " end (what it contains is valid), 2 the configuration or FILE is wrong, or a daemon"
        " runs.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the recording"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--duration", type=positive_seconds, metavar="S", help="stop after S seconds"
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
        raise ConfigError("-o -: a recording cannot be written to standard output; name a file")
    config = select_meters(loader.load(args.config), args.meter)
    log.set_up(config.log_level, verbose=args.verbose, secrets=config.secrets())
    if not args.verbose:
        logging.getLogger("kamstrup_mqtt.mqtt").setLevel(logging.WARNING)  # there is no broker
    with exclusive_access(config):
        capture = Capture(config, RecordingFile(args.output, replace=args.force))
        try:
            code = asyncio.run(capture.run(args.duration))
        finally:
            faulthandler.cancel_dump_traceback_later()
    return code


def select_meters(config: Config, ids: list[str]) -> Config:
    """The configuration with these meters only; with all of them if `ids` is empty.

    Raises ConfigError for an id that is not configured.
    """
    known = [meter.id for meter in config.meters]
    for id_ in ids:
        if id_ not in known:
            raise ConfigError(
                f"--meter {id_}: no such meter; the configuration has {', '.join(known)}"
            )
    meters = tuple(meter for meter in config.meters if not ids or meter.id in ids)
    return config.model_copy(update={"meters": meters})


@contextlib.contextmanager
def exclusive_access(config: Config) -> Iterator[None]:
    """Context manager that holds the lock of the state file, so that no daemon reads these meters.

    Raises ConfigError if a daemon runs.
    """
    for address in (control_address(os.environ, config.mqtt.instance, os.getuid()), SERVICE):
        if is_answering(address):
            raise ConfigError(
                f"a daemon is running (it answers at {format_address(address)}) and uses the"
                " ports: stop it first (`sudo systemctl stop kamstrup-mqtt`)"
            )
    directory = config.state_directory or state_directory(os.environ)
    held: tuple[int, bool] | None = None
    with contextlib.suppress(OSError):  # there is no state, or another user's: no lock is needed
        held = acquire_lock(Path(directory) / FILE) if Path(directory).is_dir() else None
    try:
        yield
    finally:
        if held is not None:
            number, daemon_ended_well = held
            if daemon_ended_well:  # or the next start reports that the daemon was killed
                os.truncate(number, 0)
            os.close(number)


class Capture:
    """One recording: runs the readers of the daemon without a broker, and records their links."""

    def __init__(self, config: Config, file: RecordingFile) -> None:
        self._config = config
        self._file = file
        self._clock = Clock()
        self._started = 0.0
        self._app: App | None = None
        self._writer = CaptureWriter(file, Redaction(config), self._stop_app)

    async def run(self, duration: float | None) -> int:
        """Record for `duration` seconds, or until a signal arrives; returns the exit code."""
        self._started = self._clock.monotonic()
        self._writer.begin(self._clock.now())
        end = "stop with Ctrl-C" if duration is None else f"stops after {duration:g} s or Ctrl-C"
        print(f"recording to {self._file.path}; {end}", file=sys.stderr)
        reason = "stopped"
        try:
            reason = await self._record(duration)
        finally:
            self._file.finish(self._elapsed(), reason)
        return self._print_summary()

    async def _record(self, duration: float | None) -> str:
        """Returns why the recording ended."""
        is_over = asyncio.Event()

        def stop() -> None:
            is_over.set()
            self._stop_app()

        loop = asyncio.get_running_loop()
        timer = loop.call_later(duration, stop) if duration is not None else None
        try:
            with tempfile.TemporaryDirectory(prefix="kamstrup-mqtt-") as directory:
                exit_reason = await self._run_app(directory)
                # the app asks for a restart once the model of a meter is detected
                while exit_reason is ExitReason.RELOAD and not (
                    is_over.is_set() or self._file.failure
                ):
                    exit_reason = await self._run_app(directory)
        finally:
            if timer is not None:
                timer.cancel()
        return "the time is over" if is_over.is_set() else _END_REASONS.get(exit_reason, "stopped")

    async def _run_app(self, directory: str) -> ExitReason:
        ports: dict[PortAddress, tuple[str, ...]] = {}
        for meter in self._config.meters:
            ports[meter.port] = (*ports.get(meter.port, ()), meter.id)
        recorder = Recorder(self._writer.put, ports, self._elapsed)
        memory_only = self._config.spool.model_copy(update={"mode": "memory"})
        self._app = App(
            # the state of the daemon is neither read nor changed
            self._config.model_copy(update={"state_directory": None, "spool": memory_only}),
            environ={"STATE_DIRECTORY": directory, "RUNTIME_DIRECTORY": directory},
            clock=self._clock,
            open_link=recorder.open,
            connect=print_connector(lambda *_: None),
        )
        return await self._app.run()

    def _stop_app(self) -> None:
        if self._app is not None:
            self._app.request_exit(ExitReason.STOPPED)

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._started

    def _print_summary(self) -> int:
        for meter in self._config.meters:
            print(
                f"{meter.id}: {self._writer.requests_sent[meter.id]} requests sent,"
                f" {self._writer.bytes_received[meter.id]} bytes received",
                file=sys.stderr,
            )
        if self._file.failure is not None:
            print(f"kamstrup-mqtt: {self._file.failure}", file=sys.stderr)
            return FAILED
        if not self._writer.bytes_received:
            print("kamstrup-mqtt: no bytes were received; the recording is empty", file=sys.stderr)
            return FAILED
        print(f"{self._file.path}: {self._elapsed():.0f} s recorded", file=sys.stderr)
        return DONE
