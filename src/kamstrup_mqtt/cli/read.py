"""`kamstrup-mqtt read`: read one meter now."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from typing import Any, cast

from kamstrup_mqtt.cli import DONE, FAILED, tables
from kamstrup_mqtt.cli.arguments import baudrate, positive_seconds
from kamstrup_mqtt.cli.options import (
    add_key_arguments,
    add_port_argument,
    add_protocol_arguments,
)
from kamstrup_mqtt.cli.read_request import (
    DEFAULT_REGISTERS,
    PUSH_TIMEOUT,
    ReadRequest,
    parse_read_request,
)
from kamstrup_mqtt.cli.value_listing import COLUMNS, ValueListing, list_values
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.protocols.base import Frame, PolledCodec, PollRequest, PollResponse
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.frame_listener import FrameListener

_log = logging.getLogger("kamstrup_mqtt.read")


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "read",
        help="read one meter now",
        description="Read one meter now and print a table or JSON.",
    )
    add_protocol_arguments(parser)
    add_key_arguments(parser)
    add_port_argument(parser)
    parser.add_argument(
        "--model",
        help="see `kamstrup-mqtt models`; default: kmp-ascii and iec62056-21 e685_382, han"
        " kamstrup_han_3phase, kmp none",
    )
    parser.add_argument(
        "--register",
        action="append",
        default=[],
        metavar="N",
        help="read this register or object: 60, 0x3C, 1-1:1.7.0, 1.20 (may be repeated); default:"
        " those that the model lists, for kmp without --model "
        + " ".join(str(register) for register in DEFAULT_REGISTERS),
    )
    parser.add_argument("--type", action="store_true", help="kmp: ask for the type (GetType)")
    parser.add_argument(
        "--serial",
        action="store_true",
        help="kmp: ask for the serial number (GetSerialNo)",
    )
    parser.add_argument("--address", help="kmp: destination, 0x3F; iec62056-21: device address")
    parser.add_argument(
        "--baudrate", type=baudrate, help="default: the model's (kmp 1200, IEC 300)"
    )
    parser.add_argument("--parity", choices=("N", "E", "O"), help="default: the model's")
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        metavar="S",
        help=f"give up after S seconds (default: {PUSH_TIMEOUT:g} for han, else by the protocol)",
    )
    parser.add_argument("--json", action="store_true", help="print objects and readings as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Read and print. Returns 0 if there are values, 1 if there are none.

    Registers that the meter does not have are named on standard error.
    """
    request = parse_read_request(args)
    response = asyncio.run(_read(request))
    missing = [source for source in request.sources if source in response.unsupported]
    if missing:
        names = ", ".join(str(source) for source in missing)
        print(f"the meter does not have: {names}", file=sys.stderr)
    objects = [
        obj for obj in response.objects if not request.is_explicit or obj.id in request.sources
    ]
    listing = list_values(request.spec, objects, request.profile)
    _print(request, args, listing)
    listing.print_rejected()
    return DONE if listing.objects else FAILED


def _print(request: ReadRequest, args: argparse.Namespace, listing: ValueListing) -> None:
    if args.json:
        print(decimal_json.dumps(listing.as_json(), indent=2))
        return
    title = f"{request.spec.title} at {request.address}"
    if request.spec.name == "han" and args.energy_scale is None:
        title += " (energies: 10 Wh per count assumed, see --energy-scale)"
    tables.print_table(title, COLUMNS, listing.rows())


async def _read(request: ReadRequest) -> PollResponse:
    link = await open_link(request.address, request.params)
    read = _read_pushed if request.spec.is_pushed else _read_polled
    try:
        return await read(request, link)
    finally:
        await link.close()


async def _read_polled(request: ReadRequest, link: Link) -> PollResponse:
    runner = ConversationRunner(link, request.codec.framer(), Counters(), _log)
    codec = cast(PolledCodec, request.codec)
    try:
        async with asyncio.timeout(request.timeout):
            return await runner.run(codec.poll(PollRequest(sources=request.sources)))
    except TimeoutError as error:
        raise _timeout_error(request, has_bytes=bool(runner.received)) from error


async def _read_pushed(request: ReadRequest, link: Link) -> PollResponse:
    """Wait for the next list."""
    listener = FrameListener(link, request.codec.framer(), Counters(), _log)
    start = listener.last_byte
    try:
        async with asyncio.timeout(request.timeout):
            async for event in listener.events():
                if isinstance(event, Frame):
                    return _pushed_response(request, request.codec.decode(event).objects)
    except TimeoutError as error:
        raise _timeout_error(request, has_bytes=listener.last_byte > start) from error
    raise MeterError(LinkState.NO_BYTES, f"{request.address}: the line ended before a list arrived")


def _pushed_response(request: ReadRequest, objects: tuple[DecodedValue, ...]) -> PollResponse:
    received = {obj.id for obj in objects}
    missing = frozenset(request.sources) - received if request.is_explicit else frozenset()
    return PollResponse(objects=objects, unsupported=missing)


def _timeout_error(request: ReadRequest, *, has_bytes: bool) -> MeterError:
    """The advice differs: no bytes point to the connection, bytes to the settings."""
    limit = f"within {request.timeout:g} s"
    if has_bytes:
        what = "list" if request.spec.is_pushed else "response"
        return MeterError(
            LinkState.BYTES_NO_FRAMES,
            f"bytes were received, but no complete {what} {limit}: check protocol, speed and"
            " parity; -v shows the bytes",
        )
    advice = (
        "is the meter's port switched on (the grid company does that), and the adapter an M-Bus"
        " slave?"
        if request.spec.is_pushed
        else "is the head on the meter's eye, the right way up, and the meter awake?"
    )
    return MeterError(LinkState.NO_BYTES, f"no bytes were received {limit}: {advice}")
