"""Row 11: CPU seconds per hour with one HAN meter whose lists come every 10 s, in 4-byte pieces."""

from __future__ import annotations

import statistics
import time

from bench.measure import Result
from bench.system import ask, broker, daemon, directory, meter, tcp_meters

INTERVAL, WINDOWS = 10.0, 7


def run() -> list[Result]:
    with (
        directory() as place,
        broker(place) as port,
        tcp_meters(1, "--interval", str(INTERVAL), "--piece", "4") as (ports, pushing),
        daemon(place / "daemon", port, [meter("m0", f"tcp://127.0.0.1:{ports[0]}")]) as process,
    ):
        time.sleep(3.0)
        ask(pushing)
        time.sleep(INTERVAL)
        found = []
        for _ in range(WINDOWS):
            before, at = process.cpu, time.monotonic()
            time.sleep(INTERVAL)
            found.append((process.cpu - before) / (time.monotonic() - at) * 3600)
    figure = statistics.median(found)
    return [
        Result(
            row=11,
            what="idle: CPU seconds per hour, one HAN meter in 4-byte pieces",
            ours=f"{figure:.2f} s",
            other="-",
            figure=figure,
            unit="s",
            reach=2.0,
        )
    ]
