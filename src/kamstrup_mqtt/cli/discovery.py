"""`kamstrup-mqtt discovery`: the Home Assistant messages, from configuration and memory."""

from __future__ import annotations

import argparse
import json
import os
import sys
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED
from kamstrup_mqtt.config import Config, Meter, with_models
from kamstrup_mqtt.config.loader import load
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.daemon import factory
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.devices.unique_ids import assign_suffixes
from kamstrup_mqtt.homeassistant.discovery import meter_discovery
from kamstrup_mqtt.homeassistant.gateway_device import bridge_discovery
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig
from kamstrup_mqtt.storage.state_file import detected_models, read_only, state_directory
from kamstrup_mqtt.storage.state_schema import MeterState


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "discovery",
        help="print the Home Assistant discovery messages as JSON",
        description="Print the discovery messages as one JSON object, topic by topic. What a meter"
        " is called and what it tells is known once the daemon has read it.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="config.yaml")
    parser.add_argument(
        "--assume",
        metavar="SERIAL",
        help="print a meter that was never read as if it had this serial number and told"
        " everything that is asked of it",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the messages; exit code 1 when a meter is left out because it was never read."""
    config = load(args.config)
    if not config.homeassistant.enabled:
        print("homeassistant.enabled is false: the daemon sends none of these", file=sys.stderr)
    remembered = read_only((config.state_directory or state_directory(os.environ)) / "memory.json")
    config = with_models(config, detected_models(remembered))
    pictures, unread = [], []
    for meter in config.meters:
        memory = remembered.get(meter.id, MeterState())
        if args.assume is not None and not _known(meter, memory):
            _assume(meter, memory, args.assume)
        if _known(meter, memory):
            pictures.append(Device(factory.device_config(meter, config), memory, 0.0))
        else:
            unread.append(meter)
    for line in assign_suffixes(pictures):
        print(line, file=sys.stderr)
    _print(config, pictures)
    for meter in unread:
        print(
            f"{meter.id} was never read, so its serial number and values are not known: let the"
            " daemon read it once, or give --assume SERIAL",
            file=sys.stderr,
        )
    return FAILED if unread else DONE


def _known(meter: Meter, memory: MeterState) -> bool:
    named = meter.serial is not None or memory.serial is not None or not meter.profile.identity
    return named and bool(memory.units)


def _assume(meter: Meter, memory: MeterState, serial: str) -> None:
    memory.serial = memory.serial or serial
    if not memory.units:
        memory.units = {v.quantity.key: v.quantity.unit for v in meter.plan().values}


def _print(config: Config, pictures: list[Device]) -> None:
    announcer = DiscoveryConfig(
        topics=config.mqtt.topics,
        prefix=config.homeassistant.prefix,
        is_modern=config.homeassistant.is_modern,
        version=version("kamstrup-mqtt"),
    )
    found = [bridge_discovery(announcer), *(meter_discovery(announcer, p) for p in pictures)]
    messages = {
        message.topic: json.loads(message.payload, parse_float=Decimal)
        for message in found
        if message is not None
    }
    print(decimal_json.dumps(messages, indent=2))
