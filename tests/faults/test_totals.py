"""Impossible totals in frames with valid checksums: none of them reaches a topic.

The daemon reads a meter over TCP whose lists are damaged before the checksum is computed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from kamstrup_mqtt.emulators.han import make
from tests.faults import rounds, slow
from tests.support.broker import eventually, running, watching
from tests.support.fault_rig import daemon_in_process
from tests.support.history_recorder import recording
from tests.support.mqtt_proxy import proxied
from tests.support.scenario import ROOT

TOTALS = {
    "energy_import": Decimal("44228.00"),
    "energy_export": Decimal("1000.00"),
    "reactive_energy_import": Decimal("6691.66"),
    "reactive_energy_export": Decimal("769.40"),
}
MAX_TOTAL = 42949672  # 32 bits of 10 Wh, in kWh
POSSIBLE = Decimal(2)
"""kWh that 3 x 80 A can count during the test; damaged totals differ by far more."""

INTERVAL = 0.05
"""Seconds between lists."""


@dataclass(slots=True)
class FaultyMeter:
    """Sends a list each INTERVAL; in a share of them one of the totals is wrong."""

    share: float = 0.4
    sent: int = 0
    wrong_totals: set[Decimal] = field(default_factory=set)
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def list(self) -> bytes:
        self.sent += 1
        totals = dict(TOTALS)
        if self.sent > 1 and self.rng.random() < self.share:
            totals |= self.wrong_total()
        settings = {key: f"{value}" for key, value in totals.items()}
        meter = make("kamstrup_han_3phase", {**settings, "hourly": "always"})
        return meter.push(datetime.now())  # noqa: DTZ005 - the meter's clock is the local time

    def wrong_total(self) -> dict[str, Decimal]:
        """Return a wrong total. Each value is used once, because equal readings are accepted."""
        key = self.rng.choice(sorted(TOTALS))
        while True:
            value = Decimal(self.rng.randrange(MAX_TOTAL * 100)) / 100
            if self.rng.random() < 0.3:  # one bit of the register
                count = int(TOTALS[key] * 100) ^ 1 << self.rng.randrange(9, 32)
                value = Decimal(count) / 100
            if value not in self.wrong_totals and abs(value - TOTALS[key]) > POSSIBLE:
                self.wrong_totals.add(value)
                return {key: value}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(self.list())
                await writer.drain()
                await asyncio.sleep(INTERVAL)
        except OSError:
            pass
        finally:
            writer.close()


@slow
@pytest.mark.timeout(1200)
async def test_a_total_outside_of_the_band_is_not_published(
    tmp_path: Path,
    expected_logs: list[str],
    figures: Callable[[str], None],
) -> None:
    expected_logs += ["is less than the last accepted", "is more than the meter can have counted"]
    expected_logs += ["the bridge closed the connection", "energy"]
    faulty = FaultyMeter()
    count = min(25 * rounds(4), 3000)
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    entry = {"id": "faulty", "name": "Faulty", "protocol": "han", "energy_scale": 10}
    entry |= {"model": "kamstrup_han_3phase", "port": f"tcp://127.0.0.1:{port}"}
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            watching(broker.port) as watcher,
            daemon_in_process(tmp_path, [entry], proxy, "offline"),
        ):
            await watcher.until(f"{ROOT}/faulty/state/hourly", timeout=20)
            await eventually(lambda: len(faulty.wrong_totals) >= count, "wrong totals", 1000)
            faulty.share = 0.0
            mark = faulty.sent
            await eventually(lambda: faulty.sent > mark + 20, "right totals", 20)
            await eventually(lambda: len(recorder.seen) > faulty.sent, "records", 60)
            states = [p for t, p in watcher.seen if t == f"{ROOT}/faulty/state/hourly"]
            records = [json.loads(payload, parse_float=Decimal) for payload in recorder.seen]
            published = [json.loads(payload, parse_float=Decimal) for payload in states]
            published += [record["readings"] for record in records if record["kind"] == "hourly"]
            found = {
                (key, value)
                for values in published
                for key, value in values.items()
                if key in TOTALS and value is not None
            }
            server.close()
    wrong = {(key, value) for key, value in found if value != TOTALS[key]}
    assert not wrong, sorted(wrong)[:5]
    assert {key for key, _ in found} == set(TOTALS)
    figures(
        f"{len(faulty.wrong_totals)} impossible totals in {faulty.sent} lists; none was published"
    )
