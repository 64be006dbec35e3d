"""Every model against the bytes of its meter: `tests/vectors/<model>.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from kamstrup_mqtt.meters import registry
from tests.meters.checksums import IS_CORRECT
from tests.meters.vectors import FOLDER, SOURCES, Vector, exact, map_vector, readings, vectors_of
from tests.support import shared_vectors

MODELS = sorted(registry.all_models())
READINGS = readings()


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
    assert exact(map_vector(vector)) == exact(vector.values)


@pytest.mark.parametrize("vector", READINGS)
def test_checksums_of_a_reading(vector: Vector) -> None:
    assert vector.source in SOURCES
    assert vector.document
    for wire in vector.wires:
        assert IS_CORRECT[vector.protocol](wire), wire.hex(" ")


def test_a_reading_without_its_recording_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared_vectors, "FOLDER", tmp_path)
    (vector, *_) = vectors_of("multical_403")
    with pytest.raises(pytest.skip.Exception, match=r"kmp\.json is absent"):
        assert vector.wires
