"""Runs a call that may block without end in a daemonic thread of its own.

The loop's default executor is no place for it: Python waits for its threads at the end, so one
stuck `open()` of a broken USB device would hold the exit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
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
    running = _BlockingCall(call, abandoned)
    threading.Thread(target=running.work, name=name, daemon=True).start()
    try:
        return await running.future
    except asyncio.CancelledError:
        late = running.cleanup_after_cancel()
        if late is not None:
            threading.Thread(target=late, name=name, daemon=True).start()
        raise


class _BlockingCall(Generic[T]):
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
            self._deliver_in_loop(partial(self.future.set_exception, error))
            return
        handed_over = self._deliver_in_loop(partial(self.future.set_result, result))
        if self._abandoned is not None and handed_over:
            # a loop that stops before it delivers is the end of the process, which closes all
            self._delivered.wait()
            if not self._taken.is_set():
                self._abandoned(result)

    def _deliver_in_loop(self, resolve: Callable[[], None]) -> bool:
        """Have the loop do it; False when it is closed: the program ends."""
        try:
            self._loop.call_soon_threadsafe(self._deliver, resolve)
        except RuntimeError:
            return False
        return True

    def _deliver(self, resolve: Callable[[], None]) -> None:
        if not self.future.cancelled():
            self._taken.set()
            resolve()
        self._delivered.set()

    def cleanup_after_cancel(self) -> Callable[[], object] | None:
        """What to do with a result that came in the same turn of the loop as the cancelling."""
        if self._abandoned is None or not self.future.done() or self.future.cancelled():
            return None
        if self.future.exception() is not None:
            return None
        return partial(self._abandoned, self.future.result())
