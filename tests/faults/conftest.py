"""The scenario for the tests of this directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scenario import Scenario, running_scenario


@pytest.fixture
async def scenario(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Scenario]:
    expected_logs += ["broker: ", "the bridge closed the connection"]
    async with running_scenario(tmp_path, caplog) as found:
        yield found
