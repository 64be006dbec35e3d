"""What all rows have in common: a result, two processes measured in turns, and medians."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
RUNS = 21
"""Runs of a measurement; what is told is their median."""
SLICE = 0.15
"""Seconds that one run of a decoder takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table. `figure` is the ratio (or what the row is measured in); `reach` the
    figure to get to, at least ("higher") or at most ("lower"); None: reported only."""

    row: int
    what: str
    ours: str
    other: str
    figure: float
    unit: str = "x"
    reach: float | None = None
    better: Literal["higher", "lower"] = "lower"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if self.reach is None:
            return None
        return self.figure >= self.reach if self.better == "higher" else self.figure <= self.reach


class Worker:
    """A process that speaks `bench.worker`."""

    def __init__(self, python: Path | str, module: str, *arguments: str) -> None:
        self.name = module.rpartition(".")[2]
        self._process = subprocess.Popen(
            [str(python), "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )

    def job(self, frames: Iterable[bytes], times: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"frames": [frame.hex() for frame in frames], "times": times}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def ours(protocol: str) -> Worker:
    """Our decoder."""
    return Worker(sys.executable, "bench.ours", protocol)


def peer(name: str) -> Worker:
    """Another project's decoder, in the environment that `make bench` makes."""
    return Worker(ROOT / ".venv-bench/bin/python", f"bench.peers.{name}")


def in_turns(workers: Sequence[Worker], frames: Sequence[bytes]) -> list[list[float]]:
    """Microseconds per frame of each worker, run by run: all of them once in each run."""
    times = []
    for worker in workers:
        worker.job(frames, 3)  # warm
        once = worker.job(frames, 3)["seconds"] / 3
        times.append(max(1, int(SLICE / once)))
    found: list[list[float]] = [[] for _ in workers]
    for _ in range(RUNS):
        for worker, n, seconds in zip(workers, times, found, strict=True):
            seconds.append(1e6 * worker.job(frames, n)["seconds"] / n / len(frames))
    return found


def ratio(ours: Sequence[float], other: Sequence[float]) -> float:
    """How often `ours` goes into `other`: the median of the runs' ratios."""
    return statistics.median(b / a for a, b in zip(ours, other, strict=True))


def differences(ours: Worker, other: Worker, frames: Sequence[bytes]) -> tuple[int, list[str]]:
    """How many values the two have in common, and which of those differ."""
    common, wrong = 0, []
    for mine, theirs in zip(
        ours.job(frames, 0)["values"], other.job(frames, 0)["values"], strict=True
    ):
        for name in mine.keys() & theirs.keys():
            common += 1
            if not _same(mine[name], theirs[name]):
                wrong.append(f"{name}: {mine[name]} and {theirs[name]}")
    return common, wrong


def _same(mine: list[Any], theirs: list[Any]) -> bool:
    # a peer may know no units; those that it tells must be ours
    if theirs[1] is not None and mine[1] != theirs[1]:
        return False
    try:
        return Decimal(mine[0]) == Decimal(theirs[0])
    except InvalidOperation:
        return bool(mine[0] == theirs[0])


def against(
    row: int,
    protocol: str,
    what: str,
    frames: Sequence[bytes],
    peers: Sequence[tuple[str, str, float]],
) -> list[Result]:
    """Our decoder against others: (module, name, reach)."""
    workers = [ours(protocol), *(peer(module) for module, _, _ in peers)]
    try:
        found = in_turns(workers, frames)
        results = []
        for (_, name, reach), worker, theirs in zip(peers, workers[1:], found[1:], strict=True):
            common, wrong = differences(workers[0], worker, frames)
            note = f"{common // len(frames)} values a frame compared"
            if wrong or not common:
                note += f"; NOT EQUAL: {len(wrong)}, such as {wrong[:1]}"
            results.append(
                Result(
                    row=row,
                    what=f"{what}, against {name}",
                    ours=f"{statistics.median(found[0]):.1f} µs",
                    other=f"{statistics.median(theirs):.1f} µs",
                    figure=ratio(found[0], theirs),
                    reach=reach,
                    better="higher",
                    note=note,
                )
            )
        return results
    finally:
        for worker in workers:
            worker.close()
