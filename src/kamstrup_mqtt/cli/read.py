"""`kamstrup-mqtt read`: read one meter now."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import re
import sys
from dataclasses import dataclass
from typing import Any, cast

from kamstrup_mqtt.cli import tables
from kamstrup_mqtt.cli.arguments import baudrate, positive_seconds
from kamstrup_mqtt.cli.objects import (
    ObjectListing,
    add_key_arguments,
    add_protocol_arguments,
    energy_options,
    find_protocol,
    key_options,
    list_objects,
)
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import ConfigError, MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, SerialParams, SourceId
from kamstrup_mqtt.links.address import PortAddress, parse_address
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.dependencies import sources_to_read
from kamstrup_mqtt.meters.model import ProtocolProfile
from kamstrup_mqtt.protocols.base import (
    Codec,
    Frame,
    PolledCodec,
    PollRequest,
    PollResponse,
    ProtocolSpec,
)
from kamstrup_mqtt.reading.conversation import ConversationRunner, Listener
from kamstrup_mqtt.reading.counters import Counters

DEFAULT_REGISTERS: tuple[SourceId, ...] = (60, 68, 74, 80, 86, 87, 89, 1004)
"""What is asked of a KMP meter whose model nobody named: most heat meters have all of these."""

DEFAULT_MODELS = {
    "kmp-ascii": "e685_382",
    "iec62056-21": "e685_382",
    "multical-66": "multical_66",
    "han": "kamstrup_han_3phase",
}

PUSH_TIMEOUT = 60.0
"""Seconds to wait for a pushed list, which should come every 10 s."""

_TYPE: tuple[SourceId, ...] = ("type",)
_SERIAL: tuple[SourceId, ...] = ("serial_no",)

_IEC_ADDRESS = re.compile(r"[0-9A-Za-z ]{0,32}")

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
    parser.add_argument(
        "--port",
        default=os.environ.get("KAMSTRUP_MQTT_PORT"),
        help="a device path (/dev/serial/by-id/...) or tcp://host:port; default: the environment"
        " variable KAMSTRUP_MQTT_PORT",
    )
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
        " the model's list, for kmp without --model the registers "
        + " ".join(str(register) for register in DEFAULT_REGISTERS),
    )
    parser.add_argument("--type", action="store_true", help="kmp: ask the meter's type (GetType)")
    parser.add_argument(
        "--serial", action="store_true", help="kmp: ask the meter's serial number (GetSerialNo)"
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
        help=f"give up after S seconds (default: han {PUSH_TIMEOUT:g}, others by the protocol)",
    )
    parser.add_argument("--json", action="store_true", help="objects and readings as JSON")
    _add_verbose(parser)
    parser.set_defaults(func=run)


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=argparse.SUPPRESS,  # -v in front of the command counts too
        help="show the bytes that go and come",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """One reading that the command line asked for.

    sources     what is asked, in order
    chosen      True: the user named the sources, and nothing else is shown
    """

    spec: ProtocolSpec
    address: PortAddress
    params: SerialParams
    codec: Codec
    profile: ProtocolProfile | None
    sources: tuple[SourceId, ...]
    chosen: bool
    timeout: float | None


def run(args: argparse.Namespace) -> int:
    """Read and print. 0: read; a register that the meter has not is named on standard error."""
    wanted = _parse_options(args)
    answer = asyncio.run(_read(wanted))
    missing = [source for source in wanted.sources if source in answer.unsupported]
    if missing:
        names = ", ".join(str(source) for source in missing)
        print(f"the meter does not have: {names}", file=sys.stderr)
    objects = [obj for obj in answer.objects if not wanted.chosen or obj.id in wanted.sources]
    result = list_objects(wanted.spec, objects, wanted.profile)
    _print(wanted, args, result)
    result.warn()
    return 0 if result.objects else 1


def _print(options: ReadOptions, args: argparse.Namespace, result: ObjectListing) -> None:
    if args.json:
        print(decimal_json.dumps(result.as_json(), indent=2))
        return
    title = f"{options.spec.title} at {options.address}"
    if options.spec.name == "han" and args.energy_scale is None:
        title += " (energies: 10 Wh per count assumed, see --energy-scale)"
    tables.print_table(title, result.columns, result.rows())


def _parse_options(args: argparse.Namespace) -> ReadOptions:
    """The command line checked; raises ConfigError with everything that is wrong in it."""
    spec = find_protocol(args.protocol)
    if not args.port:
        raise ConfigError(
            "--port is missing: give a device path (/dev/serial/by-id/...) or tcp://host:port,"
            " or set KAMSTRUP_MQTT_PORT"
        )
    try:
        address = parse_address(args.port)
    except ValueError as error:
        raise ConfigError(f"--port: {error}") from error
    dialect = _find_profile(spec, args.model)
    sources, chosen = _sources(spec, dialect, args)
    params, options = _line(spec, dialect, args)
    timeout = args.timeout if args.timeout or not spec.is_pushed else PUSH_TIMEOUT
    return ReadOptions(
        spec=spec,
        address=address,
        params=params,
        codec=spec.make_codec(**options),
        profile=dialect,
        sources=sources,
        chosen=chosen,
        timeout=timeout,
    )


def _find_profile(spec: ProtocolSpec, model: str | None) -> ProtocolProfile | None:
    name = model or DEFAULT_MODELS.get(spec.name)
    if name is None:
        return None
    models = registry.models_of(spec.name)
    if name not in models:
        raise ConfigError(
            f"--model {name}: no meter that speaks {spec.name}; choose from {', '.join(models)}"
        )
    return models[name].profiles[spec.name]


def _sources(
    spec: ProtocolSpec, profile: ProtocolProfile | None, args: argparse.Namespace
) -> tuple[tuple[SourceId, ...], bool]:
    """What to ask, and whether the user named it."""
    if spec.name != "kmp" and (args.type or args.serial):
        raise ConfigError(
            f"--type and --serial are messages of kmp; over {spec.name} read without them"
        )
    asked = (_TYPE if args.type else ()) + (_SERIAL if args.serial else ())
    try:
        asked += tuple(spec.parse_source(text) for text in args.register)
    except ValueError as error:
        raise ConfigError(f"--register: {error}") from error
    if asked:
        return tuple(dict.fromkeys(asked)), True
    if profile is None:
        return DEFAULT_REGISTERS, False
    listed = (source for group in profile.groups.values() for source in group)
    sources = sources_to_read(profile, listed)
    if not sources and not spec.is_pushed:
        raise ConfigError(f"--model {args.model} has no list of its own: add --register N")
    return sources, False


def _line(
    spec: ProtocolSpec, profile: ProtocolProfile | None, args: argparse.Namespace
) -> tuple[SerialParams, dict[str, Any]]:
    """How the port is opened, and what the codec is told."""
    params = (profile.serial if profile else None) or spec.serial
    if args.baudrate is not None:
        params = dataclasses.replace(params, baudrate=args.baudrate)
    options: dict[str, Any] = {
        **energy_options(spec, args.energy_scale),
        **key_options(spec, args),
    }
    if args.address is not None:
        options["address"] = _address(spec, args.address)
    if spec.name != "iec62056-21":
        return dataclasses.replace(params, parity=args.parity or params.parity), options
    options["baudrate"] = params.baudrate
    if args.parity in (None, "E"):
        return params, options  # 7E1 is done by the codec, over eight bits
    options["parity"] = "hardware"
    return dataclasses.replace(params, bytesize=7, parity=args.parity), options


def _address(spec: ProtocolSpec, text: str) -> int | str:
    if spec.name == "iec62056-21":
        if _IEC_ADDRESS.fullmatch(text):
            return text
        raise ConfigError(f"--address {text}: up to 32 letters, digits and spaces")
    if spec.name != "kmp":
        raise ConfigError(f"--address: {spec.name} has no addresses")
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 <= address <= 0xFF:
        raise ConfigError(f"--address {text}: a destination is one byte, such as 0x3F, 0x7F, 0xBF")
    return address


async def _read(options: ReadOptions) -> PollResponse:
    link = await open_link(options.address, options.params)
    conversation = _next_list if options.spec.is_pushed else _poll
    try:
        return await conversation(options, link)
    finally:
        await link.close()


async def _poll(options: ReadOptions, link: Link) -> PollResponse:
    exchange = ConversationRunner(link, options.codec.framer(), Counters(), _log)
    codec = cast(PolledCodec, options.codec)  # what is not pushed is polled
    try:
        async with asyncio.timeout(options.timeout):
            return await exchange.run(codec.poll(PollRequest(sources=options.sources)))
    except TimeoutError as error:
        raise _timeout_error(options, bool(exchange.received)) from error


async def _next_list(options: ReadOptions, link: Link) -> PollResponse:
    listener = Listener(link, options.codec.framer(), Counters(), _log)
    start = listener.last_byte
    try:
        async with asyncio.timeout(options.timeout):
            async for event in listener.events():
                if isinstance(event, Frame):
                    return _answer(options, options.codec.decode(event).objects)
    except TimeoutError as error:
        raise _timeout_error(options, listener.last_byte > start) from error
    raise MeterError(LinkState.NO_BYTES, f"{options.address}: the line ended before a list came")


def _timeout_error(options: ReadOptions, came: bool) -> MeterError:
    """Nothing at all, and nothing that is whole: the user looks in two different places."""
    within = f"within {options.timeout:g} s"
    if came:
        what = "list" if options.spec.is_pushed else "answer"
        return MeterError(
            LinkState.BYTES_NO_FRAMES,
            f"bytes came, but no whole {what} {within}: is it the right protocol, speed and"
            " parity? -v shows what came",
        )
    advice = (
        "is the meter's port switched on (the grid company does that), and the adapter an M-Bus"
        " slave?"
        if options.spec.is_pushed
        else "is the head on the meter's eye, the right way up, and the meter awake?"
    )
    return MeterError(LinkState.NO_BYTES, f"nothing came {within}: {advice}")


def _answer(options: ReadOptions, objects: tuple[DecodedValue, ...]) -> PollResponse:
    came = {obj.id for obj in objects}
    missing = frozenset(options.sources) - came if options.chosen else frozenset()
    return PollResponse(objects=objects, unsupported=missing)
