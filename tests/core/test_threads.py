"""Calls that hang."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kamstrup_mqtt.core.threads import MAX_STUCK, run_blocking


async def test_calls_that_hang_do_not_pile_up() -> None:
    assert MAX_STUCK == 4
    hang = threading.Event()
    try:
        for _ in range(4):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await run_blocking(hang.wait, "open /dev/dead")
        before = threading.active_count()
        with pytest.raises(TimeoutError, match="open /dev/dead: earlier calls still hang"):
            await run_blocking(hang.wait, "open /dev/dead")
        assert threading.active_count() == before
        assert await run_blocking(lambda: 7, "open /dev/alive") == 7
    finally:
        hang.set()
