"""`kamstrup-mqtt demo`: four emulated meters, the real daemon, a broker, and what is published."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli import INTERRUPTED, tables
from kamstrup_mqtt.cli.arguments import positive_seconds, tcp_port
from kamstrup_mqtt.cli.demo.board import DemoBoard, Line
from kamstrup_mqtt.cli.emulate import stop_signals
from kamstrup_mqtt.core.errors import ConfigError, LinkError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_pty, serve_tcp

STOP_TIMEOUT = 7.0
"""Seconds that the daemon gets to leave; it promises 5."""

_LOG_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoMeter:
    """One emulated meter: on a pty where `pty`, else on a TCP port."""

    id: str
    name: str
    protocol: str
    model: str
    pty: bool
    settings: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    push_interval: float | None = None


METERS = (
    DemoMeter(
        id="heat",
        name="MULTICAL 403",
        protocol="kmp",
        model="multical_403",
        pty=True,
        settings={"serial": "6892850"},  # another meter than the 685-382
        options={"interval": "5s"},
    ),
    DemoMeter(
        id="electricity_kmp",
        name="685-382 (KMP-ASCII)",
        protocol="kmp-ascii",
        model="e685_382",
        pty=False,
        options={"interval": "5s"},
    ),
    DemoMeter(
        id="electricity_iec",
        name="685-382 (IEC 61107)",
        protocol="iec62056-21",
        model="e685_382",
        pty=False,
        options={"interval": "5s"},
    ),
    DemoMeter(
        id="han",
        name="HAN, three phases",
        protocol="han",
        model="kamstrup_han_3phase",
        pty=True,
        settings={"hourly": "always", "energy_import": "44228.00"},
        options={"energy_scale": 10},
        push_interval=3.0,
    ),
)


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="four emulated meters, read and published before your eyes",
        description="A broker, four emulated meters and the real daemon between them; what it"
        " publishes is shown live. Nothing is left behind. Exit code with --duration: 0 when all"
        " four meters were published, else 1.",
    )
    parser.add_argument(
        "--duration", type=positive_seconds, metavar="S", help="end after S seconds"
    )
    parser.add_argument(
        "--mqtt-port",
        type=tcp_port,
        default=0,
        metavar="N",
        help="the broker's port on 127.0.0.1 (default: a free one, printed)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Show the demo. 0: done; 1: a meter was not published; 130: Ctrl-C."""
    try:
        from kamstrup_mqtt.cli.demo import broker as demo_broker
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("kamstrup_mqtt"):
            raise
        raise ConfigError(
            f"the demo needs {error.name}, which is not installed:"
            " pip install 'kamstrup-mqtt[demo]'"
        ) from error
    return asyncio.run(_demo(args, demo_broker.DemoBroker))


async def _demo(args: argparse.Namespace, make_broker: Any) -> int:
    stopped = stop_signals(signal.SIGHUP)
    with tempfile.TemporaryDirectory(prefix="kamstrup-mqtt-demo-") as folder, _shown() as board:
        async with contextlib.AsyncExitStack() as stack:
            broker = await stack.enter_async_context(make_broker(args.mqtt_port, board.on_message))
            print(
                f"broker on 127.0.0.1 port {broker.port}; see everything with:"
                f" mosquitto_sub -h 127.0.0.1 -p {broker.port} -t '#' -v",
                flush=True,
            )
            ports = {meter.id: await _emulate(stack, meter, Path(folder)) for meter in METERS}
            config = _write_configuration(Path(folder), broker.port, ports)
            daemon = await stack.enter_async_context(_daemon(config))
            await _wait(stopped, daemon, args.duration)
            if not stopped.done() and daemon.returncode is not None:
                raise LinkError(
                    LinkState.PORT_MISSING,
                    f"the daemon ended with exit code {daemon.returncode}:\n{_end_of_log(folder)}",
                )
            missing = board.missing
            log = _end_of_log(folder) if missing else ""
    if stopped.done():
        return INTERRUPTED if stopped.result() == signal.SIGINT else 0
    if missing:
        print(f"no reading came from: {', '.join(missing)}\n{log}", file=sys.stderr)
    return 1 if missing else 0


async def _emulate(stack: contextlib.AsyncExitStack, meter: DemoMeter, folder: Path) -> str:
    """Start an emulated meter; returns the port as the configuration names it."""
    make = functools.partial(make_emulator, meter.model, meter.protocol, meter.settings)
    if meter.pty:
        path = str(folder / f"{meter.id}.tty")
        server = await serve_pty(make, path, interval=meter.push_interval)
        stack.push_async_callback(server.close)
        return path
    server = await serve_tcp(make, "127.0.0.1", 0, interval=meter.push_interval)
    stack.push_async_callback(server.close)
    return f"tcp://127.0.0.1:{server.port}"


def _write_configuration(folder: Path, broker_port: int, ports: Mapping[str, str]) -> Path:
    """Write the daemon's configuration (JSON is YAML); returns its path."""
    meters = [
        {
            "id": meter.id,
            "name": meter.name,
            "protocol": meter.protocol,
            "model": meter.model,
            "port": ports[meter.id],
            **meter.options,
        }
        for meter in METERS
    ]
    config = folder / "config.yaml"
    mqtt = {"host": "127.0.0.1", "port": broker_port}
    config.write_text(json.dumps({"mqtt": mqtt, "meters": meters}), encoding="utf-8")
    return config


@contextlib.asynccontextmanager
async def _daemon(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The real daemon, in a process of its own; ended by its pid."""
    foreign = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    state = config.parent / "state"
    state.mkdir()
    environment |= {"STATE_DIRECTORY": str(state), "RUNTIME_DIRECTORY": str(state)}
    with config.with_name("daemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kamstrup_mqtt", "run", "-c", str(config)),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: we end it in our order
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _wait(
    stopped: asyncio.Future[signal.Signals],
    daemon: asyncio.subprocess.Process,
    duration: float | None,
) -> None:
    """Until a signal, the daemon's end, or the end of `duration` seconds."""
    ended: asyncio.Future[Any] = asyncio.ensure_future(daemon.wait())
    waiting: set[asyncio.Future[Any]] = {stopped, ended}
    await asyncio.wait(waiting, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    await asyncio.wait({ended})


def _end_of_log(folder: str) -> str:
    log = Path(folder, "daemon.log").read_text(encoding="utf-8", errors="replace")
    return "\n".join(log.splitlines()[-_LOG_LINES:])


@contextlib.contextmanager
def _shown() -> Iterator[DemoBoard]:
    """A board that is shown: one live table on a terminal, a line for each reading elsewhere."""
    names = {meter.id: meter.name for meter in METERS}
    if not sys.stdout.isatty():
        yield DemoBoard(Topics(), names, _print_line)
        return
    from rich.live import Live

    def redraw(_: Line) -> None:
        live.update(_table(board), refresh=True)

    board = DemoBoard(Topics(), names, redraw)
    with Live(auto_refresh=False) as live:
        live.update(_table(board), refresh=True)
        yield board


def _table(board: DemoBoard) -> Any:
    rows = [[tables.printable(cell) for cell in row] for row in board.rows()]
    newest = max((time for time, _, _ in rows), default="") or "not yet"
    # the time is said once: 80 columns and 24 lines are enough for all four meters
    title = f"published readings ({newest} UTC; Ctrl-C ends)"
    return tables.make_rich(title, ("meter", "readings"), [row[1:] for row in rows])


def _print_line(line: Line) -> None:
    print(*line, sep="  ", flush=True)
