"""Row 3: an IEC 62056-21 readout against iec62056-21; a KMP-ASCII answer, which has no peer."""

from __future__ import annotations

import statistics

from bench import frames
from bench.measure import Result, against, in_turns, ours


def run() -> list[Result]:
    peers = [("iec62056_21", "iec62056-21", 4.0)]
    readout = against(3, "iec62056-21", "IEC 62056-21 readout", frames.iec_readouts(), peers)
    worker = ours("kmp-ascii")
    try:
        micros = statistics.median(in_turns([worker], frames.kmp_ascii_answers())[0])
    finally:
        worker.close()
    answer = Result(
        row=3, what="KMP-ASCII answer", ours=f"{micros:.1f} µs", other="-", figure=micros, unit="µs"
    )
    return [*readout, answer]
