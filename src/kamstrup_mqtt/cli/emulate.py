"""`kamstrup-mqtt emulate`: be a meter, on a TCP port or a pty."""

from __future__ import annotations

import argparse
import asyncio
import functools
import signal
from collections.abc import Mapping
from typing import Any

from kamstrup_mqtt.cli import INTERRUPTED
from kamstrup_mqtt.cli.arguments import baudrate, positive_seconds, seconds
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
        help="be a meter",
        description="Be a meter that answers, or that pushes its lists, until Ctrl-C. The models"
        " are those of `kamstrup-mqtt models`.",
    )
    parser.add_argument("model", metavar="MODEL", help="multical_403, e685_382, ...")
    parser.add_argument(
        "--protocol", help="where the model speaks several (default: the first that it has)"
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--listen", metavar="HOST:PORT", help="a TCP port; port 0: a free one")
    place.add_argument("--pty", metavar="PATH", help="a pty, found under this path")
    parser.add_argument("--echo", action="store_true", help="send back what is received, first")
    parser.add_argument(
        "--delay", type=seconds, default=0.0, metavar="S", help="seconds before an answer"
    )
    parser.add_argument(
        "--baud", type=baudrate, metavar="N", help="send as slowly as this (default: at once)"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        choices=(*FAULTS, *PUSHED_FAULTS),
        metavar="FAULT",
        help="asleep: silent until woken (wake: nul or ident); noisy, short: each second answer is"
        " damaged or cut off (may be repeated). Pushing meters have one of"
        f" {', '.join(PUSHED_FAULTS)}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what the meter says: heat_energy=12.5, serial=123456, ... (may be repeated). HAN"
        " meters also list=push1, encryption_key=..., energy_scale=1, ...; a wrong KEY lists them",
    )
    parser.add_argument(
        "--interval",
        type=positive_seconds,
        metavar="S",
        help="pushing meters: seconds between lists",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Be the meter. 0: ended by SIGTERM; 130: by Ctrl-C."""
    make = functools.partial(_make, args.model, args.protocol, settings(args.set), args.fault)
    make()  # what is wrong with the model or its settings is said before anything listens
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
                f"only a meter that sends by itself (HAN) has {pushed[0]}; {model} can be"
                f" {', '.join(FAULTS)}"
            )
        if len(faults) > 1:
            raise ValueError("a meter that sends by itself has one fault at a time")
        return make_emulator(model, protocol, {**values, "fault": pushed[0]})
    except ValueError as error:
        raise ConfigError(f"--fault: {error}") from error


def settings(pairs: list[str]) -> dict[str, str]:
    """`--set` as a mapping. Raises ConfigError for a pair without `=`."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {pair}: write key=value")
        found[key.strip()] = value.strip()
    return found


def host_and_port(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPv6]:PORT`. Raises ConfigError."""
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
        failed.result()  # raises: the emulator is at fault


async def _start(make: functools.partial[Emulator], args: argparse.Namespace) -> Server:
    manner: Mapping[str, Any] = {
        "echo": args.echo,
        "delay": args.delay,
        "baud": args.baud,
        "interval": args.interval,
    }
    try:
        if args.pty:
            return await serve_pty(make, args.pty, **manner)
        host, port = host_and_port(args.listen)
        return await serve_tcp(make, host, port, **manner)
    except OSError as error:
        option = f"--pty {args.pty}" if args.pty else f"--listen {args.listen}"
        reason = error.strerror or str(error)
        raise LinkError(LinkState.BUSY, f"{option}: {reason}; choose another place") from error


def stop_signals(*more: signal.Signals) -> asyncio.Future[signal.Signals]:
    """A future that SIGINT, SIGTERM or one of `more` fulfils."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM, *more):
        loop.add_signal_handler(number, stop, number)
    return stopped
