"""`kamstrup-mqtt align`: seat an optical head with a live view of what comes back."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED
from kamstrup_mqtt.cli.arguments import baudrate
from kamstrup_mqtt.cli.options import (
    add_port_argument,
    add_request_arguments,
    find_protocol,
    parse_port,
)
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.reading.commissioning.align import (
    PAUSE,
    Alignment,
    Sample,
    SampleWindow,
    advice,
)

BAR_WIDTH = 20


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "align",
        help="seat an optical head: live view of what comes back",
        description="Ask the meter for its serial number again and again, and show how often it"
        " answers. Turn and shift the head until the bar is full, then press Ctrl-C.",
    )
    add_port_argument(parser)
    parser.add_argument("--protocol", default="kmp", help="default: kmp")
    parser.add_argument("--baudrate", type=baudrate, help="default: the protocol's")
    parser.add_argument(
        "--tries",
        type=_count,
        default=0,
        metavar="N",
        help="stop after N requests (default: never)",
    )
    add_request_arguments(parser, pause=PAUSE)
    parser.set_defaults(func=run)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of tries")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Show samples until the end.

    Returns 0 if the meter answered most of the last requests, 1 if it did not, and 130 if the
    command was interrupted and --tries was not given.
    """
    address = parse_port(args)
    spec = find_protocol(args.protocol)
    if spec.is_pushed:
        raise ConfigError(f"--protocol {spec.name}: the meter sends by itself; use `listen`")
    alignment = Alignment(
        address, spec, baudrate=args.baudrate, response_timeout=args.timeout, pause=args.pause
    )
    window = SampleWindow()

    def show(sample: Sample) -> None:
        window.add(sample)
        _print_in_place(status_line(window, sample))

    interrupted = False
    try:
        asyncio.run(alignment.run(show, count=args.tries or None))
    except KeyboardInterrupt:
        interrupted = True
    print(file=sys.stderr)
    print(window.verdict())
    if interrupted and not args.tries:
        return INTERRUPTED
    return DONE if window.is_good else FAILED


def status_line(window: SampleWindow, sample: Sample) -> str:
    """A bar of the success rate, the last sample, and what to do."""
    full = round(window.success_rate * BAR_WIDTH)
    bar = "#" * full + "." * (BAR_WIDTH - full)
    parts = [f"[{bar}] {window.success_rate:4.0%}"]
    if sample.state is LinkState.OK:
        parts.append(f"response in {sample.seconds:.2f} s")
    if sample.has_echo:
        parts.append("echo received")
    if window.parity_errors:
        parts.append(f"{window.parity_errors} parity errors")
    if sample.state is not LinkState.OK:
        parts.append(advice(sample.state))
    return ", ".join(parts)


def _print_in_place(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text[:118]:<118}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
