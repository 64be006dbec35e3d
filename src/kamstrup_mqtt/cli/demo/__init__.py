"""`kamstrup-mqtt demo`: four emulated meters, a broker, and the daemon that reads and publishes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED, tables
from kamstrup_mqtt.cli.arguments import positive_seconds, tcp_port
from kamstrup_mqtt.cli.demo.daemon_process import end_of_log, run_daemon
from kamstrup_mqtt.cli.demo.meters import METERS, start_emulator, write_configuration
from kamstrup_mqtt.cli.demo.published_readings import PublishedReadings, ReadingRow
from kamstrup_mqtt.cli.signals import stop_signals
from kamstrup_mqtt.core.errors import ConfigError, LinkError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.core.topics import Topics


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="four emulated meters, a broker and the daemon, shown live",
        description="Run four emulated meters, a broker and the daemon, and show what the daemon"
        " publishes. Nothing is left behind. Exit code with --duration: 0 if readings of all four"
        " meters were published, else 1.",
    )
    parser.add_argument(
        "--duration", type=positive_seconds, metavar="S", help="stop after S seconds"
    )
    parser.add_argument(
        "--mqtt-port",
        type=tcp_port,
        default=0,
        metavar="N",
        help="the broker's port on 127.0.0.1 (default: a free port, which is printed)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Returns 0 at the end, 1 if a meter was not published, and 130 after Ctrl-C.
    """
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
    with (
        tempfile.TemporaryDirectory(prefix="kamstrup-mqtt-demo-") as directory,
        _live_view() as readings,
    ):
        folder = Path(directory)
        async with contextlib.AsyncExitStack() as stack:
            broker = await stack.enter_async_context(
                make_broker(args.mqtt_port, readings.handle_message)
            )
            print(
                f"broker on 127.0.0.1 port {broker.port}; to see all messages:"
                f" mosquitto_sub -h 127.0.0.1 -p {broker.port} -t '#' -v",
                flush=True,
            )
            ports = {meter.id: await start_emulator(stack, meter, folder) for meter in METERS}
            config = write_configuration(folder, broker.port, ports)
            daemon = await stack.enter_async_context(run_daemon(config))
            await _wait(stopped, daemon, args.duration)
            if not stopped.done() and daemon.returncode is not None:
                raise LinkError(
                    LinkState.PORT_MISSING,
                    f"the daemon ended with exit code {daemon.returncode}:\n{end_of_log(folder)}",
                )
            missing = readings.missing_meters
            log = end_of_log(folder) if missing else ""
    if stopped.done():
        return INTERRUPTED if stopped.result() == signal.SIGINT else DONE
    if missing:
        print(f"no reading of: {', '.join(missing)}\n{log}", file=sys.stderr)
    return FAILED if missing else DONE


async def _wait(
    stopped: asyncio.Future[signal.Signals],
    daemon: asyncio.subprocess.Process,
    duration: float | None,
) -> None:
    """Wait for a signal, for the end of the daemon, or for `duration` seconds."""
    ended: asyncio.Future[Any] = asyncio.ensure_future(daemon.wait())
    waiting: set[asyncio.Future[Any]] = {stopped, ended}
    await asyncio.wait(waiting, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    await asyncio.wait({ended})


@contextlib.contextmanager
def _live_view() -> Iterator[PublishedReadings]:
    """Context manager that shows the readings.

    A terminal gets a table that is redrawn; other outputs get a line for each reading.
    """
    names = {meter.id: meter.name for meter in METERS}
    if not sys.stdout.isatty():
        yield PublishedReadings(Topics(), names, _print_row)
        return
    from rich.live import Live

    def redraw(_: ReadingRow) -> None:
        live.update(_table(readings), refresh=True)

    readings = PublishedReadings(Topics(), names, redraw)
    with Live(auto_refresh=False) as live:
        live.update(_table(readings), refresh=True)
        yield readings


def _table(readings: PublishedReadings) -> Any:
    rows = [[tables.printable(cell) for cell in row] for row in readings.rows()]
    newest = max((time for time, _, _ in rows), default="") or "not yet"
    # one time for all rows, so that the four meters fit into 80 columns and 24 lines
    title = f"published readings ({newest} UTC; stop with Ctrl-C)"
    return tables.make_rich(title, ("meter", "readings"), [row[1:] for row in rows])


def _print_row(row: ReadingRow) -> None:
    print(*row, sep="  ", flush=True)
