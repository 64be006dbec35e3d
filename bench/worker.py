"""One decoder in a process of its own: it is sent jobs on stdin and answers with seconds.

Only the standard library: the peers run this in an environment of theirs.

    {"frames": [hex, ...], "times": n}  ->  {"seconds": s, "values": [{name: [value, unit]}, ...]}

The values are those of each frame once; they are worked out beside the measurement.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Values = Mapping[Any, tuple[Any, "str | None"]]


def serve(decode: Callable[[bytes], Any], show: Callable[[Any], Values] = dict) -> None:
    """Answer until stdin ends. `decode` is measured: one whole frame in, its values out. `show`
    turns what it returns into the names and units that all decoders are compared in."""
    for line in sys.stdin:
        job = json.loads(line)
        frames = [bytes.fromhex(text) for text in job["frames"]]
        values = [
            {str(name): (str(value), unit) for name, (value, unit) in show(decode(frame)).items()}
            for frame in frames
        ]
        print(json.dumps({"seconds": _measure(decode, frames, job["times"]), "values": values}))
        sys.stdout.flush()


def _measure(decode: Callable[[bytes], Any], frames: list[bytes], times: int) -> float:
    gc.collect()
    start = time.perf_counter()
    for _ in range(times):
        for frame in frames:
            decode(frame)
    return time.perf_counter() - start
