"""Runs calls that may block for ever in daemon threads.

Python waits at its exit for the threads of asyncio's default executor, so one hanging `open()` of a
broken USB device would keep the process alive. Nothing waits for a daemon thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_HANGING = 4
"""Calls of one name that may hang at once, so that endless retries do not leave endless threads."""

MAX_EXECUTOR_CALLS = 8
"""Calls that may run at once in the loop's default executor."""


async def run_blocking(
    call: Callable[[], T], name: str, *, on_abandoned: Callable[[T], object] | None = None
) -> T:
    """Return what `call` returns, run in a daemon thread called `name`.

    Cancelling leaves the thread behind. `on_abandoned` then gets the late result, in a thread, for
    example to close a port that was opened too late.

    Raises TimeoutError if MAX_HANGING threads of this name are alive, or what `call` raises.
    """
    outcome = _start(call, name, MAX_HANGING)
    try:
        return await asyncio.wrap_future(outcome)
    except asyncio.CancelledError:
        if on_abandoned is not None:
            outcome.add_done_callback(partial(_hand_over, on_abandoned, name))
        raise


def _hand_over(take: Callable[[T], object], name: str, outcome: Future[T]) -> None:
    if outcome.exception() is None:
        # The callback of a finished future runs in the loop's thread, which must not block
        threading.Thread(target=take, args=(outcome.result(),), name=name, daemon=True).start()


def _start(call: Callable[[], T], name: str, limit: int) -> Future[T]:
    """Start `call` in a daemon thread. Raises TimeoutError if `limit` of this name are alive."""
    if sum(thread.name == name for thread in threading.enumerate()) >= limit:
        raise TimeoutError(f"{name}: earlier calls still hang")
    outcome, run = _prepare(call)
    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome


def _prepare(call: Callable[[], T]) -> tuple[Future[T], Callable[[], None]]:
    """Return the outcome of `call`, which cannot be cancelled, and what a thread has to run."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - raised where the outcome is awaited
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    return outcome, run


class SerialWorker:
    """Runs blocking calls one at a time, in the order in which they were submitted.

    The daemon thread starts when there is a call to run and ends with the last one, so nothing has
    to be closed. A call that hangs delays those behind it, but not the exit of the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._is_running = False

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call and return its outcome, which cannot be cancelled."""
        outcome, run = _prepare(call)
        with self._lock:
            self._calls.append(run)
            if not self._is_running:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._is_running = True
        return outcome

    async def run(self, call: Callable[[], T]) -> T:
        """Queue a call and return what it returns, or raise what it raises."""
        return await asyncio.wrap_future(self.submit(call))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._is_running = False
                    return
                run = self._calls.popleft()
            run()


def use_daemon_threads(name: str) -> None:
    """Make the running loop's default executor start daemon threads called `name`.

    For libraries that make blocking calls in the default executor.
    """
    asyncio.get_running_loop().set_default_executor(_DaemonExecutor(name))


class _DaemonExecutor(ThreadPoolExecutor):
    """Starts a daemon thread for each call. The loop accepts only a ThreadPoolExecutor."""

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1)
        self._name = name

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call. Raises TimeoutError if MAX_EXECUTOR_CALLS others still run."""
        return _start(partial(fn, *args, **kwargs), self._name, MAX_EXECUTOR_CALLS)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: threads that hang end with the process."""
