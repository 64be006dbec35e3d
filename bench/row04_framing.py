"""Row 4: framing of a long HDLC stream in random chunks, its growth, and the worst stream."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

from bench import frames
from bench.measure import RUNS, Result
from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.han import HdlcFramer

STREAM = 2_000_000
WORST = 500_000


def chunks(stream: bytes) -> Iterator[bytes]:
    """Pieces of 1 to 4096 bytes, the same each time."""
    rng = random.Random(1)  # no secret
    at = 0
    while at < len(stream):
        size = rng.randint(1, 4096)
        yield stream[at : at + size]
        at += size


def seconds(stream: bytes) -> tuple[float, int]:
    """For the whole stream; and how many frames there were."""
    pieces = list(chunks(stream))
    framer = HdlcFramer()
    found = 0
    start = time.perf_counter()
    for piece in pieces:
        framer.receive_data(piece)
        while (event := framer.next_event()) is not None:
            found += isinstance(event, Frame)
    framer.end_burst()
    while (event := framer.next_event()) is not None:
        found += isinstance(event, Frame)
    return time.perf_counter() - start, found


def run() -> list[Result]:
    lists = b"".join(frames.han_variants(frames.LIVE))
    stream = lists * (STREAM // len(lists))
    worst = b"\x7e\xa7\xff" * (WORST // 3)
    wanted = stream.count(b"\x7e\x7e") + 1
    short, long, bad = [], [], []
    for run in range(RUNS):
        taken, found = seconds(stream)
        assert found == wanted, f"{found} frames of {wanted}"
        short.append(taken)
        bad.append(seconds(worst)[0])
        if run < 7:  # ten times as long
            long.append(seconds(stream * 10)[0] / taken)
    fast = len(stream) / statistics.median(short) / 1e6
    slow = len(worst) / statistics.median(bad) / 1e6
    growth = statistics.median(long)
    return [
        _rate(f"framing {len(stream) / 1e6:.0f} MB in chunks of 1..4096 B", fast, 40.0),
        Result(
            row=4, what="ten times that stream", ours=f"{growth:.2f} times the time", other="10",
            figure=growth, reach=11.5,
        ),
        _rate("the worst stream, 7EA7FF repeated", slow, 5.0),
    ]  # fmt: skip


def _rate(what: str, rate: float, reach: float) -> Result:
    return Result(
        row=4, what=what, ours=f"{rate:.1f} MB/s", other="-", figure=rate, unit="MB/s",
        reach=reach, better="higher",
    )  # fmt: skip
