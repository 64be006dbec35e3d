"""`kamstrup-mqtt remove`: clear from the broker what this daemon retained there."""

from __future__ import annotations

import argparse
import asyncio
from importlib.metadata import version
from typing import Any

from kamstrup_mqtt.cli.arguments import with_instance
from kamstrup_mqtt.config import loader
from kamstrup_mqtt.mqtt import clear_retained


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "remove",
        help="clear from the broker what this daemon retained there",
        description="Clear the retained discovery, state and status messages of this instance, so"
        " that Home Assistant forgets its devices. Stop the daemon first. Exit code: 0 done, 1 the"
        " broker cannot be reached or a daemon is online, 2 the configuration is wrong.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration")
    parser.add_argument(
        "--instance",
        metavar="NAME",
        help="another mqtt.instance: replay, what a replay left",
    )
    parser.add_argument(
        "--force", action="store_true", help="also when the broker says that a daemon is online"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Clear, and print each topic."""
    config = loader.load(args.config)
    if args.instance is not None:
        config = with_instance(config, args.instance)
    topics = asyncio.run(clear_retained(config, version("kamstrup-mqtt"), force=args.force))
    for topic in topics:
        print(f"cleared {topic}")
    if not topics:
        print(f"nothing of {config.mqtt.topics.root} is retained on the broker")
    return 0
