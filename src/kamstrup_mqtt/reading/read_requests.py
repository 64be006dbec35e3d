"""Read commands of the user for one polled meter."""

from __future__ import annotations

import asyncio

from kamstrup_mqtt.reading.context import ReaderContext


class ReadRequests:
    """Accepts a read command unless it comes too soon after the last one."""

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._event = asyncio.Event()
        self._last: float | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a command was accepted and not carried out yet."""
        return self._event.is_set()

    def add(self) -> str | None:
        """Accept a command and return None, or return the reason why it is refused."""
        context = self._context
        timeouts, now = context.timeouts, context.clock.monotonic()
        pause = timeouts.read_battery if context.config.battery else timeouts.read_mains
        if self._last is not None and (left := self._last + pause - now) > 0:
            return f"read on command at most once in {pause:g} s; again in {left:.0f} s"
        self._last = now
        self._event.set()
        return None

    def take(self) -> bool:
        """Return whether a command is pending; none is afterwards."""
        pending = self._event.is_set()
        self._event.clear()
        return pending

    async def wait(self) -> None:
        """Wait for a command."""
        await self._event.wait()
