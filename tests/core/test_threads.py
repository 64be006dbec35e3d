"""Blocking calls in daemonic threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kamstrup_mqtt.core.threads import MAX_STUCK, SerialWorker, run_blocking


async def test_calls_that_hang_do_not_pile_up() -> None:
    assert MAX_STUCK == 4
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
