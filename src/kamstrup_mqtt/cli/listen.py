"""`kamstrup-mqtt listen`: watch a HAN port live: what comes, and why it is dropped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED, objects, tables
from kamstrup_mqtt.cli.arguments import baudrate, positive_seconds
from kamstrup_mqtt.cli.emulate import stop_signals
from kamstrup_mqtt.cli.objects import add_key_arguments, key_options, list_objects
from kamstrup_mqtt.core.errors import ConfigError, MeterError, ReplayError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import parse_address
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import DroppedBytes, Event, Frame, Timestamp
from kamstrup_mqtt.protocols.han import HanCodec
from kamstrup_mqtt.reading.conversation import listen
from kamstrup_mqtt.reading.counters import Counters

VERDICT = 30.0
"""Seconds after which it is said that nothing comes, or no list."""

_SHOWN = 48


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "listen",
        help="watch a HAN port live",
        description="Watch a HAN port: every list with its values, every drop with its reason, and"
        " a verdict on the line's parity. Ends by Ctrl-C. Exit code: 0 lists came, 1 none did.",
    )
    parser.add_argument(
        "--port",
        default=os.environ.get("KAMSTRUP_MQTT_PORT"),
        help="a device path (/dev/serial/by-id/...) or tcp://host:port; default: the environment"
        " variable KAMSTRUP_MQTT_PORT",
    )
    parser.add_argument("--raw", action="store_true", help="also the bytes, as they come")
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
        help="Wh per count of a Kamstrup meter's energies; default: learned, which takes hours",
    )
    add_key_arguments(parser)
    parser.add_argument(
        "--duration", type=positive_seconds, metavar="S", help="end after S seconds"
    )
    parser.add_argument(
        "--verdict",
        type=positive_seconds,
        default=VERDICT,
        metavar="S",
        help=f"say after S seconds that nothing comes, or no list (default: {VERDICT:g})",
    )
    parser.set_defaults(func=run)


def _parity(text: str) -> str:
    first = text[:1].upper()
    if text.lower() not in ("n", "e", "o", "none", "even", "odd"):
        raise argparse.ArgumentTypeError(f"{text!r} is no parity: write N (none), E or O")
    return first


def run(args: argparse.Namespace) -> int:
    """Watch the port; see `add_parser` for the exit codes."""
    if not args.port:
        raise ConfigError(
            "--port is missing: give a device path (/dev/serial/by-id/...) or tcp://host:port,"
            " or set KAMSTRUP_MQTT_PORT"
        )
    try:
        parse_address(args.port)
    except ValueError as error:
        raise ConfigError(f"--port: {error}") from error
    spec = registry.all_protocols()["han"]
    codec = HanCodec(energy_scale=args.energy_scale, **key_options(spec, args))
    return asyncio.run(_watch(args, Watch(codec, raw=args.raw, verdict=args.verdict)))


class Watch:
    """What came so far, and what there is to say about it."""

    def __init__(self, codec: HanCodec, *, raw: bool, verdict: float = VERDICT) -> None:
        self.lists = 0
        self._codec = codec
        self._raw = raw
        self._verdict = verdict
        self._heard = False
        self._drops: Counter[str] = Counter()
        self._said = 0.0
        self._refused: str | None = None  # why the last whole frame was no list to us
        self._spec = registry.all_protocols()["han"]

    def take(self, event: Event | None, moment: Timestamp, since: float) -> Iterator[str]:
        """The lines to print for an event. `since`: seconds since the watching began."""
        if event is not None:
            self._heard = True
            if self._raw:
                yield f"  {event.raw.hex(' ')}"
        if isinstance(event, DroppedBytes):
            yield from self._dropped(event)
        elif event is not None:
            yield from self._frame(event, moment)
        yield from self._silence(since)

    def _dropped(self, drop: DroppedBytes) -> Iterator[str]:
        self._drops[drop.reason] += 1
        yield f"dropped, {drop.reason}: {drop.raw[:_SHOWN].hex(' ')} ({len(drop.raw)} bytes)"
        if drop.reason in objects.ADVICE:
            yield objects.ADVICE[drop.reason]

    def _frame(self, frame: Frame, moment: Timestamp) -> Iterator[str]:
        try:
            message = self._codec.decode(frame)
        except MeterError as error:
            replayed = isinstance(error, ReplayError)
            self._drops["replayed" if replayed else error.state] += 1
            self._refused = str(error)
            yield f"dropped: {error}"
            return
        self.lists += 1
        heard, followed = self._codec.process(message, moment), self._codec.learn()
        yield tables.fields(message.header)
        for row in list_objects(self._spec, heard.objects).rows():
            id_, key, value, unit, _ = row
            yield f"  {id_!s:<18} {key!s:<26} {tables.printable(str(value))} {unit}".rstrip()
        yield from (f"  {text}" for _, text in followed.log)
        yield from (f"  {note}" for note in followed.notes)

    def _silence(self, since: float) -> Iterator[str]:
        if since - self._said < self._verdict or self.lists:
            return
        self._said = since
        if not self._heard:
            yield (
                f"no bytes for {since:.0f} s: is the meter's port switched on (the grid company"
                " does it), the adapter plugged in, and are its wires the right way round?"
            )
        elif self._refused is not None:
            yield (
                f"frames, but no list for {since:.0f} s ({self.summary()}): speed and parity are"
                f" right, but {self._refused}"
            )
        else:
            yield (
                f"bytes, but no list for {since:.0f} s ({self.summary()}): check speed and parity;"
                " Kamstrup sends 8N1, Aidon and Kaifa 8E1 (--parity E)"
            )

    def summary(self) -> str:
        """How many lists and drops, by reason."""
        drops = ", ".join(f"{count} {reason}" for reason, count in sorted(self._drops.items()))
        return f"{self.lists} lists, dropped: {drops or 'nothing'}"


async def _watch(args: argparse.Namespace, watch: Watch) -> int:
    stopped = stop_signals()
    watching = asyncio.ensure_future(_listen(args, watch))
    waiting: set[asyncio.Future[Any]] = {stopped, watching}
    await asyncio.wait(waiting, timeout=args.duration, return_when=asyncio.FIRST_COMPLETED)
    if not watching.done():
        watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching  # raises LinkError when the line was lost
    print(watch.summary(), flush=True)
    if stopped.done() and stopped.result() == signal.SIGINT and args.duration is None:
        return INTERRUPTED if not watch.lists else DONE
    return DONE if watch.lists else FAILED


async def _listen(args: argparse.Namespace, watch: Watch) -> None:
    params = SerialParams(args.baudrate, 8, args.parity, 1)
    link = await open_link(parse_address(args.port), dataclasses.replace(params))
    loop = asyncio.get_running_loop()
    began = loop.time()
    log = logging.getLogger("kamstrup_mqtt.listen")
    framer = HanCodec().framer()
    print(f"listening on {args.port}, {params}; Ctrl-C ends", flush=True)
    try:
        async for event in listen(link, framer, Counters(), log):
            now = datetime.now(UTC)
            for line in watch.take(event, Timestamp(now, loop.time()), loop.time() - began):
                print(f"{now:%H:%M:%S}  {line}" if line[0] != " " else line, flush=True)
    finally:
        await link.close()
