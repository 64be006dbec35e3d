"""Blocking calls of the MQTT library, where a stuck one cannot hold the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

NAME = "blocking call to the broker"
MAX_STUCK = 8
"""Calls that may hang at once; who tries for ever must not leave threads for ever."""


class DaemonThreads(ThreadPoolExecutor):
    """An executor with a daemonic thread for each call; nobody waits for them at the end.

    It is a ThreadPoolExecutor in name only, because the loop accepts nothing else.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call; it fails with TimeoutError while MAX_STUCK others hang."""
        future: Future[T] = Future()
        if sum(thread.name == NAME for thread in threading.enumerate()) >= MAX_STUCK:
            future.set_exception(TimeoutError("earlier attempts still hang"))
            return future

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001  # carried over to the waiting task
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=call, name=NAME, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to wait for: a stuck name resolution ends with the process."""


def use_daemon_threads() -> None:
    """Make the running loop's default executor one that cannot hold the exit.

    aiomqtt connects, name resolution included, in the default executor.
    """
    asyncio.get_running_loop().set_default_executor(DaemonThreads(max_workers=1))
