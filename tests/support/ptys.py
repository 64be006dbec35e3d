"""A serial port made of a pty: the test holds the end where the meter would be."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable
from pathlib import Path


class FakeDevice:
    """A pty under a stable name. `unplug` hangs it up, `plug` brings a new one under that name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.near = self.far = -1
        self.plug()

    def plug(self) -> None:
        self.near, self.far = os.openpty()
        tty.setraw(self.far)
        os.set_blocking(self.near, False)
        self.path.symlink_to(os.ttyname(self.far))

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)
        for fd in (self.near, self.far):
            if fd >= 0:
                os.close(fd)
        self.near = self.far = -1

    def send(self, data: bytes) -> None:
        """As the meter."""
        os.write(self.near, data)

    async def receive(self, count: int) -> bytes:
        """What the program sent, `count` bytes of it."""
        loop = asyncio.get_running_loop()
        got = b""
        while len(got) < count:
            ready = asyncio.Event()
            loop.add_reader(self.near, ready.set)
            try:
                async with asyncio.timeout(20):
                    await ready.wait()
            finally:
                loop.remove_reader(self.near)
            got += os.read(self.near, count - len(got))
        return got


async def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait for something that another task brings about."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - it may be anything
            await asyncio.sleep(0.005)
