"""`python -m tests.soak --hours 24`: asserts at the end that nothing was lost and nothing grew.

The daemon is a process of its own, as in the service; its meters push every 100 ms instead of every
10 s, and every few seconds something breaks: the network, the broker, a bridge, a meter's line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.broker import Mosquitto, eventually, running
from tests.support.daemon import Daemon, daemon
from tests.support.fault_rig import behind_bridges, meters
from tests.support.history_recorder import Recorder, identity
from tests.support.mqtt_proxy import Proxy, proxied
from tests.support.serial_bridge import Bridge

KEPT = 20_000
"""Records of which a second delivery is compared with the first."""
SAMPLE = 5.0


class Judge(list[str]):
    """Takes the place of a recorder's list: judges each payload as it comes and keeps none."""

    def __init__(self) -> None:
        super().__init__()
        self.records = self.repeated = 0
        self.faults: list[str] = []
        self.last: dict[tuple[str, str], int] = {}
        self._hashes: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    def append(self, payload: str) -> None:
        who = meter, boot, seq = identity(payload)
        digest = hashlib.sha256(payload.encode()).digest()
        first = self._hashes.setdefault(who, digest)
        if first != digest:
            self.faults.append(f"{who}: altered")
        while len(self._hashes) > KEPT:
            self._hashes.popitem(last=False)
        before = self.last.get((meter, boot), 0)
        if seq > before + 1:
            self.faults.append(f"{meter} {boot}: {seq} after {before}")
        self.last[meter, boot] = max(seq, before)
        self.records += seq > before
        self.repeated += seq <= before
        serial = json.loads(payload)["serial"]
        if serial != {"first": "1" * 16, "second": "2" * 16}[meter]:
            self.faults.append(f"{who}: {serial}")


