"""Watches the tasks that must never end, and starts anew the one that is stuck."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Protocol

from kamstrup_mqtt.core.heartbeat import GRACE, Heartbeat

CHECK_INTERVAL = 30.0
"""Seconds from one look to the next, at most."""

_LOG = logging.getLogger(__name__)


class Supervised(Protocol):
    """What is run for ever, and keeps its deadline."""

    @property
    def heartbeat(self) -> Heartbeat: ...

    async def run(self) -> None:
        """Work until cancelled."""

    def on_restart(self) -> None:
        """It was stuck, and is run once more from now on."""


class Supervisor:
    """Runs each work in a task, and looks after all of them in one: another task for each would
    take as much memory as its work does.

    Work that is late is cancelled and started anew. Work that does not even end when it is
    cancelled makes our own `heartbeat` late, and so the watchdog ends the process. An exception of
    a work is a programming error and is passed on.
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
        stuck: set[asyncio.Task[None]] = set()  # cancelled, and not ended yet
        try:
            while True:
                for task, work in list(tasks.items()):
                    if task.done():
                        del tasks[task]
                        _raise_if_ended(task, stuck)
                        work.on_restart()
                        tasks[self._start(work)] = work
                    elif task not in stuck and work.heartbeat.is_late():
                        _cancel_stuck(task)
                        stuck.add(task)
                if not stuck:
                    self.heartbeat.expect_within(self._check)
                await self._until_due(tasks, stuck)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def _start(self, work: Supervised) -> asyncio.Task[None]:
        work.heartbeat.expect_within(self._check)
        return asyncio.create_task(work.run(), name=work.heartbeat.name)

    async def _until_due(
        self, tasks: dict[asyncio.Task[None], Supervised], stuck: set[asyncio.Task[None]]
    ) -> None:
        """Until one ends or would become late, but not longer than we may promise."""
        due = (work.heartbeat.next_due for task, work in tasks.items() if task not in stuck)
        late = min(due, default=self._monotonic()) + GRACE - self._monotonic()
        await asyncio.wait(
            tasks,
            timeout=min(max(late, 0.0) + 0.1, self._check),
            return_when=asyncio.FIRST_COMPLETED,
        )


def _cancel_stuck(task: asyncio.Task[None]) -> None:
    _LOG.error(
        "%s was stuck and is started anew; please report it with the log before this line",
        task.get_name(),
    )
    task.cancel()


def _raise_if_ended(task: asyncio.Task[None], stuck: set[asyncio.Task[None]]) -> None:
    """Raises what ended a task that was not cancelled."""
    if task not in stuck:
        task.result()
        raise RuntimeError(f"{task.get_name()} ended, which it must not")
    stuck.discard(task)
