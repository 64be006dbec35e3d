"""`kamstrup-mqtt discovery`: print the Home Assistant messages, from configuration and state."""

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
from kamstrup_mqtt.storage.state_file import FILE, detected_models, read_only, state_directory
from kamstrup_mqtt.storage.state_schema import DeviceState, MeterState


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "discovery",
        help="print the Home Assistant discovery messages as JSON",
        description="Print the discovery messages as one JSON object with an entry per topic. The"
        " serial number and the values of a meter are known once the daemon has read it.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="config.yaml")
    parser.add_argument(
        "--assume",
        metavar="SERIAL",
        help="print a meter that was never read as if it had this serial number and all the values"
        " that it is asked for",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the messages. Returns 0, or 1 if a meter is left out because it was never read."""
    config = load(args.config)
    if not config.homeassistant.enabled:
        print("homeassistant.enabled is false: the daemon sends no discovery", file=sys.stderr)
    states = read_only((config.state_directory or state_directory(os.environ)) / FILE)
    config = with_models(config, detected_models(states))
    devices, unread = [], []
    for meter in config.meters:
        state = states.get(meter.id, MeterState.empty())
        if args.assume is not None and not _is_known(meter, state.device):
            _assume_serial(meter, state.device, args.assume)
        if _is_known(meter, state.device):
            devices.append(factory.make_device(meter, config, state, 0.0))
        else:
            unread.append(meter)
    for warning in assign_suffixes(devices):
        print(warning, file=sys.stderr)
    _print(config, devices)
    for meter in unread:
        print(
            f"{meter.id} was never read, so that its serial number and values are unknown: let the"
            " daemon read it once, or give --assume SERIAL",
            file=sys.stderr,
        )
    return FAILED if unread else DONE


def _is_known(meter: Meter, state: DeviceState) -> bool:
    """True if the daemon knows the values of the meter, and the serial number if it has one."""
    has_id = meter.serial is not None or state.serial is not None or not meter.profile.identity
    return has_id and bool(state.units)


def _assume_serial(meter: Meter, state: DeviceState, serial: str) -> None:
    state.serial = state.serial or serial
    if not state.units:
        state.units = {v.quantity.key: v.quantity.unit for v in meter.plan().values}


def _print(config: Config, devices: list[Device]) -> None:
    discovery = DiscoveryConfig(
        topics=config.mqtt.topics,
        prefix=config.homeassistant.prefix,
        is_modern=config.homeassistant.is_modern,
        version=version("kamstrup-mqtt"),
    )
    messages = [bridge_discovery(discovery), *(meter_discovery(discovery, d) for d in devices)]
    payloads = {
        message.topic: json.loads(message.payload, parse_float=Decimal)
        for message in messages
        if message is not None
    }
    print(decimal_json.dumps(payloads, indent=2))