class Highest(list[tuple[str, str]]):
    """Takes the place of a proxy's list: of the records only the highest number is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.seq: dict[tuple[str, str], int] = {}

    def append(self, message: tuple[str, str]) -> None:
        topic, payload = message
        if topic.endswith("/history"):
            meter, boot, seq = identity(payload)
            self.seq[meter, boot] = max(seq, self.seq.get((meter, boot), 0))


@dataclass(slots=True)
class Burden:
    """What the daemon takes, over time: kB of memory, descriptors, tasks."""

    samples: list[tuple[int, int, int]] = field(default_factory=list)

    async def sample(self, process: Daemon) -> None:
        proc = Path(f"/proc/{process.pid}")
        status = (proc / "status").read_text()
        memory = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS"))
        code, said = await process.command("health", "--json")
        if code == 0:
            tasks = int(json.loads(said)["tasks"])
            self.samples.append((memory, len(os.listdir(proc / "fd")), tasks))

    def growth(self) -> list[str]:
        """The last quarter against the second: memory may be 10 % + 4 MB more, the others 5."""
        quarter = len(self.samples) // 4
        if quarter < 2:
            return []
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        found = []
        for index, (name, share, more) in enumerate(
            (("memory (kB)", 1.1, 4096), ("descriptors", 1.0, 5), ("tasks", 1.0, 5))
        ):
            was = max(sample[index] for sample in early)
            now = sorted(sample[index] for sample in late)[quarter // 2]
            if now > was * share + more:
                found.append(f"{name}: from {was} to {now}")
        return found


@dataclass(slots=True)
class Stage:
    """What can be broken, and how often each fault was tried."""

    chance: random.Random
    broker: Mosquitto
    proxy: Proxy
    recorder: Recorder
    bridges: dict[str, Bridge]
    tried: Counter[str] = field(default_factory=Counter)

    async def lasts(self, longest: float) -> None:
        await asyncio.sleep(self.chance.uniform(longest / 15, longest))

    @property
    def bridge(self) -> Bridge:
        return self.bridges[self.chance.choice(sorted(self.bridges))]


async def soak(hours: float, directory: Path, seed: int) -> list[str]:
    chance = random.Random(seed)
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        recorder = Recorder(broker.port)
        recorder.seen = judge = Judge()
        await recorder.start()
        async with (
            proxied(broker.port) as proxy,
            meters(directory) as entries,
            behind_bridges(entries) as (bridges, bridged),
            daemon(directory) as process,
        ):
            proxy.published, proxy.acknowledged = Highest(), (accepted := Highest())
            process.configure({"host": "127.0.0.1", "port": proxy.port}, *bridged)
            await process.start()
            stage = Stage(chance, broker, proxy, recorder, bridges)
            burden = await trouble(hours, stage, process)
            await drained(process)
            code = await process.end()
            await asyncio.sleep(1.0)
        await recorder.stop()
    log = process.log
    bad = [line for line in log.splitlines() if " ERROR " in line or "Traceback" in line]
    print(f"{judge.records} records, {judge.repeated} of them again, {len(burden.samples)} samples")
    print(f"faults: {dict(stage.tried)}; reconnects: {log.count('connected to the broker') - 1}")
    print("first and last (kB, descriptors, tasks):", *burden.samples[:1], *burden.samples[-1:])
    ended = [] if code == 0 else [f"exit code {code}"]
    judge.faults += [
        f"{who}: acknowledged up to {seq}, delivered up to {judge.last.get(who, 0)}"
        for who, seq in accepted.seq.items()
        if seq > judge.last.get(who, 0)
    ]
    few = [] if judge.records > 10 * 3600 * hours else ["hardly any records"]
    return [*judge.faults[:5], *burden.growth(), *bad[:5], *ended, *few]


async def trouble(hours: float, stage: Stage, process: Daemon) -> Burden:
    """Break something, repair it, and let it run for a while: every fault before any comes again,
    and in a short soak all of them once at least."""
    burden = Burden()
    end = time.monotonic() + 3600 * hours
    pause = min(25.0, 3600 * hours / len(FAULTS) / 2)
    left: list[Fault] = []
    while time.monotonic() < end or left:
        left = left or stage.chance.sample(FAULTS, len(FAULTS))
        fault = left.pop()
        stage.tried[fault.__name__] += 1
        await fault(stage)
        calm = time.monotonic() + stage.chance.uniform(0.4 * pause, pause)
        while time.monotonic() < min(calm, end):
            await burden.sample(process)
            await asyncio.sleep(SAMPLE)
    return burden


async def reset(stage: Stage) -> None:
    stage.proxy.reset()


async def swallow(stage: Stage) -> None:
    stage.proxy.black = True
    await stage.lasts(15.0)
    stage.proxy.black = False


async def silence(stage: Stage) -> None:
    stage.proxy.silent = True
    await stage.lasts(15.0)
    stage.proxy.silent = False
    stage.proxy.reset()  # what was not acknowledged never will be


async def freeze(stage: Stage) -> None:
    stage.broker.pause()
    await stage.lasts(15.0)
    stage.broker.resume()


async def kill(stage: Stage) -> None:
    stage.proxy.closed = True
    stage.broker.kill()
    stage.proxy.reset()
    await stage.recorder.ended()
    await stage.lasts(5.0)
    stage.broker.start()
    await stage.recorder.start()
    stage.proxy.closed = False


async def bridge_resets(stage: Stage) -> None:
    stage.bridge.reset()


async def bridge_hangs(stage: Stage) -> None:
    bridge = stage.bridge
    bridge.black = True
    await stage.lasts(15.0)
    bridge.black = False


async def bridge_refuses(stage: Stage) -> None:
    bridge = stage.bridge
    bridge.closed = True
    bridge.reset()
    await stage.lasts(5.0)
    bridge.closed = False


async def noise(stage: Stage) -> None:
    bridge = stage.bridge
    bridge.noise = 0.5
    await stage.lasts(10.0)
    bridge.noise = 0.0


Fault = Callable[[Stage], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (
    *(reset, swallow, silence, freeze, kill),
    *(bridge_resets, bridge_hangs, bridge_refuses, noise),
)


async def drained(process: Daemon) -> None:
    """Wait until the daemon has delivered what waited."""
    waiting = [1]

    async def look() -> None:
        while True:
            code, said = await process.command("health", "--json")
            if code == 0:
                waiting[0] = json.loads(said)["history"]["waiting"]
            await asyncio.sleep(1.0)

    looking = asyncio.create_task(look())
    try:
        await eventually(lambda: waiting[0] < 20, "everything is delivered", 300)
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(soak(args.hours, Path(directory), args.seed))
    print("\n".join(found) or "nothing was lost, nothing was altered, nothing grew")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
