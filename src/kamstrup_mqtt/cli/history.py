"""`kamstrup-mqtt history`: read a meter's own log."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import date
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, tables
from kamstrup_mqtt.cli.kmp_line import KmpConnection, add_arguments, parse_connection
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import Json, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.kmp import SPEC
from kamstrup_mqtt.protocols.kmp import log_reading as talks
from kamstrup_mqtt.protocols.kmp.log_messages import CLOCKS, LOGGERS, LoggerConfiguration, Record
from kamstrup_mqtt.protocols.kmp.messages import MAX_REGISTERS

DEFAULTS = (60, 63, 68, 1, 2, 97, 110)
"""What is read when nobody says: the totals among what the log holds."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "history",
        help="read a meter's own log",
        description="Read what a meter has logged, the newest first. MULTICAL 303, 403 and 603"
        " have a log of hours, days, months and years (--logger); older meters and electricity"
        " meters have logs with numbers (--log-id). Times are the meter's own, without zone.",
    )
    add_arguments(parser)
    parser.add_argument("--from", dest="start", metavar="DATE", type=_day, help="2026-01-31")
    parser.add_argument("--to", dest="end", metavar="DATE", type=_day, help="the last day wanted")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--logger", choices=tuple(LOGGERS), default="day", help="default: day")
    kind.add_argument("--log-id", type=int, metavar="N", help="a log with this number")
    parser.add_argument(
        "--register",
        action="append",
        default=[],
        metavar="N",
        help="60, 0x3C (may be repeated); default: the totals that the log holds",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--csv", action="store_true", help="as CSV")
    parser.set_defaults(func=run)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write a date as 2026-01-31") from None


def run(args: argparse.Namespace) -> int:
    """Read and print. 0: there were records; 1: there were none, or no answer."""
    chosen = _registers(args)
    if args.log_id is not None and not 0 <= args.log_id <= 0xFF:
        raise ConfigError(f"--log-id {args.log_id}: the number of a log is 0 to 255")
    if args.start and args.end and args.start > args.end:
        raise ConfigError(f"--from {args.start} is after --to {args.end}")
    line = parse_connection(args)
    if args.log_id is None:
        records = _logger(line, LOGGERS[args.logger], chosen, args.start or "")
    else:
        query = talks.Query(registers=_with_clocks(chosen or (60, 68)), start=args.start or "")
        (records,) = line.run(talks.by_record(line.codec, args.log_id, query))
    wanted = [record for record in records if _within(record, args.start, args.end)]
    _print(args, wanted)
    if not wanted:
        print("no records of that time", file=sys.stderr)
    return DONE if wanted else FAILED


def _registers(args: argparse.Namespace) -> tuple[int, ...]:
    try:
        sources: list[SourceId] = [SPEC.parse_source(text) for text in args.register]
    except ValueError as error:
        raise ConfigError(f"--register: {error}") from error
    numbers = tuple(source for source in sources if isinstance(source, int))
    if len(numbers) > MAX_REGISTERS - 2 or len(numbers) < len(sources):
        raise ConfigError(f"--register: up to {MAX_REGISTERS - 2} numbers of registers")
    return numbers


def _logger(
    line: KmpConnection, logger: int, chosen: tuple[int, ...], start: str
) -> tuple[Record, ...]:
    (held,) = line.run(talks.configuration(line.codec, logger))
    missing = [register for register in chosen if register not in held.registers]
    if missing:
        names = ", ".join(map(str, missing))
        holds = ", ".join(map(str, held.registers))
        raise ConfigError(f"--register {names}: this log does not hold it; it holds {holds}")
    query = talks.Query(registers=_of_logger(held, chosen), start=start)
    (records,) = line.run(talks.past(line.codec, logger, query))
    return records


def _of_logger(held: LoggerConfiguration, chosen: tuple[int, ...]) -> tuple[int, ...]:
    clocks = (348,) if 348 in held.registers else tuple(c for c in CLOCKS if c in held.registers)
    wanted = chosen or tuple(r for r in DEFAULTS if r in held.registers)
    return tuple(dict.fromkeys((*clocks, *wanted)))[:MAX_REGISTERS]


def _with_clocks(chosen: tuple[int, ...]) -> tuple[int, ...]:
    """A log leaves out what it does not hold: both ways to tell the time are asked for."""
    return tuple(dict.fromkeys((1003, 1002, *CLOCKS, *chosen)))[:MAX_REGISTERS]


def _within(record: Record, start: str | None, end: str | None) -> bool:
    if record.time is None:
        return start is None and end is None
    day = record.time[:10]
    return (start is None or day >= start) and (end is None or day <= end)


def _print(args: argparse.Namespace, records: list[Record]) -> None:
    if args.json:
        rows: list[Json] = [record.as_json() for record in records]
        print(decimal_json.dumps(rows, indent=2))
        return
    columns, rows_ = _table(records)
    if not records:
        return
    if args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(
            [tables.printable(cell) if cell is not None else "" for cell in row] for row in rows_
        )
        return
    tables.print_table("log", columns, rows_)


def _table(records: list[Record]) -> tuple[list[str], list[list[object]]]:
    """Columns named by key, with the unit behind it."""
    ids = dict.fromkeys(obj.id for record in records for obj in record.values)
    units = {obj.id: obj.unit for record in records for obj in record.objects if obj.unit}
    names = [registry.key_of(SPEC.name, id_) or SPEC.fallback_key(id_) for id_ in ids]
    columns = [
        "time",
        "record",
        *(
            f"{name} [{units[id_]}]" if id_ in units else name
            for name, id_ in zip(names, ids, strict=True)
        ),
    ]
    rows: list[list[object]] = []
    for record in records:
        by_id = {obj.id: obj.value for obj in record.objects}
        rows.append([record.time, record.id, *(by_id.get(id_) for id_ in ids)])
    return columns, rows
