"""Runs tasks that must never end, and restarts them if they crash or hang.

This is the only restart policy. All other tasks run in the daemon's task group, where an exception
ends the process with its traceback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Protocol

from kamstrup_mqtt.core.heartbeat import GRACE, Heartbeat

CHECK_INTERVAL = 30.0
"""Maximum seconds between checks."""

_LOG = logging.getLogger(__name__)


class Supervised(Protocol):
    """A task that runs until cancelled and renews its heartbeat."""

    @property
    def heartbeat(self) -> Heartbeat: ...

    async def run(self) -> None:
        """Work until cancelled."""

    def on_crash(self, error: Exception) -> float:
        """Report the exception that ended `run`, and return the seconds until the next start."""

    def on_restart(self) -> None:
        """Called after a restart because of a missed heartbeat."""


class Supervisor:
    """Runs each supervised object in a task and watches all of them in one task.

    A separate watcher for each would take as much memory as what it watches. A task that misses its
    heartbeat is cancelled and restarted. If it does not end when cancelled, the supervisor's own
    `heartbeat` becomes late, and the watchdog ends the process.
    """

    def __init__(
        self,
        supervised: Collection[Supervised],
        monotonic: Callable[[], float],
        *,
        check: float = CHECK_INTERVAL,
    ) -> None:
        self.heartbeat = Heartbeat("supervisor of the readers", monotonic)
        self._supervised = supervised
        self._monotonic = monotonic
        self._check = check

    async def run(self) -> None:
        """Run until cancelled."""
        tasks = {self._start(work): work for work in self._supervised}
        stuck: set[asyncio.Task[None]] = set()  # cancelled but not ended yet
        try:
            while True:
                for task, work in list(tasks.items()):
                    if task.done():
                        del tasks[task]
                        tasks[self._restart(task, work, was_stuck=task in stuck)] = work
                        stuck.discard(task)
                    elif task not in stuck and work.heartbeat.is_late():
                        _cancel_stuck(task)
                        stuck.add(task)
                if not stuck:
                    self.heartbeat.expect_within(self._check)
                await self._wait(tasks, stuck)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def _start(self, work: Supervised, delay: float = 0.0) -> asyncio.Task[None]:
        work.heartbeat.expect_within(self._check + delay)
        return asyncio.create_task(_run_after(work, delay), name=work.heartbeat.name)

    def _restart(
        self, task: asyncio.Task[None], work: Supervised, *, was_stuck: bool
    ) -> asyncio.Task[None]:
        """Restart an ended task, after a delay if it crashed."""
        if was_stuck:
            if not task.cancelled():
                task.exception()  # ignored; this only marks it as retrieved
            work.on_restart()
            return self._start(work)
        error = task.exception()
        if error is None:
            raise RuntimeError(f"{task.get_name()} ended unexpectedly")
        if not isinstance(error, Exception):
            raise error
        return self._start(work, work.on_crash(error))

    async def _wait(
        self, tasks: dict[asyncio.Task[None], Supervised], stuck: set[asyncio.Task[None]]
    ) -> None:
        """Wait until a task ends or is late, at most for the supervisor's own heartbeat."""
        due = (work.heartbeat.next_due for task, work in tasks.items() if task not in stuck)
        late = min(due, default=self._monotonic()) + GRACE - self._monotonic()
        await asyncio.wait(
            tasks,
            timeout=min(max(late, 0.0) + 0.1, self._check),
            return_when=asyncio.FIRST_COMPLETED,
        )


async def _run_after(work: Supervised, delay: float) -> None:
    if delay:
        await asyncio.sleep(delay)
    await work.run()


def _cancel_stuck(task: asyncio.Task[None]) -> None:
    _LOG.error(
        "%s was stuck and is restarted; please report it with the log before this line",
        task.get_name(),
    )
    task.cancel()
