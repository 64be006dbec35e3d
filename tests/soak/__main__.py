"""`python -m tests.soak --hours 24`: checks that no record is lost and that no resource grows.

The daemon runs in a separate process. Its meters push every 100 ms instead of every 10 s. Every few
seconds a fault happens in the network, the broker, a bridge or the line of a meter.
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
from tests.support.fault_rig import bridges_to, emulated_meters
from tests.support.history_recorder import Recorder, record_id
from tests.support.mqtt_proxy import Proxy, proxied
from tests.support.serial_bridge import Bridge

KEPT = 20_000
"""Number of records recordse second delivery is compared with the first."""
SAMPLE_INTERVAL = 5.0
"""Seconds between samples of the resources."""
HEALTH_INTERVAL = 1.0
"""Seconds between requests for the number of waiting records."""


class RecordChecker(list[str]):
    """Replaces the list of a recorder: checks each payload and keeps none."""

    def __init__(self) -> None:
        super().__init__()
        self.records = self.repeated = 0
        self.faults: list[str] = []
        self.last: dict[tuple[str, str], int] = {}
        self._hashes: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    def append(self, payload: str) -> None:
        record = meter, boot, seq = record_id(payload)
        digest = hashlib.sha256(payload.encode()).digest()
        first = self._hashes.setdefault(record, digest)
        if first != digest:
            self.faults.append(f"{record}: altered")
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
            self.faults.append(f"{record}: {serial}")


class HighestNumbers(list[tuple[str, str]]):
    """Replaces the list of a proxy: keeps only the highest number of the records."""

    def __init__(self) -> None:
        super().__init__()
        self.seq: dict[tuple[str, str], int] = {}

    def append(self, message: tuple[str, str]) -> None:
        topic, payload = message
        if topic.endswith("/history"):
            meter, boot, seq = record_id(payload)
            self.seq[meter, boot] = max(seq, self.seq.get((meter, boot), 0))


@dataclass(slots=True)
class ResourceSamples:
    """The daemon's memory in kB, descriptors and tasks over time."""

    samples: list[tuple[int, int, int]] = field(default_factory=list)

    async def sample(self, process: Daemon) -> None:
        proc = Path(f"/proc/{process.pid}")
        status = (proc / "status").read_text()
        memory = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS"))
        code, output = await process.command("health", "--json")
        if code == 0:
            tasks = int(json.loads(output)["tasks"])
            self.samples.append((memory, len(os.listdir(proc / "fd")), tasks))

    def growth(self) -> list[str]:
        """Compare the last quarter with the second. Tolerance: memory 10 % + 4 MB, the others 5."""
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
class Scenario:
    """The parts that can fail, and the number of times of each fault."""

    rng: random.Random
    broker: Mosquitto
    proxy: Proxy
    recorder: Recorder
    bridges: dict[str, Bridge]
    counts: Counter[str] = field(default_factory=Counter)

    async def wait_randomly(self, maximum: float) -> None:
        await asyncio.sleep(self.rng.uniform(maximum / 15, maximum))

    @property
    def bridge(self) -> Bridge:
        return self.bridges[self.rng.choice(sorted(self.bridges))]


async def soak(hours: float, directory: Path, seed: int) -> list[str]:
    chance = random.Random(seed)
    (directory / "broker").mkdir()
    with running(directory / "broker") as broker:
        recorder = Recorder(broker.port)
        recorder.seen = checker = RecordChecker()
        await recorder.start()
        async with (
            proxied(broker.port) as proxy,
            emulated_meters(directory) as entries,
            bridges_to(entries) as (bridges, bridged),
            daemon(directory) as process,
        ):
            proxy.published, proxy.acknowledged = HighestNumbers(), (accepted := HighestNumbers())
            process.configure({"host": "127.0.0.1", "port": proxy.port}, *bridged)
            await process.start()
            scenario = Scenario(chance, broker, proxy, recorder, bridges)
            resources = await cause_faults(hours, scenario, process)
            await wait_until_delivered(process)
            code = await process.end()
            with contextlib.suppress(AssertionError):  # reported below
                await eventually(lambda: not missing(accepted, checker), "the last records", 10)
        await recorder.stop()
    log = process.log
    bad = [line for line in log.splitlines() if " ERROR " in line or "Traceback" in line]
    print(
        f"{checker.records} records, {checker.repeated} repeated, {len(resources.samples)} samples"
    )
    print(
        f"faults: {dict(scenario.counts)}; reconnects: {log.count('connected to the broker') - 1}"
    )
    print(
        "first and last (kB, descriptors, tasks):", *resources.samples[:1], *resources.samples[-1:]
    )
    ended = [] if code == 0 else [f"exit code {code}"]
    checker.faults += missing(accepted, checker)
    few = [] if checker.records > 10 * 3600 * hours else ["too few records"]
    return [*checker.faults[:5], *resources.growth(), *bad[:5], *ended, *few]


