"""`kamstrup-mqtt accept METER`: accept a total that the running daemon holds back."""

from __future__ import annotations

import argparse
import os
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED
from kamstrup_mqtt.cli.control_client import send_request
from kamstrup_mqtt.daemon.control_socket import control_address


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "accept",
        help="accept a total that the running daemon holds back",
        description="After the exchange of a meter or the reset of a register: accept at once the"
        " totals that the running daemon rejects as implausible, instead of waiting until more"
        " readings confirm them. For a HAN meter, also accept a new energy_scale. Exit code: 0"
        " accepted, 1 no total is held back, or no daemon answers.",
    )
    parser.add_argument("meter", metavar="METER", help="the meter's id in the configuration")
    parser.add_argument(
        "--instance", default="main", help="its mqtt.instance (default: %(default)s)"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the accepted totals. Returns 0, or 1 if no total is held back."""
    address = control_address(os.environ, args.instance, os.getuid())
    accepted = send_request(address, "accept", meter=args.meter)["accepted"]
    if not accepted:
        print(f"{args.meter}: no total is held back")
        return FAILED
    print(f"{args.meter}: accepted {', '.join(accepted)}")
    return DONE
