"""What `kamstrup-mqtt read` reads, from its options."""

from __future__ import annotations

import argparse
import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from kamstrup_mqtt.cli.kmp_connection import parse_destination
from kamstrup_mqtt.cli.options import (
    energy_options,
    find_protocol,
    key_options,
    parse_port,
    parser_options,
)
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import SerialParams, SourceId
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.dependencies import sources_to_read
from kamstrup_mqtt.meters.model import ProtocolProfile
from kamstrup_mqtt.protocols.base import Codec, ProtocolSpec

DEFAULT_REGISTERS: tuple[SourceId, ...] = (60, 68, 74, 80, 86, 87, 89, 1004)
"""Registers to read from a KMP meter of unknown model: most heat meters have them."""

DEFAULT_MODELS = {
    "kmp-ascii": "e685_382",
    "iec62056-21": "e685_382",
    "multical-66": "multical_66",
    "han": "kamstrup_han_3phase",
}

PUSH_TIMEOUT = 60.0
"""Seconds to wait for a pushed list; meters send one every 10 s."""

_IEC_ADDRESS = re.compile(r"[0-9A-Za-z ]{0,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """A reading as the command line describes it.

    sources      what to ask for, in order
    is_explicit  the user named the sources: nothing else is shown
    timeout      seconds for the whole reading; None: limited by the protocol
    """

    spec: ProtocolSpec
    address: PortAddress
    params: SerialParams
    codec: Codec
    profile: ProtocolProfile | None
    sources: tuple[SourceId, ...]
    is_explicit: bool
    timeout: float | None


def parse_read_request(args: argparse.Namespace) -> ReadRequest:
    """Check the options. Raises ConfigError for the first invalid one."""
    spec = find_protocol(args.protocol)
    address = parse_port(args)
    profile = _find_profile(spec, args.model)
    sources, is_explicit = _sources(spec, profile, args)
    params, options = _line(spec, profile, args)
    timeout = args.timeout if args.timeout or not spec.is_pushed else PUSH_TIMEOUT
    return ReadRequest(
        spec=spec,
        address=address,
        params=params,
        codec=spec.make_codec(**options),
        profile=profile,
        sources=sources,
        is_explicit=is_explicit,
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
    """The sources to read, and whether the user named them."""
    if spec.name != "kmp" and (args.type or args.serial):
        raise ConfigError(f"--type and --serial are requests of kmp; {spec.name} has none of them")
    named: list[SourceId] = ["type"] if args.type else []
    if args.serial:
        named.append("serial_no")
    try:
        named += [spec.parse_source(text) for text in args.register]
    except ValueError as error:
        raise ConfigError(f"--register: {error}") from error
    if named:
        return tuple(dict.fromkeys(named)), True
    if profile is None:
        return DEFAULT_REGISTERS, False
    listed = (source for group in profile.groups.values() for source in group)
    sources = sources_to_read(profile, listed)
    if not sources and not spec.is_pushed:
        raise ConfigError(f"--model {args.model} lists no registers: add --register N")
    return sources, False


def _line(
    spec: ProtocolSpec, profile: ProtocolProfile | None, args: argparse.Namespace
) -> tuple[SerialParams, dict[str, Any]]:
    """The settings of the port, and the options of the codec."""
    params = (profile.serial if profile else None) or spec.serial
    if args.baudrate is not None:
        params = dataclasses.replace(params, baudrate=args.baudrate)
    options: dict[str, Any] = {
        **energy_options(spec, args.energy_scale),
        **key_options(spec, args),
        **parser_options(),
    }
    if args.address is not None:
        options["address"] = _address(spec, args.address)
    if spec.name != "iec62056-21":
        return dataclasses.replace(params, parity=args.parity or params.parity), options
    options["baudrate"] = params.baudrate
    if args.parity in (None, "E"):
        return params, options  # the codec does 7E1 in software, over eight bits
    options["parity"] = "hardware"
    return dataclasses.replace(params, bytesize=7, parity=args.parity), options


def _address(spec: ProtocolSpec, text: str) -> int | str:
    if spec.name == "kmp":
        return parse_destination(text)
    if spec.name != "iec62056-21":
        raise ConfigError(f"--address: {spec.name} has no addresses")
    if not _IEC_ADDRESS.fullmatch(text):
        raise ConfigError(f"--address {text}: up to 32 letters, digits and spaces")
    return text
