"""Recorded frames that lie beside the repository, where they do: one test a vector.

They are counted: the test run says how many of them passed, none included.
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
    """The vectors of `file` that `keep` keeps, as parameters; none where the folder is not."""
    path = FOLDER / file
    if not path.exists():
        return []
    return [
        pytest.param(vector, id=vector["name"], marks=pytest.mark.shared_vector)
        for vector in json.loads(path.read_text(encoding="utf-8"))
        if keep(vector)
    ]
