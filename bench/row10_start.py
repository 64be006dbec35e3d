"""Row 10: from the start to READY, against the time to import the dependencies."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from bench.measure import RUNS, Result
from bench.row09_memory import DEPENDENCIES
from bench.system import broker, compiled, daemon, directory, free_port, meter


def imports() -> float:
    """Seconds of a process that imports them and ends."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", DEPENDENCIES], check=True, env=compiled())
    return time.perf_counter() - start


def run() -> list[Result]:
    pairs = []
    with directory() as place, broker(place) as port:
        meters = [meter("m0", f"tcp://127.0.0.1:{free_port()}")]
        for run in range(RUNS + 1):
            with daemon(place / f"daemon{run}", port, meters) as process:
                ours = process.seconds_to_ready
            pairs.append((ours, imports()))
    del pairs[0]  # files that were not read yet
    return [
        Result(
            row=10,
            what="start to READY, against importing the dependencies",
            ours=f"{1000 * statistics.median(a for a, _ in pairs):.0f} ms",
            other=f"{1000 * statistics.median(b for _, b in pairs):.0f} ms",
            figure=statistics.median(a / b for a, b in pairs),
            reach=1.8,
        )
    ]
