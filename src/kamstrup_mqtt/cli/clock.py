"""`kamstrup-mqtt clock`: show the drift of a meter's clock, and set it."""

from __future__ import annotations

import argparse
import sys
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kamstrup_mqtt.cli import DONE
from kamstrup_mqtt.cli.kmp_connection import (
    KmpConnection,
    add_kmp_arguments,
    parse_kmp_connection,
)
from kamstrup_mqtt.core.errors import ConfigError, MeterError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.meters.clock_zone import MAX_ERROR, ahead_of_utc, nearest_offset, parse_offset
from kamstrup_mqtt.protocols.kmp.log_reading import read_clock, write_clock


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "clock",
        help="show the drift of a meter's clock; set it",
        description="Show a meter's clock beside this computer's. With --set and --yes, set it: the"
        " meter keeps its offset from UTC, which is its difference rounded to a quarter hour that"
        " some zone uses, and the drift is corrected. Nothing else is ever written to a meter.",
    )
    add_kmp_arguments(parser)
    parser.add_argument("--set", action="store_true", help="set the clock; needs --yes")
    parser.add_argument("--yes", action="store_true", help="confirm that the meter is written to")
    parser.add_argument(
        "--zone",
        help="Europe/Copenhagen or +01:00: set the meter to the standard time of this zone;"
        f" required if its drift is more than {MAX_ERROR.seconds // 60} min",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> int:
    """Show the clock, and set it with --set. Returns 0.

    Raises MeterError if the meter does not answer, or if the drift is too large to set the clock
    without --zone.
    """
    zone = None if args.zone is None else zone_offset(args.zone, now())
    if args.yes and not args.set:
        raise ConfigError("--yes works only together with --set")
    meter = parse_kmp_connection(args)
    offset, drift = _show(meter, zone, now)
    if not args.set:
        return DONE
    if zone is None and abs(drift) > MAX_ERROR:
        raise MeterError(
            LinkState.REFUSED,
            f"the clock is wrong by more than {MAX_ERROR.seconds // 60} min, or in an unknown zone:"
            " give the zone of the meter's clock with --zone",
        )
    if not args.yes:
        raise ConfigError("--set writes to the meter; add --yes to confirm that")

    meter.run(write_clock(meter.codec, (now() + offset).replace(tzinfo=None)))
    print("set", file=sys.stderr)
    _show(meter, offset, now)
    return DONE


def _show(
    meter: KmpConnection, zone: timedelta | None, now: Callable[[], datetime]
) -> tuple[timedelta, timedelta]:
    """Print the clock; returns its offset from UTC and its drift."""
    (clock,) = meter.run(read_clock(meter.codec))
    host = now()
    ahead = ahead_of_utc(clock, host)
    offset = nearest_offset(ahead, host) if zone is None else zone
    drift = ahead - offset
    local = (host + offset).replace(tzinfo=None)
    print(f"meter          {clock.isoformat()}")
    print(f"this computer  {local.isoformat('T', 'seconds')} (UTC{_signed(offset)})")
    print(f"drift          {round(drift.total_seconds()):+d} s")
    return offset, drift


def zone_offset(text: str, at: datetime) -> timedelta:
    """The offset from UTC of the standard time of a zone.

    Raises ConfigError for an unknown zone.
    """
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
