"""The supervisor with a simulated clock and short intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.daemon import supervisor
from kamstrup_mqtt.daemon.supervisor import Supervisor
from tests.support.broker import eventually


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Job:
    """A supervised object that runs a function."""

    def __init__(self, name: str, time: Time, work: Callable[[], Awaitable[None]]) -> None:
        self.heartbeat = Heartbeat(name, time)
        self.run = work
        self.restarts = 0
        self.crashes: list[Exception] = []
        self.delay = 0.0

    def on_restart(self) -> None:
        self.restarts += 1

    def on_crash(self, error: Exception) -> float:
        self.crashes.append(error)
        return self.delay


async def run_until_cancelled() -> None:
    await asyncio.Event().wait()


def test_the_default() -> None:
    assert supervisor.CHECK_INTERVAL == 30.0


async def test_a_stuck_task_is_cancelled_and_restarted(
    expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("reader of heat was stuck")
    time = Time()
    started: list[str] = []
    second = asyncio.Event()

    async def work() -> None:
        started.append("started")
        if len(started) == 2:
            second.set()
        else:
            heat.heartbeat.expect_within(10)
            time.now += 41
            water.heartbeat.expect_within(10)
        await asyncio.Event().wait()

    heat, water = (
        Job("reader of heat", time, work),
        Job("reader of water", time, run_until_cancelled),
    )
    watcher = Supervisor([water, heat], time, check=0.001)
    task = asyncio.create_task(watcher.run())
    await asyncio.wait_for(second.wait(), 5)
    assert (heat.restarts, water.restarts) == (1, 0)
    assert len(logged(40)) == 1
    assert not watcher.heartbeat.is_late()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_task_that_cannot_be_cancelled_makes_the_supervisor_late(
    expected_logs: list[str],
) -> None:
    expected_logs.append("reader was stuck")
    time = Time()
    cancelled, over = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        time.now += 100
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            await over.wait()
            raise

    watcher = Supervisor([Job("reader", time, work)], time, check=0.001)
    task = asyncio.create_task(watcher.run())
    await asyncio.wait_for(cancelled.wait(), 5)
    time.now += 36
    assert watcher.heartbeat.is_late()
    task.cancel()
    over.set()
    await asyncio.wait([task])


async def test_a_crashed_task_is_reported_and_restarted() -> None:
    starts = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts == 3:
            third.set()
            await run_until_cancelled()
        raise ZeroDivisionError

    time = Time()
    job, other = Job("reader", time, work), Job("other reader", time, run_until_cancelled)
    task = asyncio.create_task(Supervisor([job, other], time).run())
    await asyncio.wait_for(third.wait(), 5)
    assert [type(error) for error in job.crashes] == [ZeroDivisionError] * 2
    assert (job.restarts, other.crashes) == (0, [])
    task.cancel()
    await asyncio.wait([task])


async def test_a_restart_after_a_crash_waits_for_the_returned_delay() -> None:
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1
        raise ZeroDivisionError

    time = Time()
    job = Job("reader", time, work)
    job.delay = 3600.0
    watcher = Supervisor([job], time, check=0.001)
    task = asyncio.create_task(watcher.run())
    await eventually(lambda: len(job.crashes) == 1, "the crash is reported")
    time.now += 3600
    assert not job.heartbeat.is_late()  # the heartbeat includes the delay
    assert starts == 1
    task.cancel()
    await asyncio.wait([task])


async def test_a_base_exception_is_raised() -> None:
    class Stop(BaseException): ...

    async def work() -> None:
        raise Stop

    time = Time()
    with pytest.raises(Stop):
        await Supervisor([Job("reader", time, work)], time).run()


async def test_a_task_must_not_end() -> None:
    async def work() -> None: ...

    time = Time()
    with pytest.raises(RuntimeError, match="reader ended unexpectedly"):
        await Supervisor([Job("reader", time, work)], time).run()
