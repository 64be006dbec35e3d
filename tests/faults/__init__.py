"""Faults against real parts. A few rounds each in `make test`; ROUNDS=200 in `make faults`."""

from __future__ import annotations

import os

import pytest

slow = pytest.mark.skipif("ROUNDS" not in os.environ, reason="slow: make check-slow, make faults")
"""Left out of `make test`."""


def rounds(few: int) -> int:
    """How often a fault is tried: `few`, unless the environment says ROUNDS."""
    return int(os.environ.get("ROUNDS", few))
