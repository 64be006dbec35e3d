"""The command line: runs a command and turns its errors into an exit code.

Exit codes: 0 done, 1 failed (no answer, no link), 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from kamstrup_mqtt.core import log
from kamstrup_mqtt.core.errors import ConfigError, KamstrupMqttError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS: Mapping[str, str] = {
    "run": "run the daemon: read the configured meters and publish them",
    "check": "validate a configuration; with --connect also its ports and its broker",
    "discovery": "print the Home Assistant discovery messages as JSON",
    "read": "read one meter now",
    "listen": "watch a HAN port live",
    "capture": "record what passes on the lines of the configured meters",
    "replay": "run a recording through the whole daemon",
    "scan": "find out what is on a port: protocol, speed, model, registers",
    "align": "seat an optical head: live view of what comes back",
    "history": "read a meter's own log",
    "clock": "show the drift of a meter's clock; set it",
    "decode": "explain recorded bytes",
    "emulate": "emulate a meter",
    "models": "list the supported meters",
    "health": "show the health of the running daemon",
    "accept": "accept a total that the running daemon holds back",
    "dump": "collect data for a bug report, without secrets",
    "remove": "clear the daemon's retained messages from the broker",
    "demo": "four emulated meters, a broker and the daemon, shown live",
}
"""Every command with its help text, in the order of --help.

The module of a command, `cli/<name>`, is imported only to run that command. It has
`add_parser(subparsers)`, which sets `func`, and `run(args) -> int`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. A programming error is raised."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    _disable_core_dumps()
    try:
        args = make_parser(arguments).parse_args(arguments)
        log.set_up(verbose=args.verbose)
        code: int = args.func(args)
        sys.stdout.flush()
    except ConfigError as error:
        return _print_errors(error.faults, USAGE)
    except KamstrupMqttError as error:
        return _print_errors([f"kamstrup-mqtt: {error}"], FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of the output (head, less) has exited; Python would report that again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _disable_core_dumps() -> None:
    """A core dump would contain the password of the broker and the keys of the meters."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # the limit does not apply to a core dump that the kernel pipes to a program (core(5)): exclude
    # all memory from it
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/coredump_filter").write_text("0", encoding="ascii")


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser for these arguments; only the command in them gets its options."""
    parser = argparse.ArgumentParser(
        prog="kamstrup-mqtt",
        description="Reads Kamstrup meters and publishes them to MQTT and Home Assistant.",
        epilog="Each command has its own --help.",
    )
    parser.add_argument("--version", action="version", version=version("kamstrup-mqtt"))
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="show more; twice: the libraries too"
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for name, help_ in COMMANDS.items():
        module = f"{__name__}.{name}"
        if importlib.util.find_spec(module) is None:
            continue
        if name == chosen:
            importlib.import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=help_, add_help=False)
    return parser


def _print_errors(lines: Sequence[str], code: int) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code
