"""Every model against the bytes of its meter: `tests/vectors/<model>.yaml`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kamstrup_mqtt.core.model import Measurement
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan, default_values
from tests.meters import vectors
from tests.meters.checksums import IS_CORRECT
from tests.meters.vectors import FOLDER, SOURCES, Vector, objects_of, readings, vectors_of

MODELS = sorted(registry.all_models())
READINGS = readings()


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


def exact(values: dict[str, Measurement]) -> dict[str, tuple[type, str, str | None]]:
    """The values by type, with every digit (0.0 is not 0), and unit."""
    return {
        key: (type(measured.value), str(measured.value), measured.unit)
        for key, measured in values.items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_recorded_bytes_for_each_of_its_protocols(model: str) -> None:
    path = FOLDER / f"{model}.yaml"
    assert path.exists(), f"{model} has no recorded bytes: write tests/vectors/{model}.yaml"
    spoken = {vector.protocol for vector in vectors_of(model)}
    assert spoken == set(registry.all_models()[model].profiles)


def test_every_file_belongs_to_a_model() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == MODELS


@pytest.mark.parametrize("vector", READINGS)
def test_values_of_a_reading(vector: Vector) -> None:
    plan = plan_of(vector)
    derived = Deriver(plan.profile).derive(objects_of(vector), {})
    found = map_objects(plan, derived.objects)
    assert dict(found.wrong_unit) == {}
    values: dict[str, Measurement] = {}
    for group in found.groups.values():
        assert not values.keys() & group.keys()
        values |= group
    units = {key: plan.quantity(key).unit for key in values}
    assert exact(values) == exact(
        {
            key: Measurement(None, units.get(key)) if measured.value is None else measured
            for key, measured in vector.values.items()
        }
    )


@pytest.mark.parametrize("vector", READINGS)
def test_checksums_of_a_reading(vector: Vector) -> None:
    assert vector.source in SOURCES
    assert vector.document
    for wire in vector.wires:
        assert IS_CORRECT[vector.protocol](wire), wire.hex(" ")


def test_a_reading_without_its_recording_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vectors, "SHARED", tmp_path)
    (vector, *_) = vectors_of("multical_403")
    with pytest.raises(pytest.skip.Exception, match=r"kmp\.json is not here"):
        assert vector.wires
