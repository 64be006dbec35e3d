"""`kamstrup-mqtt clock`: how wrong the meter's clock is, and setting it."""

from __future__ import annotations

import argparse
import sys
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kamstrup_mqtt.cli import DONE
from kamstrup_mqtt.cli.kmp_line import KmpConnection, add_arguments, parse_connection
from kamstrup_mqtt.core.errors import ConfigError, MeterError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.meters.clock_zone import MAX_ERROR, ahead_of_utc, nearest_offset, parse_offset
from kamstrup_mqtt.protocols.kmp.log_reading import read_clock, write_clock


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "clock",
        help="show how wrong a meter's clock is; set it",
        description="Show a meter's clock beside this computer's. With --set and --yes it is set:"
        " it keeps its own distance from UTC, which is what it is ahead, rounded to a quarter hour"
        " that some zone has, and what it is wrong beside that is corrected. Nothing else is ever"
        " written to a meter.",
    )
    add_arguments(parser)
    parser.add_argument("--set", action="store_true", help="set the clock; needs --yes")
    parser.add_argument("--yes", action="store_true", help="yes, write to the meter")
    parser.add_argument(
        "--zone",
        help="Europe/Copenhagen or +01:00: the meter shall show the standard time of this zone;"
        f" needed where it is wrong by more than {MAX_ERROR.seconds // 60} min",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> int:
    """Show, and set when asked to. 0: done; 1: no answer, or too wrong to be set without --zone."""
    zone = None if args.zone is None else zone_offset(args.zone, now())
    if args.yes and not args.set:
        raise ConfigError("--yes means nothing without --set")
    line = parse_connection(args)
    offset, rest = _show(line, zone, now)
    if not args.set:
        return DONE
    if zone is None and abs(rest) > MAX_ERROR:
        raise MeterError(
            LinkState.REFUSED,
            f"the clock is wrong by more than {MAX_ERROR.seconds // 60} min, or in a zone that is"
            " not known: say with --zone which time it shall show",
        )
    if not args.yes:
        raise ConfigError("--set writes to the meter; add --yes if that is meant")

    line.run(write_clock(line.codec, (now() + offset).replace(tzinfo=None)))
    print("set", file=sys.stderr)
    _show(line, offset, now)
    return DONE


def _show(
    line: KmpConnection, zone: timedelta | None, now: Callable[[], datetime]
) -> tuple[timedelta, timedelta]:
    """Print the clock; returns the distance from UTC that it keeps, and what it is wrong by."""
    (meter,) = line.run(read_clock(line.codec))
    host = now()
    ahead = ahead_of_utc(meter, host)
    offset = nearest_offset(ahead, host) if zone is None else zone
    rest = ahead - offset
    wrong = round(rest.total_seconds())
    print(f"meter          {meter.isoformat()}")
    print(
        f"this computer  {(host + offset).replace(tzinfo=None).isoformat('T', 'seconds')}", end=""
    )
    print(f" (UTC{_signed(offset)})")
    print(f"drift          {wrong:+d} s")
    return offset, rest


def zone_offset(text: str, at: datetime) -> timedelta:
    """The standard time of a zone, as distance from UTC. Raises ConfigError."""
    if text[:1] in "+-":
        try:
            return parse_offset(text)
        except ValueError:
            raise ConfigError(f"--zone {text}: write +01:00, or a name: Europe/Oslo") from None
    try:
        zone = zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--zone {text}: unknown; write Europe/Oslo, or +01:00") from None
    local = at.astimezone(zone)
    return (local.utcoffset() or timedelta()) - (local.dst() or timedelta())


def _signed(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
