"""Row 6: from the last byte of a HAN list on a pty to the message at a subscriber, against a bare
aiomqtt publish of the same payload; with one meter, and with 200 whose phases are spread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiomqtt

from bench.frames import LIVE, han_variants
from bench.measure import Result
from bench.system import broker, daemon, directory, meter, quiet, subscriber, until_quiet

WARM_UP, MESSAGES, RUNS, PAUSE = 20, 60, 7, 0.03
MANY, SPREAD = 200, 10.0


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
        await client.publish("bare/state/live", payload, qos=1, retain=True)
        async with asyncio.timeout(10):
            came, _, _ = await queue.get()
        found.append(came - start)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def compare(count: int, messages: int, pause: float) -> list[tuple[list[float], list[float]]]:
    """Each run's latencies: ours and the bare ones, in turns."""
    with directory() as place, broker(place) as port, ptys(count, place) as ports:
        meters = [meter(f"m{n}", str(place / str(n))) for n in range(count)]
        lists = [han_variants(LIVE, 8, meter_id=f"{n:016d}".encode()) for n in range(count)]
        with daemon(place / "daemon", port, meters):
            async with (
                subscriber(port, "kamstrup/+/+/state/live") as queue,
                subscriber(port, "bare/state/live") as plain,
                aiomqtt.Client("127.0.0.1", port) as client,
            ):
                await asyncio.sleep(2.0)
                warm = max(WARM_UP, count)
                _, payload = await by_daemon(ports, lists, queue, warm, PAUSE / 2)
                await bare(client, plain, payload, WARM_UP, PAUSE)
                await until_quiet(queue, 1.0)
                found = []
                for _ in range(RUNS):
                    ours, payload = await by_daemon(ports, lists, queue, messages, pause)
                    found.append((ours, await bare(client, plain, payload, messages, PAUSE)))
                return found


def results(what: str, runs: Sequence[tuple[list[float], list[float]]]) -> list[Result]:
    made = []
    for name, share, reach in (("p50", 0.5, 1.5), ("p99", 0.99, 3.0)):
        ours = [quantile(run[0], share) for run in runs]
        other = [quantile(run[1], share) for run in runs]
        made.append(
            Result(
                row=6,
                what=f"{what}, {name}",
                ours=f"{1000 * statistics.median(ours):.2f} ms",
                other=f"{1000 * statistics.median(other):.2f} ms",
                figure=statistics.median(a / b for a, b in zip(ours, other, strict=True)),
                reach=reach,
            )
        )
    return made


def run() -> list[Result]:
    one = asyncio.run(compare(1, MESSAGES, PAUSE))
    many = asyncio.run(compare(MANY, 60, SPREAD / MANY))
    return results("HAN list to subscriber, 1 meter", one) + results(
        f"HAN list to subscriber, {MANY} meters", many
    )
