"""Watches one task that must never end, and starts it anew when it is stuck."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from kamstrup_mqtt.liveness import GRACE, Deadline

CHECK_INTERVAL = 30.0
"""Seconds from one look to the next, at most."""

_LOG = logging.getLogger(__name__)


class Supervisor:
    """Runs `work` for ever. `watched` is the deadline that the work keeps, `deadline` our own.

    Work that is late is cancelled and started anew. Work that does not even end when it is
    cancelled makes us late, and so the watchdog ends the process. An exception of the work is a
    programming error and is passed on.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        watched: Deadline,
        monotonic: Callable[[], float],
        *,
        restarted: Callable[[], None] = lambda: None,
        check: float = CHECK_INTERVAL,
    ) -> None:
        self.name = name
        self.deadline = Deadline(f"supervisor of {name}", monotonic)
        self._work = work
        self._watched = watched
        self._restarted = restarted
        self._check = check
        self._monotonic = monotonic

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self._watched.within(self._check)
            task = asyncio.create_task(self._work(), name=self.name)
            try:
                await self._watch(task)
            finally:
                task.cancel()
                await asyncio.wait([task])
            _LOG.error(
                "%s was stuck and is started anew; please report it with the log before this line",
                self.name,
            )
            self._restarted()

    async def _watch(self, task: asyncio.Task[None]) -> None:
        """Return when the task is stuck; it has not ended then."""
        while True:
            # when it would become late, but not much later than it may promise less
            late = self._watched.next_due + GRACE - self._monotonic()
            self.deadline.within(self._check)
            await asyncio.wait([task], timeout=min(max(late, 0.0) + 0.1, self._check))
            if task.done():
                task.result()
                raise RuntimeError(f"{self.name} ended, which it must not")
            if self._watched.late():
                return
