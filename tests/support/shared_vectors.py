"""Recorded frames in ../shared/vectors, beside the repository: one test per vector.

The summary of a test run says how many of these tests ran and how many were skipped. Without the
folder, each test that needs it is reported as skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

FOLDER = Path(__file__).resolve().parents[2] / "../shared/vectors"

Vector = dict[str, Any]


def shared_vectors(
    file: str, keep: Callable[[Vector], bool] = lambda vector: True
) -> list[ParameterSet]:
    """Return the vectors of `file` for which `keep` is true, as parameters of a test.

    If the file is absent, this is one parameter that is skipped.
    """
    if not (FOLDER / file).exists():
        skip = pytest.mark.skip(reason=_absent(file))
        return [pytest.param({}, id="absent", marks=(pytest.mark.shared_vector, skip))]
    return [
        pytest.param(vector, id=vector["name"], marks=pytest.mark.shared_vector)
        for vector in _read(file)
        if keep(vector)
    ]


def require_vectors(file: str, keep: Callable[[Vector], bool]) -> list[Vector]:
    """Return the vectors of `file` for which `keep` is true. Skips the test if it is absent."""
    if not (FOLDER / file).exists():
        pytest.skip(_absent(file))
    return [vector for vector in _read(file) if keep(vector)]


def _read(file: str) -> list[Vector]:
    vectors: list[Vector] = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    return vectors


def _absent(file: str) -> str:
    return f"../shared/vectors/{file} is absent"
