"""Blocking calls in daemon threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kamstrup_mqtt.core.threads import (
    MAX_EXECUTOR_CALLS,
    MAX_HANGING,
    SerialWorker,
    run_blocking,
    use_daemon_threads,
)
from tests.support.broker import eventually


async def test_result_and_exception_are_passed_on() -> None:
    assert await run_blocking(lambda: threading.current_thread().daemon, "call")
    with pytest.raises(ZeroDivisionError):
        await run_blocking(lambda: 1 // 0, "call")


async def test_hanging_calls_of_one_name_are_limited() -> None:
    assert MAX_HANGING == 4
    hang = threading.Event()
    try:
        for _ in range(4):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await run_blocking(hang.wait, "open /dev/dead")
        before = threading.active_count()
        with pytest.raises(TimeoutError, match="open /dev/dead: earlier calls still hang"):
            await run_blocking(hang.wait, "open /dev/dead")
        assert threading.active_count() == before
        assert await run_blocking(lambda: 7, "open /dev/alive") == 7
    finally:
        hang.set()


async def test_a_late_result_is_handed_over_in_a_thread() -> None:
    hang, taken = threading.Event(), threading.Event()
    results: list[tuple[object, bool]] = []

    def take(result: object) -> None:
        results.append((result, threading.current_thread() is threading.main_thread()))
        taken.set()

    def call() -> int:
        hang.wait()
        return 7

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await run_blocking(call, "call", on_abandoned=take)
    assert not results
    hang.set()
    assert taken.wait(10)
    assert results == [(7, False)]


async def test_a_result_that_arrives_together_with_the_cancellation_is_handed_over() -> None:
    returned, taken = threading.Event(), threading.Event()

    def call() -> int:
        returned.set()
        return 7

    task = asyncio.create_task(
        run_blocking(call, "together", on_abandoned=lambda result: taken.set())
    )
    await asyncio.sleep(0)
    assert returned.wait(10)
    while any(thread.name == "together" for thread in threading.enumerate()):
        pass  # the loop must not run in between
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taken.wait(10)


async def test_a_late_exception_is_dropped() -> None:
    hang = threading.Event()

    def call() -> None:
        hang.wait()
        raise OSError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await run_blocking(call, "late", on_abandoned=lambda _: pytest.fail("no result"))
    hang.set()
    await eventually(
        lambda: all(thread.name != "late" for thread in threading.enumerate()), "the call ends"
    )


async def test_the_default_executor_does_not_wait_for_a_hanging_call() -> None:
    use_daemon_threads("library")
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, lambda: threading.current_thread().daemon)
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, lambda: 1 // 0)
    hang = threading.Event()
    waiting = loop.run_in_executor(None, hang.wait)
    try:
        async with asyncio.timeout(20):
            await loop.shutdown_default_executor()
    finally:
        hang.set()
        assert await waiting


async def test_calls_of_the_default_executor_are_limited() -> None:
    assert MAX_EXECUTOR_CALLS == 8
    use_daemon_threads("library")
    loop = asyncio.get_running_loop()
    hang = threading.Event()
    try:
        waiting = [loop.run_in_executor(None, hang.wait) for _ in range(8)]
        with pytest.raises(TimeoutError, match="library: earlier calls still hang"):
            await loop.run_in_executor(None, hang.wait)
    finally:
        hang.set()
    await asyncio.gather(*waiting)


async def test_a_worker_runs_its_calls_in_order_and_never_two_at_once() -> None:
    worker = SerialWorker("in order")
    running, order = 0, []

    def call(number: int) -> int:
        nonlocal running
        running += 1
        assert running == 1
        order.append(number)
        running -= 1
        return number

    results = await asyncio.gather(*(worker.run(lambda n=n: call(n)) for n in range(200)))  # type: ignore[misc]
    assert order == results == list(range(200))


async def test_a_worker_raises_the_error_of_a_call_and_goes_on() -> None:
    worker = SerialWorker("with errors")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: 7) == 7


async def test_a_worker_finishes_a_call_that_nobody_awaits_any_more() -> None:
    worker = SerialWorker("abandoned")
    hang = threading.Event()
    done = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await worker.run(lambda: (hang.wait(), done.set()))
    hang.set()
    await worker.run(lambda: None)
    assert done.is_set()


async def test_a_worker_leaves_no_thread_behind_when_it_is_idle() -> None:
    worker = SerialWorker("idle worker")
    thread = await worker.run(threading.current_thread)
    assert thread.daemon
    assert thread.name == "idle worker"
    thread.join(5)
    assert not thread.is_alive()
    assert await worker.run(lambda: 7) == 7
