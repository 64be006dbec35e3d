"""Row 7: messages per second out of the daemon when meters push as fast as they are taken, against
a bare aiomqtt loop with as many publishes in flight."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time

import aiomqtt

from bench.measure import Result
from bench.system import ask, broker, daemon, directory, meter, subscriber, tcp_meters, until_quiet
from kamstrup_mqtt.mqtt import connection

METERS, RUNS, SECONDS = 20, 7, 2.0
WINDOW = connection.STATE_WINDOW + connection.HISTORY_WINDOW
BARE_WINDOWS = (connection.STATE_WINDOW, WINDOW)
"""The bare loop is tried with both, and the faster one counts: with 30 in flight it stalls, at a
third of what it does with 10."""
TOPICS = ("state", "history")


async def rate(queue: asyncio.Queue[tuple[float, str, bytes]]) -> tuple[float, bytes]:
    """Messages per second that came, over a while; the last payload."""
    start, count, payload = time.monotonic(), 0, b""
    while True:
        came, _, payload = await queue.get()
        if came < start:
            continue
        if came - start > SECONDS:
            return count / SECONDS, payload
        count += 1


async def publish_for_ever(client: aiomqtt.Client, payload: bytes, window: int) -> None:
    """QoS 1, so many in flight, state and history in turn."""
    slots = asyncio.Semaphore(window)

    async def one(topic: str) -> None:
        await client.publish(topic, payload, qos=1, retain=topic.startswith("bare/state"))
        slots.release()

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            await slots.acquire()
            group.create_task(one(f"bare/{TOPICS[number % len(TOPICS)]}/{number % METERS}"))


async def bare(port: int, payload: bytes, window: int) -> float:
    """Messages per second of a bare loop."""
    async with (
        subscriber(port, "bare/#") as queue,
        aiomqtt.Client("127.0.0.1", port, max_inflight_messages=2 * window) as client,
    ):
        client.pending_calls_threshold = 2 * window
        publishing = asyncio.create_task(publish_for_ever(client, payload, window))
        await asyncio.sleep(0.5)
        found, _ = await rate(queue)
        publishing.cancel()
        await asyncio.wait([publishing])
        await until_quiet(queue, 0.5)
        return found


async def compare() -> list[tuple[float, float]]:
    found = []
    with directory() as place, broker(place) as port:
        for run in range(RUNS):
            with tcp_meters(METERS, "--interval", "0") as (ports, pushing):
                meters = [meter(f"m{n}", f"tcp://127.0.0.1:{p}") for n, p in enumerate(ports)]
                with daemon(place / f"daemon{run}", port, meters):
                    async with subscriber(port, "kamstrup/#") as queue:
                        await asyncio.sleep(1.2)
                        ask(pushing)
                        await asyncio.sleep(1.0)
                        ours, payload = await rate(queue)
            other = max([await bare(port, payload, window) for window in BARE_WINDOWS])
            found.append((ours, other))
    return found


def run() -> list[Result]:
    runs = asyncio.run(compare())
    what = " and ".join(TOPICS)
    return [
        Result(
            row=7,
            what=f"messages out ({what}), {METERS} TCP meters at full speed",
            ours=f"{statistics.median(a for a, _ in runs):.0f}/s",
            other=f"{statistics.median(b for _, b in runs):.0f}/s",
            figure=statistics.median(a / b for a, b in runs),
            reach=0.8,
            better="higher",
            note=f"{WINDOW} in flight; bare: the best of {BARE_WINDOWS}, in one process with its"
            " subscriber, as ours shares the cores with the meters",
        )
    ]
