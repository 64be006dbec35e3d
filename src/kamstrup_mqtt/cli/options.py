"""Options that several commands share, and the checks of their values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli.arguments import positive_seconds, seconds
from kamstrup_mqtt.core.environment import uses_fast_path
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.links.address import PortAddress, parse_address
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import ProtocolSpec

PORT_VARIABLE = "KAMSTRUP_MQTT_PORT"

ASSUMED_ENERGY_SCALE = 10
"""Wh per count of a HAN energy register (Norway) if --energy-scale is not given."""

KEY_VARIABLES = {
    "encryption_key": "KAMSTRUP_MQTT_ENCRYPTION_KEY",
    "authentication_key": "KAMSTRUP_MQTT_AUTHENTICATION_KEY",
}
"""Option of the codec -> environment variable with the key in hex."""


def add_port_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--port`, and `-v` for use after the command."""
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
        default=argparse.SUPPRESS,  # keeps the value of -v before the command
        help="show the bytes that are sent and received",
    )


def parse_port(args: argparse.Namespace) -> PortAddress:
    """The address in `--port`. Raises ConfigError if it is missing or invalid."""
    if not args.port:
        raise ConfigError(
            "--port is missing: give a device path (/dev/serial/by-id/...) or tcp://host:port,"
            f" or set {PORT_VARIABLE}"
        )
    try:
        return parse_address(args.port)
    except ValueError as error:
        raise ConfigError(f"--port: {error}") from error


def add_request_arguments(parser: argparse.ArgumentParser, *, pause: float) -> None:
    """Add `--pause`, which defaults to `pause` seconds, and `--timeout`."""
    parser.add_argument(
        "--pause",
        type=seconds,
        default=pause,
        metavar="S",
        help=f"pause between two requests (default: {pause:g})",
    )
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        metavar="S",
        help="time until a response must begin (default: by the protocol)",
    )


def add_protocol_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--protocol` and `--energy-scale`."""
    parser.add_argument(
        "--protocol",
        required=True,
        metavar="PROTOCOL",
        help="kmp, kmp-ascii, iec62056-21 or han",
    )
    parser.add_argument(
        "--energy-scale",
        type=int,
        choices=(10, 1),
        help="HAN: Wh per count of the energy registers (default: 10, Norway, shown as assumed;"
        " compare with the meter's display)",
    )


def find_protocol(name: str) -> ProtocolSpec:
    """The protocol with this name. Raises ConfigError with all names if there is none."""
    protocols = registry.all_protocols()
    if name not in protocols:
        raise ConfigError(f"--protocol {name}: unknown; choose from {', '.join(protocols)}")
    return protocols[name]


def energy_options(spec: ProtocolSpec, scale: int | None) -> dict[str, int]:
    """The option of the codec for `--energy-scale`.

    Raises ConfigError if the protocol does not need one.
    """
    if spec.name == "han":
        return {"energy_scale": ASSUMED_ENERGY_SCALE if scale is None else scale}
    if scale is not None:
        raise ConfigError(f"--energy-scale is for --protocol han; {spec.name} sends its units")
    return {}


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--encryption-key-file` and `--authentication-key-file`.

    There is no option for the key itself: every user of the machine can read command lines.
    """
    for name, official_name in (("encryption", "GPK60"), ("authentication", "GPK61")):
        parser.add_argument(
            f"--{name}-key-file",
            metavar="FILE",
            help=f"HAN: the file with the {name} key ({official_name}), 32 hex digits; default:"
            f" the environment variable {KEY_VARIABLES[f'{name}_key']}",
        )


def parser_options(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The option of the codec that selects its parser; see docs/fast-path.md."""
    return {"fast_path": uses_fast_path(environ)}


def key_options(
    spec: ProtocolSpec, args: argparse.Namespace, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The options of the codec for encrypted lists. Raises ConfigError for an invalid key."""
    if spec.name != "han":
        return {}
    options = {}
    for option, variable in KEY_VARIABLES.items():
        file = getattr(args, f"{option}_file")
        place = f"--{option.replace('_', '-')}-file {file}" if file else variable
        try:
            text = Path(file).read_text(encoding="ascii") if file else environ.get(variable)
            options[option] = None if text is None else bytes.fromhex(text.strip())
        except OSError as error:
            raise ConfigError(f"{place}: {error.strerror}") from error
        except ValueError as error:  # neither hex nor, perhaps, ASCII
            raise ConfigError(f"{place}: must contain 32 hex digits") from error
    return options
