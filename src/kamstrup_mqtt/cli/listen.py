"""`kamstrup-mqtt listen`: watch a HAN port live: what arrives, and why it is dropped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED, tables
from kamstrup_mqtt.cli.arguments import baudrate, positive_seconds
from kamstrup_mqtt.cli.options import (
    add_key_arguments,
    add_port_argument,
    key_options,
    parse_port,
    parser_options,
)
from kamstrup_mqtt.cli.signals import stop_signals
from kamstrup_mqtt.cli.value_listing import public_key
from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.han import HanCodec
from kamstrup_mqtt.reading.commissioning.listen import (
    VERDICT_SECONDS,
    ListDropped,
    ListenEvent,
    ListenSession,
    ListenStarted,
    ListenVerdict,
    ListReceived,
)

MAX_SHOWN = 48
"""Bytes of a dropped piece to print."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "listen",
        help="watch a HAN port live",
        description="Watch a HAN port: print every list with its values, every dropped piece with"
        " its reason, and a verdict on the parity of the line. Ctrl-C stops. Exit code: 0 lists"
        " arrived, 1 none did.",
    )
    add_port_argument(parser)
    parser.add_argument("--raw", action="store_true", help="also print the bytes")
    parser.add_argument("--baudrate", type=baudrate, default=2400, help="default: 2400")
    parser.add_argument(
        "--parity",
        type=_parity,
        default="N",
        metavar="{N,E,O}",
        help="none, even or odd; default: N (Kamstrup); Aidon and Kaifa: E",
    )
    parser.add_argument(
        "--energy-scale",
        type=int,
        choices=(10, 1),
        help="Wh per count of the energies of a Kamstrup meter; default: learned, which takes"
        " hours",
    )
    add_key_arguments(parser)
    parser.add_argument(
        "--duration", type=positive_seconds, metavar="S", help="stop after S seconds"
    )
    parser.add_argument(
        "--verdict",
        type=positive_seconds,
        default=VERDICT_SECONDS,
        metavar="S",
        help="say what is wrong if no list arrives within S seconds (default:"
        f" {VERDICT_SECONDS:g})",
    )
    parser.set_defaults(func=run)


def _parity(text: str) -> str:
    first = text[:1].upper()
    if text.lower() not in ("n", "e", "o", "none", "even", "odd"):
        raise argparse.ArgumentTypeError(f"{text!r} is no parity: write N (none), E or O")
    return first


def run(args: argparse.Namespace) -> int:
    """Watch the port; see `add_parser` for the exit codes."""
    address = parse_port(args)
    params = SerialParams(args.baudrate, 8, args.parity, 1)
    keys = key_options(registry.find_protocol("han"), args)
    codec = HanCodec(energy_scale=args.energy_scale, **keys, **parser_options())
    session = ListenSession(codec, verdict_seconds=args.verdict)

    def report(event: ListenEvent) -> None:
        for line in event_lines(event, raw=args.raw):
            print(line, flush=True)

    return asyncio.run(_listen(session.run(address, params, report), session, args.duration))


def event_lines(event: ListenEvent, *, raw: bool) -> Iterator[str]:
    """The lines to print for an event."""
    if isinstance(event, ListenStarted):
        yield f"listening on {event.address}, {event.params}; stop with Ctrl-C"
        return
    time = f"{datetime.now(UTC):%H:%M:%S}"
    if isinstance(event, ListenVerdict):
        yield f"{time}  {event.message}"
        return
    if raw:
        yield f"  {event.raw.hex(' ')}"
    if isinstance(event, ListReceived):
        yield f"{time}  {tables.fields(event.header)}"
        yield from _list_lines(event)
    else:
        yield from (f"{time}  {line}" for line in _drop_lines(event))


def _drop_lines(event: ListDropped) -> Iterator[str]:
    if event.message is not None:
        yield f"dropped: {tables.printable(event.message)}"
        return
    start = event.raw[:MAX_SHOWN].hex(" ")
    yield f"dropped, {event.reason}: {start} ({len(event.raw)} bytes)"
    if event.advice is not None:
        yield event.advice


def _list_lines(event: ListReceived) -> Iterator[str]:
    spec = registry.find_protocol("han")
    for obj in event.objects:
        value = tables.printable(obj.value)
        line = f"  {obj.id!s:<18} {public_key(spec, obj.id):<26} {value} {obj.unit or ''}"
        yield line.rstrip()
    yield from (f"  {tables.printable(text)}" for text in (*event.log, *event.notes))


async def _listen(
    listening: Coroutine[Any, Any, None], session: ListenSession, duration: float | None
) -> int:
    """Run `listening` until a signal arrives or `duration` is over; returns the exit code.

    Raises LinkError if the line is lost.
    """
    stopped = stop_signals()
    task = asyncio.ensure_future(listening)
    waiting: set[asyncio.Future[Any]] = {stopped, task}
    await asyncio.wait(waiting, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    except LinkError:
        if session.bytes:
            print(session.summary(), flush=True)
        raise
    print(session.summary(), flush=True)
    if session.lists:
        return DONE
    is_interrupted = stopped.done() and stopped.result() == signal.SIGINT
    return INTERRUPTED if is_interrupted and duration is None else FAILED
