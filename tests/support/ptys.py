"""A serial port made of a pty; the test has the end of the meter."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable
from pathlib import Path

POLL_INTERVAL = 0.005
"""Seconds between checks of a condition."""


class FakeDevice:
    """A pty with a stable name. `unplug` hangs it up, `plug` makes a new one of that name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meter_end = self.program_end = -1
        self.plug()

    def plug(self) -> None:
        self.meter_end, self.program_end = os.openpty()
        tty.setraw(self.program_end)
        os.set_blocking(self.meter_end, False)
        self.path.symlink_to(os.ttyname(self.program_end))

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)
        for fd in (self.meter_end, self.program_end):
            if fd >= 0:
                os.close(fd)
        self.meter_end = self.program_end = -1

    def send(self, data: bytes) -> None:
        """Send bytes as the meter."""
        os.write(self.meter_end, data)

    async def receive(self, count: int) -> bytes:
        """Return `count` bytes that the program sent."""
        loop = asyncio.get_running_loop()
        got = b""
        while len(got) < count:
            ready = asyncio.Event()
            loop.add_reader(self.meter_end, ready.set)
            try:
                async with asyncio.timeout(20):
                    await ready.wait()
            finally:
                loop.remove_reader(self.meter_end)
            got += os.read(self.meter_end, count - len(got))
        return got


async def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait until `condition` is true. Raises TimeoutError."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(POLL_INTERVAL)
