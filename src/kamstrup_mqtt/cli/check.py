"""`kamstrup-mqtt check`: validate a configuration; with `--connect` try its ports and broker."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, tables
from kamstrup_mqtt.config import Config, Meter
from kamstrup_mqtt.config.loader import load
from kamstrup_mqtt.core.errors import KamstrupMqttError


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="validate a configuration; with --connect also its ports and its broker",
        description="Validate a configuration. Every error is printed with file, line and column.",
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="config.yaml")
    parser.add_argument(
        "--connect",
        action="store_true",
        help="open the ports, connect to the broker, publish and read back",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print a summary of the configuration.

    Returns 0, or 1 if a port or the broker is not reachable.
    """
    config = load(args.config)
    mqtt = config.mqtt
    tls = ", TLS" if mqtt.tls else ""
    print(f"{args.config}: valid")
    print(f"broker: {mqtt.host}:{mqtt.port}{tls}, topics {mqtt.topics.root}/...")
    columns = ("id", "name", "protocol", "model", "port", "interval", "values")
    tables.print_table("meters:", columns, [_row(meter) for meter in config.meters])
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return asyncio.run(_connect(config)) if args.connect else DONE


def _row(meter: Meter) -> tuple[object, ...]:
    plan = meter.plan()
    interval = (
        "sends by itself" if meter.interval_seconds is None else f"{meter.interval_seconds:g} s"
    )
    others = " and all others that arrive" if plan.accept_unlisted else ""
    return (
        meter.id,
        meter.name,
        f"{meter.protocol_name} ({meter.serial_params()})",
        meter.model,
        meter.port,
        interval,
        f"{len(plan.values)}{others}",
    )


async def _connect(config: Config) -> int:
    code = DONE
    async for message, is_ok in _attempts(config):
        if is_ok:
            print(message)
        else:
            print(f"failed: {message}", file=sys.stderr)
            code = FAILED
    return code


async def _attempts(config: Config) -> AsyncIterator[tuple[str, bool]]:
    """Try each port and the broker: a message, and whether it was reachable."""
    from kamstrup_mqtt.links.open_link import open_link
    from kamstrup_mqtt.mqtt import check_broker

    ports = {meter.port: meter for meter in config.meters}
    for port, meter in ports.items():
        try:
            link = await open_link(port, meter.serial_params())
        except KamstrupMqttError as error:
            yield str(error), False
            continue
        await link.close()
        yield f"{port}: opened", True
    try:
        lines = await check_broker(config.mqtt)
    except KamstrupMqttError as error:
        yield str(error), False
        return
    for line in lines:
        yield f"broker: {line}", True
