"""`kamstrup-mqtt health`: show the health of the running daemon."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED
from kamstrup_mqtt.cli.control_client import send_request
from kamstrup_mqtt.daemon.control_socket import control_address


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "health",
        help="show the health of the running daemon",
        description="Show the health of the daemon that runs as this user on this machine. Exit"
        " code: 0 healthy (also while the broker or a meter is offline), 1 not healthy, or not"
        " running.",
    )
    parser.add_argument(
        "--instance", default="main", help="its mqtt.instance (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the complete response as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print a summary. Returns 0 if the daemon is healthy, else 1."""
    answer = send_request(control_address(os.environ, args.instance, os.getuid()), "health")
    healthy = bool(answer["healthy"])
    if args.json:
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return DONE if healthy else FAILED
    word = "healthy" if healthy else f"not healthy: no watchdog signal for {answer['fed']} s"
    print(f"{word}; {answer['status']}")
    for id_, meter in answer["meters"].items():
        print(f"  {id_}: {_meter(meter)}")
    return DONE if healthy else FAILED


def _meter(meter: dict[str, Any]) -> str:
    parts = ["online" if meter["online"] else "offline", meter["link_state"] or "not read yet"]
    if meter["last_reading"]:
        parts.append(f"last reading {meter['last_reading']}")
    if meter["last_error"]:  # it stays after the meter has recovered
        past = "last error: " if meter["link_state"] == "ok" else ""
        parts.append(past + meter["last_error"])
    return ", ".join(parts)
