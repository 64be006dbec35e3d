"""Row 9: memory with one meter, against a process that imports the dependencies; bytes per further
meter."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.measure import Result
from bench.system import ask, broker, compiled, daemon, directory, meter, rss, tcp_meters

DEPENDENCIES = """
import argparse, asyncio, importlib.metadata, aiomqtt, pydantic_core, serial_asyncio, yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError
"""
"""What the daemon imports that is not its own, with the names that it takes (pydantic loads what
is asked for)."""
RUNS, FURTHER, SETTLE = 7, 200, 3.0


@contextlib.contextmanager
def dependencies() -> Iterator[int]:
    """A process that has imported them; its pid."""
    code = f"{DEPENDENCIES}\nprint(flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=compiled()
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()


def resident(count: int, settle: float = SETTLE) -> int:
    """Bytes of the daemon with so many meters, each of which has sent three lists."""
    with (
        directory() as place,
        broker(place) as port,
        tcp_meters(count, "--interval", "1") as (ports, pushing),
    ):
        meters: list[dict[str, Any]] = [
            meter(f"m{n}", f"tcp://127.0.0.1:{p}") for n, p in enumerate(ports)
        ]
        with daemon(place / "daemon", port, meters) as process:
            time.sleep(1.5)
            ask(pushing)
            time.sleep(settle)
            return process.rss


def run() -> list[Result]:
    pairs = []
    for _ in range(RUNS):
        ours = resident(1)
        with dependencies() as pid:
            pairs.append((ours, rss(pid)))
    one = statistics.median(ours for ours, _ in pairs)
    other = statistics.median(other for _, other in pairs)
    more = statistics.median((resident(1 + FURTHER, 6.0) - one) / FURTHER for _ in range(3))
    return [
        Result(
            row=9,
            what="memory with one meter, against the imported dependencies",
            ours=f"{one / 1e6:.1f} MB",
            other=f"{other / 1e6:.1f} MB",
            figure=statistics.median(a / b for a, b in pairs),
            reach=1.25,
        ),
        Result(
            row=9,
            what=f"memory per further meter ({FURTHER} more)",
            ours=f"{more / 1e3:.1f} kB",
            other="-",
            figure=more / 1e3,
            unit="kB",
            reach=60.0,
        ),
    ]
