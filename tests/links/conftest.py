from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ptys import FakeDevice


@pytest.fixture
def device(tmp_path: Path) -> Iterator[FakeDevice]:
    fake = FakeDevice(tmp_path / "ttyMeter")
    yield fake
    fake.unplug()
