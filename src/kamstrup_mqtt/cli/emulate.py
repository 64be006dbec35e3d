"""`kamstrup-mqtt emulate`: emulate a meter on a TCP port or a pty."""

from __future__ import annotations

import argparse
import asyncio
import functools
import signal
from collections.abc import Mapping
from typing import Any

from kamstrup_mqtt.cli import INTERRUPTED
from kamstrup_mqtt.cli.arguments import baudrate, positive_seconds, seconds
from kamstrup_mqtt.cli.signals import stop_signals
from kamstrup_mqtt.core.errors import ConfigError, LinkError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.emulators.base import Emulator
from kamstrup_mqtt.emulators.faults import FAULTS, PUSHED_FAULTS, with_faults
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import Server, serve_pty, serve_tcp


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "emulate",
        help="emulate a meter",
        description="Emulate a meter that answers requests or pushes lists, until Ctrl-C. The"
        " models are those of `kamstrup-mqtt models`.",
    )
    parser.add_argument("model", metavar="MODEL", help="multical_403, e685_382, ...")
    parser.add_argument(
        "--protocol", help="the protocol of a model that has several (default: its first one)"
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--listen", metavar="HOST:PORT", help="a TCP port; 0: a free port")
    place.add_argument("--pty", metavar="PATH", help="a pty with a link at this path")
    parser.add_argument(
        "--echo", action="store_true", help="send each request back before the response"
    )
    parser.add_argument(
        "--delay", type=seconds, default=0.0, metavar="S", help="seconds before a response"
    )
    parser.add_argument(
        "--baud", type=baudrate, metavar="N", help="send at this speed (default: at once)"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        choices=(*FAULTS, *PUSHED_FAULTS),
        metavar="FAULT",
        help="asleep: silent until woken (wake: nul or ident); noisy, short: every second response"
        " is damaged or cut off (may be repeated). A pushing meter has one of"
        f" {', '.join(PUSHED_FAULTS)}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value of the meter: heat_energy=12.5, serial=123456, ... (may be repeated); for HAN"
        " also list=push1, encryption_key=..., energy_scale=1, ...; a wrong KEY lists the valid"
        " ones",
    )
    parser.add_argument(
        "--interval",
        type=positive_seconds,
        metavar="S",
        help="pushing meters: seconds between lists",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Serve the meter until a signal arrives. Returns 0 after SIGTERM, 130 after Ctrl-C."""
    make = functools.partial(_make, args.model, args.protocol, settings(args.set), args.fault)
    make()  # raises ConfigError for a wrong model or setting before a port is opened
    return asyncio.run(_serve(make, args))


def _make(
    model: str, protocol: str | None, values: Mapping[str, str], faults: list[str]
) -> Emulator:
    meter = make_emulator(model, protocol, values)
    pushed = [fault for fault in faults if fault in PUSHED_FAULTS]
    try:
        if not pushed:
            return with_faults(meter, faults)
        if not hasattr(meter, "push"):
            raise ValueError(
                f"only a meter that sends by itself (HAN) has the fault {pushed[0]}; {model} can"
                f" have {', '.join(FAULTS)}"
            )
        if len(faults) > 1:
            raise ValueError("a meter that sends by itself can have one fault at a time")
        return make_emulator(model, protocol, {**values, "fault": pushed[0]})
    except ValueError as error:
        raise ConfigError(f"--fault: {error}") from error


def settings(pairs: list[str]) -> dict[str, str]:
    """The values of `--set` as a mapping. Raises ConfigError for a pair without `=`."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {pair}: write key=value")
        found[key.strip()] = value.strip()
    return found


def host_and_port(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPv6]:PORT`. Raises ConfigError for other text."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen {text}: write HOST:PORT, such as 127.0.0.1:4001")
    return host.strip("[]") or "127.0.0.1", int(port)


async def _serve(make: functools.partial[Emulator], args: argparse.Namespace) -> int:
    stopped = stop_signals()
    server = await _start(make, args)
    try:
        title = f"{args.model} ({args.protocol})" if args.protocol else args.model
        print(f"{title} listens on {server.address}", flush=True)
        await _until_stopped(stopped, server)
    finally:
        await server.close()
    return INTERRUPTED if stopped.result() == signal.SIGINT else 0


async def _until_stopped(stopped: asyncio.Future[signal.Signals], server: Server) -> None:
    failed: asyncio.Future[Any] = asyncio.ensure_future(server.wait())
    waiting: set[asyncio.Future[Any]] = {stopped, failed}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        failed.cancel()
        await asyncio.wait({failed})
    else:
        failed.result()  # raises the error of the emulator


async def _start(make: functools.partial[Emulator], args: argparse.Namespace) -> Server:
    options: Mapping[str, Any] = {
        "echo": args.echo,
        "delay": args.delay,
        "baud": args.baud,
        "interval": args.interval,
    }
    try:
        if args.pty:
            return await serve_pty(make, args.pty, **options)
        host, port = host_and_port(args.listen)
        return await serve_tcp(make, host, port, **options)
    except OSError as error:
        option = f"--pty {args.pty}" if args.pty else f"--listen {args.listen}"
        reason = error.strerror or str(error)
        raise LinkError(LinkState.BUSY, f"{option}: {reason}; choose another place") from error
