"""`kamstrup-mqtt dump`: collect data for a bug report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli import DONE
from kamstrup_mqtt.cli.control_client import send_request
from kamstrup_mqtt.cli.output import put
from kamstrup_mqtt.config import Config, loader
from kamstrup_mqtt.core.errors import ConfigError, KamstrupMqttError
from kamstrup_mqtt.core.files import create_private
from kamstrup_mqtt.daemon import diagnostics
from kamstrup_mqtt.daemon.control_socket import ControlError, control_address
from kamstrup_mqtt.storage.state_file import FILE, read_only, state_directory
from kamstrup_mqtt.storage.state_schema import MeterState


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "dump",
        help="collect data for a bug report, without secrets",
        description="Collect data for a bug report as JSON: versions, the configuration, and from"
        " the running daemon the counters, link states and latest dropped bytes of each meter."
        " Without a daemon: the configuration (-c) and the saved state. Passwords, keys, the"
        " broker's user name, values from environment variables, and host names are masked; device"
        " paths, names and ids are not. Serial numbers are left out, but dropped bytes may contain"
        " them. Exit code: 0 done, also without a daemon, 2 FILE cannot be written.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="the configuration")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of standard output"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--instance",
        help="the daemon's mqtt.instance (default: that of the configuration, or main)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Write the dump. What is not available is named in it, and on standard error."""
    config, faults = _config(args.config)
    text = json.dumps(collect(args, config, faults), ensure_ascii=False, indent=2)
    if args.output is None:
        put(text, flush=True)
        return DONE
    _write(args.output, text + "\n", replace=args.force)
    print(f"{args.output}: read it before you send it", file=sys.stderr)
    return DONE


def _config(path: str | None) -> tuple[Config | None, tuple[str, ...]]:
    if path is None:
        return None, ()
    try:
        return loader.load(path), ()
    except ConfigError as error:
        return None, error.faults


def collect(
    args: argparse.Namespace, config: Config | None, faults: tuple[str, ...]
) -> Mapping[str, Any]:
    """The dump of the daemon, or what is available without a daemon."""
    instance = args.instance or (config.mqtt.instance if config else "main")
    try:
        answer = send_request(control_address(os.environ, instance, os.getuid()), "dump")
    except ControlError as error:
        _warn(f"without the daemon: {error}")
        found = {**diagnostics.program_info(), "daemon": str(error)}
    else:
        return {"daemon": "running", **{k: v for k, v in answer.items() if k != "ok"}}
    if config is None:
        _warn("\n".join(faults) or "without a configuration; give it with -c")
        return {**found, "config": {"faults": list(faults)} if faults else None}
    return diagnostics.redact({**found, "meters": _meters(config)}, config)


def _meters(config: Config) -> Mapping[str, Any]:
    directory = config.state_directory or state_directory(os.environ)
    try:
        states = read_only(Path(directory) / FILE)
    except KamstrupMqttError as error:
        _warn(str(error))
        states = {}
    return {
        meter.id: {
            "port": diagnostics.port_info(meter),
            **diagnostics.state_info(states.get(meter.id, MeterState.empty())),
        }
        for meter in config.meters
    }


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _write(path: Path, text: str, *, replace: bool) -> None:
    try:
        with open(create_private(path, replace=replace), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
