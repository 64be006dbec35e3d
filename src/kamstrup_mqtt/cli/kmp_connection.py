"""A connection to one KMP meter, for the commands that exchange messages with it directly."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeVar

from kamstrup_mqtt.cli.arguments import baudrate
from kamstrup_mqtt.cli.options import add_port_argument, parse_port, parser_options
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import Frame, Step
from kamstrup_mqtt.protocols.kmp import SPEC, TIMINGS, KmpCodec
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters

T = TypeVar("T")

_log = logging.getLogger("kamstrup_mqtt.line")


def add_kmp_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the port and the requests of a KMP meter."""
    add_port_argument(parser)
    parser.add_argument("--model", help="see `kamstrup-mqtt models`; selects the line speed")
    parser.add_argument("--baudrate", type=baudrate, help="default: the model's, else 1200")
    parser.add_argument("--address", default="0x3F", help="destination (default: 0x3F)")
    parser.add_argument(
        "--wake", choices=("nul", "ident"), help="wake the meter's eye before the first request"
    )


@dataclass(frozen=True, slots=True)
class KmpConnection:
    """A KMP meter as the command line describes it."""

    address: PortAddress
    params: SerialParams
    codec: KmpCodec
    counters: Counters = field(default_factory=Counters)

    def run(self, *conversations: Generator[Step, Frame | None, T]) -> list[T]:
        """Open the line, run the conversations in order, and return their results.

        Raises LinkError or MeterError if one of them fails.
        """
        return asyncio.run(self._run(conversations))

    async def _run(self, conversations: tuple[Generator[Step, Frame | None, T], ...]) -> list[T]:
        link = await open_link(self.address, self.params)
        try:
            runner = ConversationRunner(link, self.codec.framer(), self.counters, _log)
            await runner.run(self.codec.wake_up())
            return [await runner.run(conversation) for conversation in conversations]
        finally:
            await link.close()


def parse_kmp_connection(args: argparse.Namespace) -> KmpConnection:
    """Check the options of `add_kmp_arguments`. Raises ConfigError for an invalid one."""
    address = parse_port(args)
    params = SPEC.serial
    if args.model is not None:
        models = registry.models_of(SPEC.name)
        if args.model not in models:
            raise ConfigError(
                f"--model {args.model}: no meter that speaks kmp; choose from {', '.join(models)}"
            )
        params = models[args.model].profiles[SPEC.name].serial or params
    if args.baudrate is not None:
        params = dataclasses.replace(params, baudrate=args.baudrate)
    codec = KmpCodec(
        address=parse_destination(args.address),
        timings=dataclasses.replace(TIMINGS, wake=args.wake),
        baudrate=params.baudrate,
        **parser_options(),
    )
    return KmpConnection(address, params, codec)


def parse_destination(text: str) -> int:
    """The destination address in `--address`. Raises ConfigError."""
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 <= address <= 0xFF:
        raise ConfigError(f"--address {text}: a destination is one byte, such as 0x3F, 0x7F, 0xBF")
    return address
