"""The loop as aiomqtt sees it: it watches no descriptor that has become another's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any


class CarefulLoop:
    """The loop as aiomqtt sees it. aiomqtt has it watch a descriptor a moment later, when the
    socket may be closed and its number that of a meter's line."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # what is asked for with each message, without the way over `__getattr__`
        self.time, self.call_soon, self.call_at = loop.time, loop.call_soon, loop.call_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        if callback not in (self._loop.add_reader, self._loop.add_writer):
            return self._loop.call_soon_threadsafe(callback, *args)
        asked = _identity(args[0])

        def watch() -> None:
            if asked is not None and _identity(args[0]) == asked:
                callback(*args)

        return self._loop.call_soon_threadsafe(watch)


def _identity(descriptor: int) -> int | None:
    """Tells one socket from another that has its number; None: it is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None
