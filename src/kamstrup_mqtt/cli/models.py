"""`kamstrup-mqtt models`: list the supported meters."""

from __future__ import annotations

import argparse
from typing import Any

from kamstrup_mqtt.cli import DONE, tables
from kamstrup_mqtt.config.values import sources_by_key
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import MeterModel


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "models",
        help="list the supported meters",
        description="List the meter models with their protocols and values.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with all details of each value"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the models."""
    models = registry.all_models()
    if args.json:
        print(decimal_json.dumps([_as_json(id_, model) for id_, model in models.items()], indent=2))
        return DONE
    rows = [
        (
            id_,
            model.name,
            model.medium,
            protocol,
            "battery" if model.has_battery else "mains",
            values,
        )
        for id_, model in models.items()
        for protocol, profile in model.profiles.items()
        for values in [", ".join(sources_by_key(protocol, profile)) or "those listed in custom"]
    ]
    tables.print_table("models", ("model", "meter", "medium", "protocol", "power", "values"), rows)
    return DONE


def _as_json(id_: str, model: MeterModel) -> dict[str, Any]:
    return {
        "model": id_,
        "name": model.name,
        "manufacturer": model.manufacturer,
        "medium": model.medium,
        "battery": model.has_battery,
        "note": model.note,
        "protocols": {
            protocol: [
                {"key": key, "id": source, "group": group, "default": source not in profile.more}
                for key, sources in sources_by_key(protocol, profile).items()
                for source, group in sources
            ]
            for protocol, profile in model.profiles.items()
        },
    }
