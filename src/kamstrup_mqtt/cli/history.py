"""`kamstrup-mqtt history`: read the log in a meter."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import date
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, tables
from kamstrup_mqtt.cli.kmp_connection import (
    KmpConnection,
    add_kmp_arguments,
    parse_kmp_connection,
)
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import Json, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.kmp import SPEC, log_reading
from kamstrup_mqtt.protocols.kmp.log_messages import CLOCKS, LOGGERS, LoggerConfiguration, Record
from kamstrup_mqtt.protocols.kmp.messages import MAX_REGISTERS

DEFAULTS = (60, 63, 68, 1, 2, 97, 110)
"""Registers to read without --register, if the log contains them: the totals."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "history",
        help="read a meter's own log",
        description="Read the log in a meter, newest record first. MULTICAL 303, 403 and 603 log"
        " hours, days, months and years (--logger); older meters and electricity meters have"
        " numbered logs (--log-id). Times are those of the meter's clock, without a zone.",
    )
    add_kmp_arguments(parser)
    parser.add_argument("--from", dest="start", metavar="DATE", type=_day, help="2026-01-31")
    parser.add_argument("--to", dest="end", metavar="DATE", type=_day, help="the last day")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--logger", choices=tuple(LOGGERS), default="day", help="default: day")
    kind.add_argument("--log-id", type=int, metavar="N", help="the number of a log")
    parser.add_argument(
        "--register",
        action="append",
        default=[],
        metavar="N",
        help="60, 0x3C (may be repeated); default: the totals in the log",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    parser.set_defaults(func=run)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write a date as 2026-01-31") from None


def run(args: argparse.Namespace) -> int:
    """Read and print. Returns 0, or 1 if there are no records.

    Raises MeterError if the meter does not answer.
    """
    registers = _registers(args)
    if args.log_id is not None and not 0 <= args.log_id <= 0xFF:
        raise ConfigError(f"--log-id {args.log_id}: a log has a number from 0 to 255")
    if args.start and args.end and args.start > args.end:
        raise ConfigError(f"--from {args.start} is after --to {args.end}")
    meter = parse_kmp_connection(args)
    start = args.start or ""
    if args.log_id is None:
        records = _read_logger(meter, LOGGERS[args.logger], registers, start)
    else:
        query = log_reading.Query(registers=_with_clocks(registers or (60, 68)), start=start)
        (records,) = meter.run(log_reading.by_record(meter.codec, args.log_id, query))
    records = tuple(record for record in records if _is_within(record, args.start, args.end))
    _print(args, records)
    if not records:
        print("no records in that period", file=sys.stderr)
    return DONE if records else FAILED


def _registers(args: argparse.Namespace) -> tuple[int, ...]:
    """The registers in --register. Raises ConfigError for an invalid one."""
    try:
        sources: list[SourceId] = [SPEC.parse_source(text) for text in args.register]
    except ValueError as error:
        raise ConfigError(f"--register: {error}") from error
    numbers = tuple(source for source in sources if isinstance(source, int))
    if len(numbers) > MAX_REGISTERS - 2 or len(numbers) < len(sources):
        raise ConfigError(f"--register: up to {MAX_REGISTERS - 2} numbers of registers")
    return numbers


def _read_logger(
    meter: KmpConnection, logger: int, registers: tuple[int, ...], start: str
) -> tuple[Record, ...]:
    """The records of a logger. Raises ConfigError if it does not contain one of the registers."""
    (logger_config,) = meter.run(log_reading.configuration(meter.codec, logger))
    missing = [register for register in registers if register not in logger_config.registers]
    if missing:
        names = ", ".join(map(str, missing))
        contents = ", ".join(map(str, logger_config.registers))
        raise ConfigError(
            f"--register {names}: this log does not contain it; it contains {contents}"
        )
    query = log_reading.Query(registers=_logger_registers(logger_config, registers), start=start)
    (records,) = meter.run(log_reading.past(meter.codec, logger, query))
    return records


def _logger_registers(config: LoggerConfiguration, registers: tuple[int, ...]) -> tuple[int, ...]:
    """The registers for the time, and `registers` or the totals in the log."""
    available = config.registers
    clocks = (348,) if 348 in available else tuple(c for c in CLOCKS if c in available)
    values = registers or tuple(register for register in DEFAULTS if register in available)
    return tuple(dict.fromkeys((*clocks, *values)))[:MAX_REGISTERS]


def _with_clocks(registers: tuple[int, ...]) -> tuple[int, ...]:
    """All registers for the time, and `registers`; a log omits those that it does not contain."""
    return tuple(dict.fromkeys((1003, 1002, *CLOCKS, *registers)))[:MAX_REGISTERS]


def _is_within(record: Record, start: str | None, end: str | None) -> bool:
    if record.time is None:
        return start is None and end is None
    day = record.time[:10]
    return (start is None or day >= start) and (end is None or day <= end)


def _print(args: argparse.Namespace, records: tuple[Record, ...]) -> None:
    if args.json:
        objects: list[Json] = [record.as_json() for record in records]
        print(decimal_json.dumps(objects, indent=2))
        return
    if not records:
        return
    columns, rows = _table(records)
    if args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if cell is None else tables.printable(cell) for cell in row])
        return
    tables.print_table("log", columns, rows)


def _table(records: tuple[Record, ...]) -> tuple[list[str], list[list[object]]]:
    """The columns, named by key and unit, and the rows."""
    sources = dict.fromkeys(obj.id for record in records for obj in record.values)
    units = {obj.id: obj.unit for record in records for obj in record.objects if obj.unit}
    names = {source: registry.quantity_for(SPEC.name, None, source).key for source in sources}
    columns = [f"{names[s]} [{units[s]}]" if s in units else names[s] for s in sources]
    rows: list[list[object]] = []
    for record in records:
        values = {obj.id: obj.value for obj in record.objects}
        rows.append([record.time, record.id, *(values.get(source) for source in sources)])
    return ["time", "record", *columns], rows
