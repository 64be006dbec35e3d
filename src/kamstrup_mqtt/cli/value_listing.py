"""Decoded values as `decode` and `read` print them, under their public keys."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kamstrup_mqtt.core.model import DecodedValue, Json, Measurement, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.meters.model import ProtocolProfile
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import ProtocolSpec

COLUMNS = ("id", "key", "value", "unit", "raw")


@dataclass(frozen=True, slots=True)
class ValueListing:
    """The values of one meter.

    objects     the values as the meter sends them
    readings    public key -> value in the unit of that key
    wrong_unit  public key -> why its value is not among the readings
    """

    spec: ProtocolSpec
    objects: tuple[DecodedValue, ...]
    readings: Mapping[str, Measurement]
    wrong_unit: Mapping[str, str]

    def as_json(self) -> dict[str, Json]:
        """`{"objects": [...], "readings": {key: value}}`."""
        return {
            "objects": [self._object_as_json(obj) for obj in self.objects],
            "readings": {key: measured.value for key, measured in self.readings.items()},
        }

    def _object_as_json(self, obj: DecodedValue) -> dict[str, Json]:
        return {
            "id": obj.id,
            "key": public_key(self.spec, obj.id),
            "raw": obj.raw,
            "value": obj.value,
            "unit": obj.unit,
        }

    def rows(self) -> list[tuple[object, ...]]:
        """The values as sent, as rows of a table with COLUMNS."""
        return [
            (obj.id, public_key(self.spec, obj.id), obj.value, obj.unit or "", obj.raw)
            for obj in self.objects
        ]

    def print_rejected(self) -> None:
        """Name on standard error the values that are not among the readings, and why."""
        for key, reason in self.wrong_unit.items():
            print(f"{key} is not among the readings: {reason}", file=sys.stderr)


def list_values(
    spec: ProtocolSpec, objects: Iterable[DecodedValue], profile: ProtocolProfile | None = None
) -> ValueListing:
    """List the values of a meter of this profile, or of any meter.

    The readings include derived values, and values that the profile does not list.
    """
    objects = tuple(objects)
    all_objects = objects
    if profile is not None:
        all_objects = Deriver(profile).derive(objects, {}).objects
    plan = ReadingPlan(
        protocol=spec.name,
        profile=profile or ProtocolProfile(groups={"values": ()}),
        values=(),
        periods={},
        accept_unlisted=True,
    )
    mapped = map_objects(plan, all_objects)
    readings = {
        key: measured
        for group in mapped.groups.values()
        for key, measured in group.items()
        if key not in mapped.wrong_unit
    }
    return ValueListing(spec, objects, readings, mapped.wrong_unit)


def public_key(spec: ProtocolSpec, source: SourceId) -> str:
    """The key of a source on any meter; register_<n> or obis_<code> if it has no name."""
    return registry.quantity_for(spec.name, None, source).key
