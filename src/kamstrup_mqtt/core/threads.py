"""Run calls that may block forever in daemonic threads.

The loop's default executor is not suitable: Python joins its threads at exit, so one stuck
`open()` of a broken USB device would prevent the exit.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_STUCK = 4
"""Calls of one name that may hang at once; who tries for ever must not leave threads for ever."""


async def run_blocking(
    call: Callable[[], T], name: str, *, abandoned: Callable[[T], object] | None = None
) -> T:
    """What `call` returns or raises. Cancelling leaves the thread behind; TimeoutError when
    MAX_STUCK of the same `name` were left behind and still hang.

    `abandoned` gets a result that came when nobody waited for it any more (to close a port that
    was opened too late); it runs in the thread.
    """
    if sum(thread.name == name for thread in threading.enumerate()) >= MAX_STUCK:
        raise TimeoutError(f"{name}: earlier calls still hang")
    running = _Running(call, abandoned)
    threading.Thread(target=running.work, name=name, daemon=True).start()
    try:
        return await running.future
    except asyncio.CancelledError:
        late = running.came_with_the_cancelling()
        if late is not None:
            threading.Thread(target=late, name=name, daemon=True).start()
        raise


class _Running(Generic[T]):
    """One call in its thread, and who waits for it in the loop."""

    def __init__(self, call: Callable[[], T], abandoned: Callable[[T], object] | None) -> None:
        self._call = call
        self._abandoned = abandoned
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self._taken = threading.Event()
        self._delivered = threading.Event()

    def work(self) -> None:
        """In the thread."""
        try:
            result = self._call()
        except BaseException as error:  # noqa: BLE001 - not swallowed: raised where it is awaited
            self._hand_over(partial(self.future.set_exception, error))
            return
        handed_over = self._hand_over(partial(self.future.set_result, result))
        if self._abandoned is not None and handed_over:
            # a loop that stops before it delivers is the end of the process, which closes all
            self._delivered.wait()
            if not self._taken.is_set():
                self._abandoned(result)

    def _hand_over(self, settle: Callable[[], None]) -> bool:
        """Have the loop do it; False when it is closed: the program ends."""
        try:
            self._loop.call_soon_threadsafe(self._deliver, settle)
        except RuntimeError:
            return False
        return True

    def _deliver(self, settle: Callable[[], None]) -> None:
        if not self.future.cancelled():
            self._taken.set()
            settle()
        self._delivered.set()

    def came_with_the_cancelling(self) -> Callable[[], object] | None:
        """What to do with a result that came in the same turn of the loop as the cancelling."""
        if self._abandoned is None or not self.future.done() or self.future.cancelled():
            return None
        if self.future.exception() is not None:
            return None
        return partial(self._abandoned, self.future.result())


class SerialWorker:
    """Runs blocking calls one at a time, in the order in which they were submitted.

    The thread starts when there is a call to run and ends with the last one, so that nothing has
    to be closed. A call that hangs delays those behind it, but not the exit of the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._is_running = False

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call. Cancelling the returned future has no effect: the call runs anyway."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()

        def job() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            self._jobs.append(job)
            if not self._is_running:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._is_running = True
        return future

    async def run(self, call: Callable[[], T]) -> T:
        """Queue a call and return what it returns, or raise what it raises."""
        return await asyncio.wrap_future(self.submit(call))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._is_running = False
                    return
                job = self._jobs.popleft()
            job()
