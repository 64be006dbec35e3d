"""Runs the rows and writes the table: `python -m bench [--rows 1,2,...] [--output DIRECTORY]`.

The table goes into `bench/results`, where the documentation takes it from, or into another
directory. Rows that are not run keep the figures of their last run.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

from bench.measure import ROOT, Result

ROWS = {
    1: "row01_han",
    2: "row02_kmp",
    3: "row03_iec",
    4: "row04_framing",
    5: "row05_poll",
    6: "row06_latency",
    7: "row07_throughput",
    8: "row08_thousand",
    9: "row09_memory",
    10: "row10_start",
    11: "row11_idle",
}
RESULTS = ROOT / "bench/results"


def figure(value: float, unit: str) -> str:
    """As it stands in the table: 12.3x, 4.1 MB/s."""
    digits = 1 if value >= 10 else 2
    return f"{value:.{digits}f}{'×' if unit == 'x' else f' {unit}'}"


def markdown(results: list[Result], machine: str) -> str:
    """The table."""
    lines = ["| # | what | ours | other | figure | reach | |", "|---|---|---|---|---|---|---|"]
    for result in results:
        bound = "≥" if result.better == "higher" else "≤"
        reach = (
            "reported" if result.reach is None else f"{bound} {figure(result.reach, result.unit)}"
        )
        verdict = {True: "yes", False: "**no**", None: ""}[result.reached]
        note = f" ({result.note})" if result.note else ""
        lines.append(
            f"| {result.row} | {result.what}{note} | {result.ours} | {result.other}"
            f" | {figure(result.figure, result.unit)} | {reach} | {verdict} |"
        )
    return "\n".join([*lines, "", machine, ""])


def write(output: Path, results: list[Result], machine: str) -> None:
    """table.json and table.md, with the rows of before that were not run now."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "table.json"
    rows = {result.row for result in results}
    fields = {field.name for field in dataclasses.fields(Result)}
    if path.exists():
        for old in json.loads(path.read_text(encoding="utf-8"))["results"]:
            if old["row"] not in rows:
                results.append(Result(**{k: v for k, v in old.items() if k in fields}))
    results.sort(key=lambda result: result.row)
    data = {
        "machine": machine,
        "results": [{**dataclasses.asdict(r), "reached": r.reached} for r in results],
    }
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (output / "table.md").write_text(markdown(results, machine), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="such as 1,2,10")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    # a thousand connections need as many files
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results: list[Result] = []
    for number in map(int, args.rows.split(",")):
        start = time.monotonic()
        found: list[Result] = importlib.import_module(f"bench.{ROWS[number]}").run()
        results += found
        for result in found:
            mark = {True: "ok", False: "MISSED", None: ""}[result.reached]
            print(f"{number:2} {result.what}: {figure(result.figure, result.unit)} {mark}"
                  f" ({result.ours}, {result.other}) {result.note}", flush=True)  # fmt: skip
        print(f"   [{time.monotonic() - start:.0f} s]", file=sys.stderr, flush=True)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()},"
        f" {os.cpu_count()} cores"
    )
    write(args.output, results, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
