"""What was read, as `decode` and `read` write it: objects as sent, and readings by public key."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import DecodedValue, Json, Measurement, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.meters.model import ProtocolProfile
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import DropReason, ProtocolSpec

ASSUMED_ENERGY_SCALE = 10
"""Wh per count of a HAN energy register (Norway), where --energy-scale does not say."""

ADVICE: Mapping[DropReason, str] = {
    DropReason.PARITY: "the meter sends 8N1 and is read as 8E1: use --parity N (`parity: none`)",
    DropReason.M_BUS: "M-Bus telegrams (68 .. 68), as Austrian and Polish meters send them: no HAN"
    " port that is read here",
    DropReason.P1: "a P1 telegram: this is a P1 port (DSMR), not a HAN port",
}
"""What to say to people about drops whose reason tells more than that a byte was wrong."""

_COLUMNS = ("id", "key", "value", "unit", "raw")


@dataclass(frozen=True, slots=True)
class ObjectListing:
    """Objects under their keys. `wrong_unit`: key -> why its value is held back."""

    spec: ProtocolSpec
    objects: tuple[DecodedValue, ...]
    readings: Mapping[str, Measurement]
    wrong_unit: Mapping[str, str]

    def as_json(self) -> dict[str, Json]:
        """`{"objects": [...], "readings": {key: value}}`."""
        return {
            "objects": [self._object(obj) for obj in self.objects],
            "readings": {key: measured.value for key, measured in self.readings.items()},
        }

    def _object(self, obj: DecodedValue) -> dict[str, Json]:
        return {
            "id": obj.id,
            "key": key_of(self.spec, obj.id),
            "raw": obj.raw,
            "value": obj.value,
            "unit": obj.unit,
        }

    @property
    def columns(self) -> tuple[str, ...]:
        return _COLUMNS

    def rows(self) -> list[tuple[object, ...]]:
        """The objects for a table, values as sent."""
        return [
            (obj.id, key_of(self.spec, obj.id), obj.value, obj.unit or "", obj.raw)
            for obj in self.objects
        ]

    def warn(self) -> None:
        """Name on standard error the readings that are held back, and why."""
        for key, reason in self.wrong_unit.items():
            print(f"{key} is not among the readings: {reason}", file=sys.stderr)


def list_objects(
    spec: ProtocolSpec, objects: Iterable[DecodedValue], profile: ProtocolProfile | None = None
) -> ObjectListing:
    """The objects of one meter that speaks `profile` (None: any meter), everything included."""
    objects = tuple(objects)
    made = objects if profile is None else Deriver(profile).derive(objects, {}).objects
    plan = ReadingPlan(
        protocol=spec.name,
        profile=profile or ProtocolProfile(groups={"values": ()}),
        values=(),
        periods={},
        accept_unlisted=True,
    )
    result = map_objects(plan, made)
    readings = {
        key: measured
        for group in result.groups.values()
        for key, measured in group.items()
        if key not in result.wrong_unit
    }
    return ObjectListing(spec, objects, readings, result.wrong_unit)


def key_of(spec: ProtocolSpec, source: SourceId) -> str:
    """The public key of `source` on any meter: register_<n> or obis_<code> where it has no name."""
    return registry.key_of(spec.name, source) or spec.fallback_key(source)


def find_protocol(name: str) -> ProtocolSpec:
    """The protocol that the user named. Raises ConfigError with those that there are."""
    protocols = registry.all_protocols()
    if name not in protocols:
        raise ConfigError(f"--protocol {name}: unknown; choose from {', '.join(protocols)}")
    return protocols[name]


def add_protocol_arguments(parser: argparse.ArgumentParser) -> None:
    """`--protocol` and `--energy-scale`, alike in `decode` and `read`."""
    parser.add_argument(
        "--protocol",
        required=True,
        metavar="PROTOCOL",
        help="kmp, kmp-ascii, iec62056-21 or han",
    )
    parser.add_argument(
        "--energy-scale",
        type=int,
        choices=(10, 1),
        help="HAN: Wh per count of the energy registers (default: 10, Norway, shown as assumed;"
        " compare with the meter's display)",
    )


KEY_VARIABLES = {
    "encryption_key": "KAMSTRUP_MQTT_ENCRYPTION_KEY",
    "authentication_key": "KAMSTRUP_MQTT_AUTHENTICATION_KEY",
}
"""Option of the codec -> the environment variable that holds the key in hex."""


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """`--encryption-key-file` and `--authentication-key-file`. A key is not given on the command
    line, where every user of the machine could see it."""
    for name, called in (("encryption", "GPK60"), ("authentication", "GPK61")):
        parser.add_argument(
            f"--{name}-key-file",
            metavar="FILE",
            help=f"HAN: the file with the {name} key ({called}), 32 hex digits; default: the"
            f" environment variable {KEY_VARIABLES[f'{name}_key']}",
        )


def key_options(
    spec: ProtocolSpec, args: argparse.Namespace, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The codec's options for encrypted lists. Raises ConfigError for what is no key."""
    if spec.name != "han":
        return {}
    found = {}
    for option, variable in KEY_VARIABLES.items():
        file = getattr(args, f"{option}_file")
        where = f"--{option.replace('_', '-')}-file {file}" if file else variable
        try:
            text = Path(file).read_text(encoding="ascii") if file else environ.get(variable)
            found[option] = None if text is None else bytes.fromhex(text.strip())
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}") from error
        except ValueError as error:  # what is not hex is no ASCII either, perhaps
            raise ConfigError(f"{where}: must hold 32 hex digits") from error
    return found


def energy_options(spec: ProtocolSpec, scale: int | None) -> dict[str, int]:
    """The codec's option for --energy-scale. Raises ConfigError where it means nothing."""
    if spec.name == "han":
        return {"energy_scale": ASSUMED_ENERGY_SCALE if scale is None else scale}
    if scale is not None:
        raise ConfigError(f"--energy-scale is for --protocol han; {spec.name} sends its units")
    return {}
