"""Faults of real components. `make test` runs a few rounds of each, `make faults` 200."""

from __future__ import annotations

import os

import pytest

slow = pytest.mark.skipif(
    "ROUNDS" not in os.environ, reason="slow; run by make check-slow and make faults"
)
"""Skipped in `make test`."""


def rounds(few: int) -> int:
    """Return the number of rounds: `few`, or ROUNDS in the environment."""
    return int(os.environ.get("ROUNDS", few))
