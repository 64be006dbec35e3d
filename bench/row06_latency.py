"""Row 6: from the last byte of a HAN list on a pty to the message at a subscriber, against a bare
aiomqtt publish of the same payload; with one meter, and with 200 whose phases are spread.

What is compared: ours begins when the list was written to the pty, and so holds the kernel's way to
the daemon and its waking. The bare one (`bench.bare`) begins when `publish` is called, awake. Both
publish the same payload with QoS 1, retained, to the same broker and subscriber, out of a process
of their own that was idle for as long. The note tells what comes out against a publish in the
subscriber's own process, whose code is warm, and where one process less is to be woken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import time
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aiomqtt

from bench.frames import LIVE, han_variants
from bench.measure import ROOT, Result
from bench.system import broker, daemon, directory, meter, quiet, subscriber, until_quiet

WARM_UP, MESSAGES, RUNS, PAUSE = 20, 60, 7, 0.03
MANY, SPREAD = 200, 10.0
BARE = "bare/state/live"


@contextlib.contextmanager
def ptys(count: int, place: Path) -> Iterator[list[int]]:
    """The near ends; the far ends stay open and raw under `<place>/<n>`."""
    near, far = [], []
    for number in range(count):
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        (place / str(number)).symlink_to(os.ttyname(theirs))
        near.append(ours)
        far.append(theirs)
    try:
        yield near
    finally:
        for end in (*near, *far):
            os.close(end)


async def by_daemon(
    ports: Sequence[int],
    lists: Sequence[Sequence[bytes]],
    queue: asyncio.Queue[tuple[float, str, bytes]],
    count: int,
    pause: float,
) -> tuple[list[float], bytes]:
    """Seconds of each of `count` lists, written to the ports in turn; a payload."""
    found, payload = [], b""
    for number in range(count):
        await asyncio.sleep(pause)
        quiet(queue)
        port = number % len(ports)
        wanted = f"/m{port}/state/live"
        frames = lists[port]
        os.write(ports[port], frames[number // len(ports) % len(frames)])
        start = time.monotonic()
        topic = ""
        while not topic.endswith(wanted):
            async with asyncio.timeout(10):
                came, topic, payload = await queue.get()
        found.append(came - start)
    return found, payload


@contextlib.asynccontextmanager
async def bare_process(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bench.bare`, connected."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.bare", str(port), BARE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def by_bare_process(
    process: asyncio.subprocess.Process,
    queue: asyncio.Queue[tuple[float, str, bytes]],
    payload: bytes,
    count: int,
    pause: float,
) -> list[float]:
    """Seconds of each of `count` publishes by a process of its own."""
    assert process.stdin is not None
    assert process.stdout is not None
    found = []
    for _ in range(count):
        await asyncio.sleep(pause)
        quiet(queue)
        process.stdin.write(payload + b"\n")
        async with asyncio.timeout(10):
            came, _, _ = await queue.get()
            found.append(came - float(await process.stdout.readline()))
    return found


async def bare(
    client: aiomqtt.Client,
    queue: asyncio.Queue[tuple[float, str, bytes]],
    payload: bytes,
    count: int,
    pause: float,
) -> list[float]:
    """Seconds of each of `count` publishes."""
    found = []
    for _ in range(count):
        await asyncio.sleep(pause)
        quiet(queue)
        start = time.monotonic()
        await client.publish(BARE, payload, qos=1, retain=True)
        async with asyncio.timeout(10):
            came, _, _ = await queue.get()
        found.append(came - start)
    return found


class Run(NamedTuple):
    """Latencies of one run: the daemon's, those of a bare process, and of a bare publish within the
    subscriber's process."""

    ours: list[float]
    other: list[float]
    near: list[float]


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def compare(count: int, messages: int, pause: float) -> list[Run]:
    """Each run's latencies, in turns."""
    with directory() as place, broker(place) as port, ptys(count, place) as ports:
        meters = [meter(f"m{n}", str(place / str(n))) for n in range(count)]
        lists = [han_variants(LIVE, 8, meter_id=f"{n:016d}".encode()) for n in range(count)]
        with daemon(place / "daemon", port, meters):
            async with (
                subscriber(port, "kamstrup/+/+/state/live") as queue,
                subscriber(port, BARE) as plain,
                bare_process(port) as process,
                aiomqtt.Client("127.0.0.1", port) as client,
            ):
                await asyncio.sleep(2.0)
                warm = max(WARM_UP, count)
                _, payload = await by_daemon(ports, lists, queue, warm, PAUSE / 2)
                await by_bare_process(process, plain, payload, WARM_UP, PAUSE)
                await bare(client, plain, payload, WARM_UP, PAUSE)
                await until_quiet(queue, 1.0)
                found = []
                for _ in range(RUNS):
                    ours, payload = await by_daemon(ports, lists, queue, messages, pause)
                    other = await by_bare_process(process, plain, payload, messages, pause)
                    near = await bare(client, plain, payload, messages, pause)
                    found.append(Run(ours, other, near))
                return found


def results(what: str, runs: Sequence[Run]) -> list[Result]:
    made = []
    for name, share, reach in (("p50", 0.5, 2.0), ("p99", 0.99, 3.0)):
        ours, other, near = (
            [quantile(latencies, share) for latencies in column]
            for column in zip(*runs, strict=True)
        )
        made.append(
            Result(
                row=6,
                what=f"{what}, {name}",
                ours=f"{1000 * statistics.median(ours):.2f} ms",
                other=f"{1000 * statistics.median(other):.2f} ms",
                figure=statistics.median(a / b for a, b in zip(ours, other, strict=True)),
                reach=reach,
                note=f"{statistics.median(a / b for a, b in zip(ours, near, strict=True)):.2f}×"
                " a publish in the subscriber's own process",
            )
        )
    return made


def run() -> list[Result]:
    one = asyncio.run(compare(1, MESSAGES, PAUSE))
    many = asyncio.run(compare(MANY, 60, SPREAD / MANY))
    return results("HAN list to subscriber, 1 meter", one) + results(
        f"HAN list to subscriber, {MANY} meters", many
    )
