"""`kamstrup-mqtt scan`: find out what is on a port."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED, tables
from kamstrup_mqtt.cli.arguments import minutes, positive_minutes
from kamstrup_mqtt.cli.options import add_port_argument, add_request_arguments, parse_port
from kamstrup_mqtt.cli.value_listing import public_key
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import ConfigError, LinkError, MeterError
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.reading.commissioning.scan import (
    AWAKE_SECONDS,
    LISTEN_SECONDS,
    PAUSE,
    Scan,
    ScanOptions,
)
from kamstrup_mqtt.reading.commissioning.scan_finding import (
    ScanFinding,
    ScanProgress,
    configuration_yaml,
)
from kamstrup_mqtt.storage.state_file import state_directory

_NO_METER = (
    "no meter answered: is the head on the meter's eye and the meter awake (press a button)?"
    " `kamstrup-mqtt align` shows what comes back. A HAN port must be switched on by the grid"
    " company"
)
_KEYS_NEEDED = (
    "the lists are encrypted: the grid company tells the owner of the meter the two keys, GPK60 and"
    " GPK61; set environment variables of these names, or see encryption_key_file"
)


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "scan",
        help="find out what is on a port: protocol, speed, model, registers",
        description="Listen for a meter that sends by itself (HAN), then try the protocols one"
        " after the other. Identify the meter, read all known registers, and print the"
        " configuration for it.",
    )
    add_port_argument(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        help="kmp: ask for all 65,536 registers, which takes hours; Ctrl-C interrupts, and the"
        " next call continues",
    )
    parser.add_argument("--resume", metavar="FILE", help="where --all saves its progress")
    _add_limits(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    awake, listen = AWAKE_SECONDS / 60, LISTEN_SECONDS / 60
    parser.add_argument(
        "--awake",
        type=positive_minutes,
        default=awake,
        metavar="MINUTES",
        help=f"stop after this time, to spare a battery (default: {awake:g})",
    )
    parser.add_argument(
        "--listen",
        type=minutes,
        default=listen,
        metavar="MINUTES",
        help="limit for listening for a meter that sends by itself: 12 s of it at first, the rest"
        f" if bytes arrive or no meter answers (default: {listen:g}; 0: do not listen)",
    )
    add_request_arguments(parser, pause=PAUSE)


def run(args: argparse.Namespace) -> int:
    """Scan and print.

    Returns 0 if a meter was found, 1 if none was or if it stopped answering, and 130 if the scan
    was interrupted. What was found is printed in any case.
    """
    address = parse_port(args)
    if args.resume and not args.all:
        raise ConfigError("--resume works only together with --all")
    view = ProgressView()
    scan = Scan(address, _options(args), view.show)
    code = DONE
    try:
        asyncio.run(scan.run())
    except KeyboardInterrupt:
        print("\ninterrupted", end="", file=sys.stderr)
        print("" if scan.finding else ": no meter had answered yet", file=sys.stderr)
        code = INTERRUPTED
    except (MeterError, LinkError) as error:
        view.end_line()
        if scan.finding is None:
            raise
        print(f"kamstrup-mqtt: {error}\nthis was found before:", file=sys.stderr)
        code = FAILED
    view.end_line()
    if scan.finding is not None:
        _print(args, address, scan.finding)
        return code
    if code == DONE:
        print(_NO_METER, file=sys.stderr)
        return FAILED
    return code


def _options(args: argparse.Namespace) -> ScanOptions:
    return ScanOptions(
        listen=args.listen * 60,
        awake=args.awake * 60,
        pause=args.pause,
        response_timeout=args.timeout,
        file_directory=state_directory(os.environ) if args.all else None,
        file=Path(args.resume) if args.resume else None,
    )


class ProgressView:
    """Shows the progress on standard error; counts only on a terminal, where they stay in place."""

    def __init__(self) -> None:
        self._in_line = False

    def show(self, progress: ScanProgress) -> None:
        """Show one step."""
        if progress.message:
            self.end_line()
            print(progress.message, file=sys.stderr, flush=True)
        elif sys.stderr.isatty():
            text = f"{progress.done} of {progress.total} registers, {progress.answered} answered"
            print(f"\r{text}", end="", file=sys.stderr, flush=True)
            self._in_line = True

    def end_line(self) -> None:
        """End the line of the counts, if there is one."""
        if self._in_line:
            print(file=sys.stderr)
            self._in_line = False


def _print(args: argparse.Namespace, address: PortAddress, finding: ScanFinding) -> None:
    spec = registry.find_protocol(finding.protocol)
    objects = sorted(
        finding.objects.values(), key=lambda obj: (isinstance(obj.id, str), str(obj.id).zfill(9))
    )
    if args.json:
        rows = [
            {"id": o.id, "key": public_key(spec, o.id), "value": o.value, "unit": o.unit}
            for o in objects
        ]
        result = {
            "protocol": finding.protocol,
            "line": finding.line,
            "model": finding.model,
            "serial": finding.serial,
            "objects": rows,
        }
        print(decimal_json.dumps(result, indent=2))
        return
    if finding.is_encrypted:
        print(_KEYS_NEEDED, file=sys.stderr)
    name = "a meter that sends by itself" if finding.is_pushed else finding.meter_model.name
    serial = f", serial number {finding.serial}" if finding.serial else ""
    tables.print_table(
        f"{finding.protocol} at {finding.line}: {name}{serial}",
        ("id", "key", "value", "unit"),
        [(o.id, public_key(spec, o.id), o.value, o.unit or "") for o in objects],
    )
    print()
    print(configuration_yaml(address, finding))
