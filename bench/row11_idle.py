"""Row 11: CPU seconds per hour with one HAN meter whose lists come every 10 s, in 4-byte pieces:
on a serial line of 2400 baud, which is where a HAN meter's bytes come in pieces, and by TCP."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from bench.frames import LIVE, han_variants
from bench.measure import Result
from bench.row06_latency import ptys
from bench.system import Daemon, ask, broker, daemon, directory, meter, tcp_meters

INTERVAL, WINDOWS = 10.0, 7
PIECE, BYTE = 4, 10 / 2400
"""Bytes in a piece; seconds of a byte at 2400 baud 8N1."""


def share(process: Daemon, pass_time: Callable[[], None]) -> list[float]:
    """CPU seconds per hour, one for each interval."""
    found = []
    for _ in range(WINDOWS):
        before, at = process.cpu, time.monotonic()
        pass_time()
        found.append((process.cpu - before) / (time.monotonic() - at) * 3600)
    return found


def push(port: int, frames: list[bytes]) -> None:
    """One list at the line's speed, and the silence after it."""
    frame = frames.pop(0)
    frames.append(frame)
    start = time.monotonic()
    for at in range(0, len(frame), PIECE):
        # a piece is there when its last byte is
        arrived = start + min(at + PIECE, len(frame)) * BYTE
        time.sleep(max(0.0, arrived - time.monotonic()))
        os.write(port, frame[at : at + PIECE])
    time.sleep(max(0.0, start + INTERVAL - time.monotonic()))


def serial() -> list[float]:
    with (
        directory() as place,
        broker(place) as port,
        ptys(1, place) as ports,
        daemon(place / "daemon", port, [meter("m0", str(place / "0"))]) as process,
    ):
        frames = han_variants(LIVE, 8)
        time.sleep(3.0)
        push(ports[0], frames)
        return share(process, lambda: push(ports[0], frames))


def tcp() -> list[float]:
    with (
        directory() as place,
        broker(place) as port,
        tcp_meters(1, "--interval", str(INTERVAL), "--piece", str(PIECE)) as (ports, pushing),
        daemon(place / "daemon", port, [meter("m0", f"tcp://127.0.0.1:{ports[0]}")]) as process,
    ):
        time.sleep(3.0)
        ask(pushing)
        time.sleep(INTERVAL)
        return share(process, lambda: time.sleep(INTERVAL))


def run() -> list[Result]:
    made = []
    for what, found, reach in (
        ("on a serial line of 2400 baud", serial(), 2.0),
        ("by TCP", tcp(), None),
    ):
        figure = statistics.median(found)
        made.append(
            Result(
                row=11,
                what=f"idle: CPU seconds per hour, one HAN meter in 4-byte pieces, {what}",
                ours=f"{figure:.2f} s",
                other="-",
                figure=figure,
                unit="s",
                reach=reach,
            )
        )
    return made
