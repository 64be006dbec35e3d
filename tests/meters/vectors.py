"""Reads `tests/vectors/<model>.yaml`: what a meter sent, and the values typed from its source.

A file is a list of readings:

    protocol   as in the configuration
    source     captured: a recording of a meter; built: written from the named document
    document   where the bytes and values come from
    frames     either `hex`, or `shared` and `name`: an entry of ../shared/vectors, whose bytes are
               not copied; `end` is hex that the entry leaves out
    options    of the codec
    registers  sources that the configuration lists beside the model's defaults
    numbers    key -> number and unit
    texts      key -> text
    missing    keys that are published without a value
    detected   the model that detection makes of these bytes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from _pytest.mark import ParameterSet

from kamstrup_mqtt.core.model import DecodedValue, Measurement
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan, default_values
from kamstrup_mqtt.protocols.base import Frame
from tests.support.framing import events_of
from tests.support.han_recordings import hdlc
from tests.support.shared_vectors import require_vectors

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
SOURCES = ("captured", "built")
_KEYS = {
    *("protocol", "source", "document", "frames", "options", "registers"),
    *("numbers", "texts", "missing", "detected"),
}


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One reading of one model."""

    model: str
    protocol: str
    source: str
    document: str
    frames: tuple[dict[str, str], ...]
    options: dict[str, Any] = field(default_factory=dict)
    registers: tuple[int, ...] = ()
    values: dict[str, Measurement]
    detected: str | None = None

    @property
    def is_shared(self) -> bool:
        """Whether a recording beside the repository is needed."""
        return any("shared" in frame for frame in self.frames)

    @property
    def wires(self) -> list[bytes]:
        """The bytes of each frame. Skips the test where the shared recordings are missing."""
        return [_wire(frame) for frame in self.frames]


def vectors_of(model: str) -> list[Vector]:
    """The readings of one model. Raises FileNotFoundError when it has no file."""
    return read_vectors(model, (FOLDER / f"{model}.yaml").read_text(encoding="utf-8"))


def read_vectors(model: str, text: str) -> list[Vector]:
    """The readings in the text of a file."""
    entries: list[dict[str, Any]] = yaml.load(text, Loader=yaml.BaseLoader)
    return [_vector(model, entry) for entry in entries]


def readings(keep: Callable[[Vector], bool] = lambda vector: True) -> list[ParameterSet]:
    """The readings of all models that `keep` keeps, as parameters of a test."""
    return [
        pytest.param(
            vector,
            id=f"{model}-{number}-{vector.protocol}-{vector.source}",
            marks=[pytest.mark.shared_vector] if vector.is_shared else [],
        )
        for model in sorted(path.stem for path in FOLDER.glob("*.yaml"))
        for number, vector in enumerate(vectors_of(model), 1)
        if keep(vector)
    ]


def objects_of(vector: Vector) -> list[DecodedValue]:
    """Every object of the frames, in the order sent."""
    codec = registry.find_protocol(vector.protocol).make_codec(**vector.options)
    objects: list[DecodedValue] = []
    for wire in vector.wires:
        events = events_of(codec.framer(), [wire])
        frames = [event for event in events if isinstance(event, Frame)]
        assert frames, f"no frame in {wire.hex(' ')}: {events}"
        objects += [obj for frame in frames for obj in codec.decode(frame).objects]
    return objects


def plan_of(vector: Vector) -> ReadingPlan:
    """The plan of a meter that is configured with its model alone, and `registers`."""
    spec = registry.find_protocol(vector.protocol)
    profile = registry.all_models()[vector.model].profiles[vector.protocol]
    values = default_values(vector.protocol, profile)
    values += tuple(
        PlannedValue(source, registry.quantity_for(vector.protocol, profile, source), "values")
        for source in vector.registers
    )
    comes_whole = spec.is_pushed or vector.protocol == "iec62056-21"
    plan = ReadingPlan(protocol=vector.protocol, profile=profile, values=values, periods={})
    return replace(plan, accept_unlisted=comes_whole)


def map_vector(vector: Vector) -> dict[str, Measurement]:
    """The values that are published of the frames, derived ones included."""
    plan = plan_of(vector)
    derived = Deriver(plan.profile).derive(objects_of(vector), {})
    found = map_objects(plan, derived.objects)
    assert dict(found.wrong_unit) == {}
    values: dict[str, Measurement] = {}
    for group in found.groups.values():
        assert not values.keys() & group.keys(), "a key is published in two groups"
        values |= group
    return values


def exact(values: dict[str, Measurement]) -> dict[str, tuple[type, str, str | None]]:
    """The values by type, with every digit (0.0 is not 0), and unit; a missing one without."""
    return {
        key: (type(found.value), str(found.value), found.unit if found.value is not None else None)
        for key, found in values.items()
    }


def _vector(model: str, entry: dict[str, Any]) -> Vector:
    unknown = entry.keys() - _KEYS
    assert not unknown, f"{model}: unknown keys {unknown}"
    values = {key: _number(text) for key, text in entry.get("numbers", {}).items()}
    values |= {key: Measurement(text) for key, text in entry.get("texts", {}).items()}
    values |= {key: Measurement(None) for key in entry.get("missing", ())}
    return Vector(
        model=model,
        protocol=entry["protocol"],
        source=entry["source"],
        document=entry["document"],
        frames=tuple(entry["frames"]),
        options={name: int(value) for name, value in entry.get("options", {}).items()},
        registers=tuple(map(int, entry.get("registers", ()))),
        values=values,
        detected=entry.get("detected"),
    )


def _number(text: str) -> Measurement:
    number, _, unit = text.partition(" ")
    return Measurement(Decimal(number), unit or None)


def _wire(frame: dict[str, str]) -> bytes:
    if "hex" in frame:
        return bytes.fromhex(frame["hex"])
    entry = _shared(frame["shared"], frame["name"])
    wire = bytes.fromhex(entry.get("hex_stuffed_by_us") or entry["hex"])
    if entry.get("kind") == "llc":
        wire = hdlc(wire)
    return wire + bytes.fromhex(frame.get("end", ""))


def _shared(file: str, name: str) -> dict[str, Any]:
    (entry,) = require_vectors(file, lambda vector: bool(vector["name"] == name))
    return entry