def missing(accepted: HighestNumbers, checker: RecordChecker) -> list[str]:
    """Return a message for each meter whose acknowledged records did not all arrive."""
    return [
        f"{meter}: acknowledged up to {seq}, delivered up to {checker.last.get(meter, 0)}"
        for meter, seq in accepted.seq.items()
        if seq > checker.last.get(meter, 0)
    ]


async def cause_faults(hours: float, scenario: Scenario, process: Daemon) -> ResourceSamples:
    """Cause faults with pauses in between: all of them in random order, then all of them again.

    Each fault happens at least once, even in a short run.
    """
    resources = ResourceSamples()
    end = time.monotonic() + 3600 * hours
    pause = min(25.0, 3600 * hours / len(FAULTS) / 2)
    left: list[Fault] = []
    while time.monotonic() < end or left:
        left = left or scenario.rng.sample(FAULTS, len(FAULTS))
        fault = left.pop()
        scenario.counts[fault.__name__] += 1
        await fault(scenario)
        pause_end = time.monotonic() + scenario.rng.uniform(0.4 * pause, pause)
        while time.monotonic() < min(pause_end, end):
            await resources.sample(process)
            await asyncio.sleep(SAMPLE_INTERVAL)
    return resources


async def reset(scenario: Scenario) -> None:
    scenario.proxy.reset()


async def stall(scenario: Scenario) -> None:
    scenario.proxy.is_stalled = True
    await scenario.wait_randomly(15.0)
    scenario.proxy.is_stalled = False


async def drop_acks(scenario: Scenario) -> None:
    scenario.proxy.drops_acks = True
    await scenario.wait_randomly(15.0)
    scenario.proxy.drops_acks = False
    scenario.proxy.reset()  # the dropped acknowledgements never arrive


async def freeze(scenario: Scenario) -> None:
    scenario.broker.pause()
    await scenario.wait_randomly(15.0)
    scenario.broker.resume()


async def kill(scenario: Scenario) -> None:
    scenario.proxy.refuses = True
    scenario.broker.kill()
    scenario.proxy.reset()
    await scenario.recorder.ended()
    await scenario.wait_randomly(5.0)
    scenario.broker.start()
    await scenario.recorder.start()
    scenario.proxy.refuses = False


async def bridge_resets(scenario: Scenario) -> None:
    scenario.bridge.reset()


async def bridge_hangs(scenario: Scenario) -> None:
    bridge = scenario.bridge
    bridge.is_stalled = True
    await scenario.wait_randomly(15.0)
    bridge.is_stalled = False


async def bridge_refuses(scenario: Scenario) -> None:
    bridge = scenario.bridge
    bridge.refuses = True
    bridge.reset()
    await scenario.wait_randomly(5.0)
    bridge.refuses = False


async def noise(scenario: Scenario) -> None:
    bridge = scenario.bridge
    bridge.noise = 0.5
    await scenario.wait_randomly(10.0)
    bridge.noise = 0.0


Fault = Callable[[Scenario], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (
    *(reset, stall, drop_acks, freeze, kill),
    *(bridge_resets, bridge_hangs, bridge_refuses, noise),
)


async def wait_until_delivered(process: Daemon) -> None:
    """Wait until the daemon has delivered the waiting records."""
    waiting = [1]

    async def request_health() -> None:
        while True:
            code, output = await process.command("health", "--json")
            if code == 0:
                waiting[0] = json.loads(output)["history"]["waiting"]
            await asyncio.sleep(HEALTH_INTERVAL)

    requests = asyncio.create_task(request_health())
    try:
        await eventually(lambda: waiting[0] < 20, "all records are delivered", 300)
    finally:
        requests.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await requests


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(soak(args.hours, Path(directory), args.seed))
    print("\n".join(found) or "no record was lost or altered, and no resource grew")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
