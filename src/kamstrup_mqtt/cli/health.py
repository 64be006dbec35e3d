"""`kamstrup-mqtt health`: ask the running daemon how it is."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from kamstrup_mqtt.cli.control_client import send_request
from kamstrup_mqtt.daemon.control_socket import control_address


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "health",
        help="ask the running daemon how it is",
        description="Ask the daemon that this user runs on this machine how it is. Exit code: 0"
        " healthy (also while the broker or a meter is away), 1 not healthy or not running.",
    )
    parser.add_argument(
        "--instance", default="main", help="its mqtt.instance (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="the whole answer as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print a summary; 0 when the daemon is healthy."""
    answer = send_request(control_address(os.environ, args.instance, os.getuid()), "health")
    healthy = bool(answer["healthy"])
    if args.json:
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return 0 if healthy else 1
    word = "healthy" if healthy else f"not healthy: not fed for {answer['fed']} s"
    print(f"{word}; {answer['status']}")
    for id_, meter in answer["meters"].items():
        print(f"  {id_}: {_meter(meter)}")
    return 0 if healthy else 1


def _meter(meter: dict[str, Any]) -> str:
    parts = ["online" if meter["online"] else "offline", meter["link_state"] or "not read yet"]
    if meter["last_reading"]:
        parts.append(f"last reading {meter['last_reading']}")
    if meter["last_error"]:  # also of a meter that is well again: then it is what was
        past = "last error: " if meter["link_state"] == "ok" else ""
        parts.append(past + meter["last_error"])
    return ", ".join(parts)
