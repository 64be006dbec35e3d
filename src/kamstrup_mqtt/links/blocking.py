"""Runs a call that may block without end in a daemonic thread of its own.

The loop's default executor is no place for it: Python waits for its threads at the end, so one
stuck `open()` of a broken USB device would hold the exit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

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
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    taken = threading.Event()

    def hand_over(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        taken.set()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # error None: there is a result

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - not swallowed: raised where it is awaited
            error = raised
        delivered = threading.Event()

        def deliver() -> None:
            hand_over(result, error)
            delivered.set()

        try:
            loop.call_soon_threadsafe(deliver)
        except RuntimeError:  # the loop is closed: the program ends
            return
        if abandoned is not None and error is None:
            # a loop that stops before it delivers is the end of the process, which closes all
            delivered.wait()
            if not taken.is_set():
                abandoned(result)  # type: ignore[arg-type]

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        if abandoned is not None and future.done() and not future.cancelled():
            late = future.result()  # came in the same turn of the loop as the cancelling
            threading.Thread(target=abandoned, args=(late,), name=name, daemon=True).start()
        raise
