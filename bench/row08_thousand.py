"""Row 8: a thousand HAN meters by TCP, a list every 10 s each: the daemon's share of a core, and
whether a list was lost."""

from __future__ import annotations

import asyncio
import statistics
import time

from bench.measure import Result
from bench.system import ask, broker, daemon, directory, meter, subscriber, tcp_meters

METERS, INTERVAL, WINDOWS = 1000, 10.0, 7


async def share(piece: int, windows: int) -> tuple[list[float], int]:
    """CPU seconds per second, one for each interval; how many lists were lost."""
    arguments = ("--interval", str(INTERVAL), "--piece", str(piece))
    with (
        directory() as place,
        broker(place) as port,
        tcp_meters(METERS, *arguments) as (ports, pushing),
    ):
        meters = [meter(f"m{n}", f"tcp://127.0.0.1:{p}") for n, p in enumerate(ports)]
        with daemon(place / "daemon", port, meters) as process:
            async with subscriber(port, "kamstrup/+/+/history") as queue:
                await asyncio.sleep(5.0)
                start = queue.qsize()
                ask(pushing)
                await asyncio.sleep(INTERVAL)  # the first lists are announced: that is not idle
                found = []
                for _ in range(windows):
                    before, at = process.cpu, time.monotonic()
                    await asyncio.sleep(INTERVAL)
                    found.append((process.cpu - before) / (time.monotonic() - at))
                ask(pushing, "stop")
                await asyncio.sleep(3.0)
                sent = ask(pushing)["sent"]
                return found, sent - (queue.qsize() - start)


def run() -> list[Result]:
    made = []
    for what, piece, windows, reach in (
        ("one segment a list", 0, WINDOWS, 0.20),
        ("4-byte pieces every 16 ms", 4, 3, None),
    ):
        found, lost = asyncio.run(share(piece, windows))
        figure = statistics.median(found)
        made.append(
            Result(
                row=8,
                what=f"CPU with {METERS} HAN meters by TCP, {what}",
                ours=f"{100 * figure:.1f} %",
                other="one core",
                figure=figure,
                unit="of a core",
                reach=reach,
                note=f"{lost} lists lost (by the history, which holds each of them)",
            )
        )
    return made
