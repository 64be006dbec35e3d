"""`kamstrup-mqtt remove`: clear the daemon's retained messages from the broker."""

from __future__ import annotations

import argparse
import asyncio
from importlib.metadata import version
from typing import Any

from kamstrup_mqtt.cli import DONE
from kamstrup_mqtt.cli.instance import with_instance
from kamstrup_mqtt.config import loader
from kamstrup_mqtt.mqtt import clear_retained


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "remove",
        help="clear the daemon's retained messages from the broker",
        description="Clear the retained discovery, state and status messages of this instance, so"
        " that Home Assistant removes its devices. Stop the daemon first. Exit code: 0 done, 1 the"
        " broker is not reachable or a daemon is online, 2 the configuration is wrong.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration")
    parser.add_argument(
        "--instance",
        metavar="NAME",
        help="another mqtt.instance, for example replay for the messages of a replay",
    )
    parser.add_argument(
        "--force", action="store_true", help="even if a daemon is online according to the broker"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Clear the messages and print their topics."""
    config = loader.load(args.config)
    if args.instance is not None:
        config = with_instance(config, args.instance)
    topics = asyncio.run(clear_retained(config, version("kamstrup-mqtt"), force=args.force))
    for topic in topics:
        print(f"cleared {topic}")
    if not topics:
        print(f"the broker retains no messages below {config.mqtt.topics.root}")
    return DONE
