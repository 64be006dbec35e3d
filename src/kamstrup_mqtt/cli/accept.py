"""`kamstrup-mqtt accept METER`: believe a total that the running daemon holds back."""

from __future__ import annotations

import argparse
import os
from typing import Any

from kamstrup_mqtt.cli.control_client import send_request
from kamstrup_mqtt.daemon.control_socket import control_address


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "accept",
        help="believe a total that the running daemon holds back",
        description="After a meter was exchanged or its register was reset: believe at once the"
        " totals that the running daemon holds back as implausible, instead of waiting for readings"
        " that agree. On a HAN meter also: go on with the energy_scale that its totals are held"
        " back for. Exit code: 0 accepted, 1 nothing is held back, or no daemon answers.",
    )
    parser.add_argument("meter", metavar="METER", help="the meter's id in the configuration")
    parser.add_argument(
        "--instance", default="main", help="its mqtt.instance (default: %(default)s)"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what was accepted."""
    address = control_address(os.environ, args.instance, os.getuid())
    accepted = send_request(address, "accept", meter=args.meter)["accepted"]
    if not accepted:
        print(f"{args.meter}: no total is held back")
        return 1
    print(f"{args.meter}: accepted {', '.join(accepted)}")
    return 0
