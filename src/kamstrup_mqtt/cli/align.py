"""`kamstrup-mqtt align`: seat an optical head, with a live view of what comes back."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, cast

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED
from kamstrup_mqtt.cli.arguments import baudrate, positive_seconds, seconds
from kamstrup_mqtt.cli.kmp_line import add_port_argument, port_address
from kamstrup_mqtt.cli.objects import find_protocol
from kamstrup_mqtt.core.errors import ConfigError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.protocols.base import PolledCodec, PollRequest, ProtocolSpec
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters

REMEMBERED = 20
"""Tries that the hit rate is reckoned over."""
BAR = 20
PAUSE = 0.5

_WORDS = {
    LinkState.OK: "answers",
    LinkState.ECHO_ONLY: "echo only: the meter sleeps or the head is turned; try 180°",
    LinkState.NO_BYTES: "nothing comes back: no light reaches the head; move it, press a button",
    LinkState.CHECKSUM: "damaged answers: move the head by a millimetre or two, shade it",
    LinkState.BYTES_NO_FRAMES: "bytes, but no answer: wrong speed or protocol, or stray light",
}

_log = logging.getLogger("kamstrup_mqtt.align.exchange")


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "align",
        help="seat an optical head: live view of what comes back",
        description="Ask the meter for its serial number again and again, and show how often it"
        " answers. Turn and shift the head until the bar is full, then Ctrl-C.",
    )
    add_port_argument(parser)
    parser.add_argument("--protocol", default="kmp", help="default: kmp")
    parser.add_argument("--baudrate", type=baudrate, help="default: the protocol's")
    parser.add_argument(
        "--tries", type=_count, default=0, metavar="N", help="stop after N (default: never)"
    )
    parser.add_argument("--pause", type=seconds, default=PAUSE, metavar="S", help="between tries")
    parser.add_argument(
        "--timeout", type=positive_seconds, metavar="S", help="for an answer to begin"
    )
    parser.set_defaults(func=run)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of tries")
    return int(text)


@dataclass(frozen=True, slots=True)
class Try:
    """What one request brought. `seconds` until the whole answer was there."""

    state: LinkState
    seconds: float
    echo: bool
    parity_errors: int


def run(args: argparse.Namespace) -> int:
    """Show until stopped. 0: the last tries were mostly answered; 1: they were not."""
    address = port_address(args)
    spec = find_protocol(args.protocol)
    if spec.is_pushed:
        raise ConfigError(f"--protocol {spec.name}: such a meter sends by itself; use `read`")
    view = View()
    interrupted = False
    try:
        asyncio.run(_look(args, address, spec, view))
    except KeyboardInterrupt:
        interrupted = True
    print(file=sys.stderr)
    print(view.verdict())
    if interrupted and not args.tries:
        return INTERRUPTED
    return DONE if view.rate >= 0.5 else FAILED


async def _look(
    args: argparse.Namespace, address: PortAddress, spec: ProtocolSpec, view: View
) -> None:
    params = spec.serial if args.baudrate is None else replace(spec.serial, baudrate=args.baudrate)
    link = await open_link(address, params)
    try:
        left, counters = args.tries, Counters()
        while True:
            view.add(await _try(args, link, spec, params, counters))
            _show(view.line())
            left -= 1
            if not left:
                return
            await asyncio.sleep(args.pause)
    finally:
        await link.close()


async def _try(
    args: argparse.Namespace,
    link: Link,
    spec: ProtocolSpec,
    params: SerialParams,
    counters: Counters,
) -> Try:
    assert spec.timings is not None, "a polled protocol has timings"
    timings = replace(spec.timings, tries=1, pause=0.0)
    if args.timeout is not None:
        timings = replace(timings, response_timeout=args.timeout)
    options: dict[str, Any] = {"timings": timings}
    if spec.name == "iec62056-21":
        options["baudrate"] = params.baudrate
    codec = cast(PolledCodec, spec.make_codec(**options))
    echoes, parity_errors = counters.echoes, counters.parity_errors
    exchange = ConversationRunner(link, codec.framer(), counters, _log)
    ask = PollRequest(sources=_cheapest(spec))
    clock = asyncio.get_running_loop().time
    start = clock()
    try:
        await exchange.run(codec.poll(ask))
        state = LinkState.OK
    except MeterError as error:
        state = error.state
    return Try(
        state,
        clock() - start,
        counters.echoes > echoes,
        counters.parity_errors - parity_errors,
    )


def _cheapest(spec: ProtocolSpec) -> tuple[str, ...]:
    """What costs the meter least to answer."""
    return {"kmp": ("serial_no",), "kmp-ascii": ("FE95.energy",)}.get(spec.name, ())


class View:
    """What the last tries brought, in words and a bar."""

    def __init__(self) -> None:
        self._tries: deque[Try] = deque(maxlen=REMEMBERED)

    def add(self, found: Try) -> None:
        """One more try."""
        self._tries.append(found)

    @property
    def rate(self) -> float:
        """The part of the last tries that was answered."""
        hits = sum(found.state is LinkState.OK for found in self._tries)
        return hits / len(self._tries) if self._tries else 0.0

    def line(self) -> str:
        """The bar, how it stands, and what to do."""
        last = self._tries[-1]
        full = round(self.rate * BAR)
        parts = [f"[{'#' * full}{'.' * (BAR - full)}] {self.rate:4.0%}"]
        if last.state is LinkState.OK:
            parts.append(f"answer in {last.seconds:.2f} s")
        if last.echo:
            parts.append("echo seen")
        errors = sum(found.parity_errors for found in self._tries)
        if errors:
            parts.append(f"{errors} parity errors")
        parts.append(_WORDS.get(last.state, str(last.state)))
        return ", ".join(parts)

    def verdict(self) -> str:
        """How the head sits, at the end."""
        if not self._tries:
            return "nothing was tried"
        if self.rate == 1:
            return "the head sits well: every one of the last tries was answered"
        if self.rate >= 0.5:
            return f"the head sits nearly right: {self.rate:.0%} of the last tries were answered"
        return f"the head does not sit right: {_WORDS.get(self._tries[-1].state, 'no answer')}"


def _show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text[:118]:<118}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
