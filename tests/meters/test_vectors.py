"""Every model against the bytes of its meter: `tests/vectors/<model>.yaml`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kamstrup_mqtt.core.model import Measured
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.meters.plan import Plan, PlannedValue, default_values, sort_objects
from tests.meters import vectors
from tests.meters.checksums import IS_CORRECT
from tests.meters.vectors import FOLDER, SOURCES, Vector, objects_of, readings, vectors_of

MODELS = sorted(registry.all_models())
READINGS = readings()


def plan_of(vector: Vector) -> Plan:
    """The plan of a meter that is configured with its model alone, and `registers`."""
    spec = registry.protocol(vector.protocol)
    dialect = registry.all_models()[vector.model].dialects[vector.protocol]
    values = default_values(vector.protocol, dialect)
    values += tuple(
        PlannedValue(source, registry.quantity(vector.protocol, dialect, source), "values")
        for source in vector.registers
    )
    comes_whole = spec.pushed or vector.protocol == "iec62056-21"
    plan = Plan(protocol=vector.protocol, dialect=dialect, values=values, periods={})
    return replace(plan, open=comes_whole)


def exact(values: dict[str, Measured]) -> dict[str, tuple[type, str, str | None]]:
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
    assert spoken == set(registry.all_models()[model].dialects)


def test_every_file_belongs_to_a_model() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == MODELS


@pytest.mark.parametrize("vector", READINGS)
def test_values_of_a_reading(vector: Vector) -> None:
    plan = plan_of(vector)
    derived = Deriver(plan.dialect).derive(objects_of(vector), {})
    found = sort_objects(plan, derived.objects)
    assert dict(found.foreign) == {}
    values: dict[str, Measured] = {}
    for group in found.groups.values():
        assert not values.keys() & group.keys()
        values |= group
    units = {key: plan.quantity(key).unit for key in values}
    assert exact(values) == exact(
        {
            key: Measured(None, units.get(key)) if measured.value is None else measured
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
