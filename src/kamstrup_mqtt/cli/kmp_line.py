"""One KMP meter on one port, for the commands that talk to it directly."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeVar

from kamstrup_mqtt.cli.arguments import baudrate
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress, parse_address
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import Frame, Step
from kamstrup_mqtt.protocols.kmp import SPEC, TIMINGS, KmpCodec
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters

T = TypeVar("T")
PORT_VARIABLE = "KAMSTRUP_MQTT_PORT"

_log = logging.getLogger("kamstrup_mqtt.line")


def add_port_argument(parser: argparse.ArgumentParser) -> None:
    """`--port`, and -v behind the command."""
    parser.add_argument(
        "--port",
        default=os.environ.get(PORT_VARIABLE),
        help="a device path (/dev/serial/by-id/...) or tcp://host:port; default: the environment"
        f" variable {PORT_VARIABLE}",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=argparse.SUPPRESS,
        help="show the bytes that go and come",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the meter is and how it is asked."""
    add_port_argument(parser)
    parser.add_argument("--model", help="see `kamstrup-mqtt models`; sets the line's speed")
    parser.add_argument("--baudrate", type=baudrate, help="default: the model's, else 1200")
    parser.add_argument("--address", default="0x3F", help="destination (default: 0x3F)")
    parser.add_argument(
        "--wake", choices=("nul", "ident"), help="wake the meter's eye before the first request"
    )


def port_address(args: argparse.Namespace) -> PortAddress:
    """The port that --port names. Raises ConfigError."""
    if not args.port:
        raise ConfigError(
            "--port is missing: give a device path (/dev/serial/by-id/...) or tcp://host:port,"
            f" or set {PORT_VARIABLE}"
        )
    try:
        return parse_address(args.port)
    except ValueError as error:
        raise ConfigError(f"--port: {error}") from error


@dataclass(frozen=True, slots=True)
class KmpConnection:
    """A meter, as the command line describes it."""

    address: PortAddress
    params: SerialParams
    codec: KmpCodec
    counters: Counters = field(default_factory=Counters)

    def run(self, *conversations: Generator[Step, Frame | None, T]) -> list[T]:
        """Hold these conversations, one after the other, on one opened line."""
        return asyncio.run(self._talk(conversations))

    async def _talk(self, conversations: tuple[Generator[Step, Frame | None, T], ...]) -> list[T]:
        link = await open_link(self.address, self.params)
        try:
            exchange = ConversationRunner(link, self.codec.framer(), self.counters, _log)
            if self.codec.timings.wake is not None:
                await exchange.run(self.codec.wake_up())
            return [await exchange.run(conversation) for conversation in conversations]
        finally:
            await link.close()


def parse_connection(args: argparse.Namespace) -> KmpConnection:
    """The command line checked. Raises ConfigError."""
    address = port_address(args)
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
    timings = dataclasses.replace(TIMINGS, wake=args.wake)
    codec = KmpCodec(address=_destination(args.address), timings=timings, baudrate=params.baudrate)
    return KmpConnection(address, params, codec)


def _destination(text: str) -> int:
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 <= address <= 0xFF:
        raise ConfigError(f"--address {text}: a destination is one byte, such as 0x3F, 0x7F, 0xBF")
    return address
