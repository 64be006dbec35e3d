"""`python -m tests.fuzz --time 60 --frames 100000`: coverage-guided where atheris is installed.

Each target runs in a process of its own for its share of the time. An input that goes wrong is
kept in tests/fuzz/corpus/<target>/, where it is a test from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import NAMES

CORPUS = Path(__file__).parent / "corpus"

LONGEST = 4096
GROWTH = 20_000
"""kB by which the process may grow while one protocol's frames are damaged."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--time", type=float, default=60.0, help="seconds for all targets together")
    parser.add_argument("--frames", type=int, default=100_000, help="damaged frames, all together")
    parser.add_argument("--target", choices=NAMES, help="only this one")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return inside(args.target, args.time)
    targets = [args.target] if args.target else list(NAMES)
    workers = min(len(targets), os.cpu_count() or 1)
    seconds = args.time * workers / len(targets)
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda name: outside(name, seconds), targets)
        failed = [name for name, bad in zip(targets, found, strict=True) if bad]
    if not args.target:
        failed += damaged(args.frames)
    print(f"failed: {', '.join(failed)}" if failed else "nothing was found")
    return 1 if failed else 0


def damaged(frames: int) -> list[str]:
    """The protocols that took too many of these damaged frames for good, or too much memory."""
    from tests.fuzz import damaged_frames

    failed = []
    for name in damaged_frames.LINES:
        result = damaged_frames.run(
            name, frames // len(damaged_frames.LINES), seed=int(time.time())
        )
        print(
            f"{name}: {result.damaged} damaged frames in {result.seconds:.0f} s,"
            f" {result.accepted} taken for good, at most {result.allowed:.1f} allowed;"
            f" {result.grown:+d} kB"
        )
        if result.accepted > result.allowed or result.grown > GROWTH:
            failed.append(name)
    return failed


def outside(name: str, seconds: float) -> bool:
    """Run one target in a separate process. Returns whether it failed."""
    command = [sys.executable, "-m", "tests.fuzz", "--inside", "--target", name]
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [*command, "--time", str(seconds)],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 600,  # a loaded machine takes long to start
        )
        found = [*Path(directory).glob("crash-*"), *Path(directory).glob("timeout-*")]
        for path in found:
            keep(name, path.read_bytes())
    runs = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if "runs" in line]
    print(f"{name}: {runs[-1] if runs else 'no runs'}", flush=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-3000:], sep="\n")
    return done.returncode != 0


def keep(name: str, data: bytes) -> None:
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha1(data).hexdigest()[:16]
    path.write_bytes(data)
    print(f"kept as {path}")


def inside(name: str, seconds: float) -> int:
    if importlib.util.find_spec("atheris") is not None:
        return guided(name, seconds)
    return by_chance(name, seconds)


def beginnings(name: str) -> list[bytes]:
    from tests.fuzz.targets import corpus, seeds

    return [*seeds(name), *(path.read_bytes() for path in corpus(name))]


def guided(name: str, seconds: float) -> int:
    import atheris

    with atheris.instrument_imports(include=["kamstrup_mqtt"]):
        from tests.fuzz.targets import TARGETS
    folder = Path("seeds")
    folder.mkdir()
    for n, data in enumerate(beginnings(name)):
        (folder / str(n)).write_bytes(data)
    options = [f"-max_total_time={max(1, int(seconds))}", f"-max_len={LONGEST}", "-timeout=10"]
    atheris.Setup([name, *options, "-rss_limit_mb=1024", str(folder)], TARGETS[name])
    atheris.Fuzz()
    return 0


def by_chance(name: str, seconds: float) -> int:
    """Without atheris: mutations of the seeds."""
    from tests.fuzz.targets import TARGETS

    start = beginnings(name)
    chance = random.Random()
    end = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < end:
        data = mutated(chance, start)
        try:
            TARGETS[name](data)
        except Exception:
            traceback.print_exc()
            Path(f"crash-{runs}").write_bytes(data)
            return 1
        runs += 1
    print(f"{runs} runs by chance (pip install atheris: guided by coverage)")
    return 0


def mutated(chance: random.Random, start: list[bytes]) -> bytes:
    data = bytearray(chance.choice(start))
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            data[at : at + 1] = bytes((chance.randrange(256),))
        elif kind == 1:
            del data[at : at + chance.randint(1, 16)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randint(1, 8))
        else:
            other = chance.choice(start)
            data[at:at] = other[chance.randrange(len(other) + 1) :][: chance.randint(1, 64)]
    return bytes(data[:LONGEST])


if __name__ == "__main__":
    sys.exit(main())
