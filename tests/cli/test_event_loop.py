"""The clock and the event loop of a replay."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from kamstrup_mqtt.cli.replay.event_loop import START, ReplayClock, ReplayLoop

DAY = 86_400.0


class Real:
    """The host's clock, set by the test."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def run(clock: ReplayClock, work) -> object:  # type: ignore[no-untyped-def]
    with asyncio.Runner(loop_factory=lambda: ReplayLoop(clock)) as runner:
        return runner.run(work())


def test_a_day_takes_no_time_and_timers_expire_in_order() -> None:
    woken: list[tuple[str, float]] = []
    clock = ReplayClock(None)

    async def sleeper(name: str, seconds: float) -> None:
        for _ in range(int(DAY / seconds)):
            await asyncio.sleep(seconds)
            woken.append((name, clock.time() - START))

    async def work() -> None:
        async with asyncio.timeout(DAY + 1):
            await asyncio.gather(sleeper("hour", 3600), sleeper("half", 1800))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 100 * DAY)

    begin = time.monotonic()
    run(clock, work)
    assert time.monotonic() - begin < 5
    assert [round(at) for name, at in woken if name == "hour"] == [3600 * n for n in range(1, 25)]
    assert [round(at) for name, at in woken if name == "half"] == [1800 * n for n in range(1, 49)]
    assert [at for _, at in woken] == sorted(at for _, at in woken)
    assert clock.time() - START == pytest.approx(101 * DAY)


def test_the_clock_does_not_jump_while_a_socket_is_readable() -> None:
    clock = ReplayClock(None)

    async def work() -> bytes:
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        far.send(b"first")
        async with asyncio.timeout(1):
            got = await reader.readexactly(5)
        writer.close()
        far.close()
        return got

    assert run(clock, work) == b"first"


def test_many_times_as_fast() -> None:
    begin = time.monotonic()
    clock = ReplayClock(1000)

    async def work() -> None:
        await asyncio.sleep(200)

    run(clock, work)
    assert 0.2 <= time.monotonic() - begin < 5
    assert clock.time() - START == pytest.approx(200)


def test_the_time_of_the_program_shortens_the_next_waits() -> None:
    real = Real()
    clock = ReplayClock(10, real=real)
    waits: list[float | None] = []

    def wait_in_vain(seconds: float | None) -> bool:
        waits.append(seconds)
        real.now += seconds or 0
        return False

    def wait_for_event(_: float | None) -> bool:
        real.now += 0.25
        return True

    clock.wait(wait_in_vain, 10.0)
    assert clock.time() == START + 10
    real.now += 0.5  # taken by the program
    assert clock.time() == START + 10
    clock.wait(wait_in_vain, 10.0)
    assert clock.time() == START + 20
    real.now += 3  # more than the wait
    clock.wait(wait_in_vain, 10.0)
    assert clock.time() == START + 30
    assert waits == [1.0, 0.5, 0.0]
    # After 5 real seconds 50 seconds of the replay are due. An early event does not stop the clock.
    clock.wait(wait_for_event, 10.0)
    assert clock.time() == START + 40
    clock.wait(wait_for_event, 100.0)
    assert clock.time() == START + 55
