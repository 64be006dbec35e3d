"""`kamstrup-mqtt run`: run the daemon."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import sys
from typing import Any

from kamstrup_mqtt.config import Config, loader
from kamstrup_mqtt.core import log as logs
from kamstrup_mqtt.daemon.app import App, ExitReason

EXIT_CODES = {ExitReason.STOPPED: 0, ExitReason.INTERRUPTED: 130}


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run the daemon: read the configured meters and publish them",
        description="Read the configured meters and publish them, until SIGTERM or Ctrl-C. SIGHUP"
        " loads a changed configuration if it is valid. Exit code: 0 stopped, 2 the configuration"
        " is wrong or another daemon uses it, 130 interrupted.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the daemon. After SIGHUP, replace this process by a new one."""
    config = loader.load(args.config)
    _set_up_log(config, args.verbose)
    try:
        ending = asyncio.run(_run(config, args))
    finally:
        faulthandler.cancel_dump_traceback_later()
    if ending is ExitReason.RELOAD:
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # ourselves
    return EXIT_CODES[ending]


async def _run(config: Config, args: argparse.Namespace) -> ExitReason:
    return await App(config, reload=lambda: loader.load(args.config)).run()


def _set_up_log(config: Config, verbose: int) -> None:
    logs.set_up(
        config.log_level,
        verbose=verbose,
        meters={meter.id: meter.log_level for meter in config.meters},
        secrets=config.secrets(),
    )
    log = logging.getLogger(__name__)
    for warning in config.warnings:
        log.warning("%s", warning)
