"""The stage for the tests of this directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scenario import Stage, staged


@pytest.fixture
async def stage(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Stage]:
    expected_logs += ["broker: ", "the bridge closed the connection"]
    async with staged(tmp_path, caplog) as found:
        yield found
