"""Totals that cannot be, behind checksums that are right: none of them reaches a topic.

The whole daemon reads a meter over TCP whose answers are damaged before their checksum is made.
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
from tests.support.fault_rig import daemon_here
from tests.support.history_recorder import recording
from tests.support.mqtt_proxy import proxied
from tests.support.scenario import ROOT

TOTALS = {
    "energy_import": Decimal("44228.00"),
    "energy_export": Decimal("1000.00"),
    "reactive_energy_import": Decimal("6691.66"),
    "reactive_energy_export": Decimal("769.40"),
}
WILDEST = 42949672  # what 32 bits of 10 Wh hold, in kWh
POSSIBLE = Decimal(2)
"""kWh that 3 x 80 A can count while the test runs; whatever is damaged is off by far more."""


@dataclass(slots=True)
class LyingMeter:
    """Sends a list each 50 ms; in a share of them one of the totals is anything at all."""

    share: float = 0.4
    sent: int = 0
    lies: set[Decimal] = field(default_factory=set)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def list(self) -> bytes:
        self.sent += 1
        totals = dict(TOTALS)
        if self.sent > 1 and self.chance.random() < self.share:
            totals |= self.lie()
        settings = {key: f"{value}" for key, value in totals.items()}
        meter = make("kamstrup_han_3phase", {**settings, "hourly": "always"})
        return meter.push(datetime.now())  # noqa: DTZ005 - the meter's clock is the local time

    def lie(self) -> dict[str, Decimal]:
        """Each value once: two that agree would be believed, which is another promise."""
        key = self.chance.choice(sorted(TOTALS))
        while True:
            value = Decimal(self.chance.randrange(WILDEST * 100)) / 100
            if self.chance.random() < 0.3:  # one bit of the register
                count = int(TOTALS[key] * 100) ^ 1 << self.chance.randrange(9, 32)
                value = Decimal(count) / 100
            if value not in self.lies and abs(value - TOTALS[key]) > POSSIBLE:
                self.lies.add(value)
                return {key: value}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(self.list())
                await writer.drain()
                await asyncio.sleep(0.05)
        except OSError:
            pass
        finally:
            writer.close()


@slow
@pytest.mark.timeout(1200)
async def test_a_total_outside_of_the_band_reaches_no_topic(
    tmp_path: Path,
    expected_logs: list[str],
    figures: Callable[[str], None],
) -> None:
    expected_logs += ["is less than the last accepted", "is more than the meter can have counted"]
    expected_logs += ["the bridge closed the connection", "energy"]
    liar = LyingMeter()
    lies = min(25 * rounds(4), 3000)
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    entry = {"id": "liar", "name": "Liar", "protocol": "han", "energy_scale": 10}
    entry |= {"model": "kamstrup_han_3phase", "port": f"tcp://127.0.0.1:{port}"}
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        async with (
            proxied(broker.port) as proxy,
            recording(broker.port) as recorder,
            watching(broker.port) as watcher,
            daemon_here(tmp_path, [entry], proxy, "offline"),
        ):
            await watcher.until(f"{ROOT}/liar/state/hourly", timeout=20)
            await eventually(lambda: len(liar.lies) >= lies, "lies", 1000)
            liar.share = 0.0
            mark = liar.sent
            await eventually(lambda: liar.sent > mark + 20, "the truth again", 20)
            await eventually(lambda: len(recorder.seen) > liar.sent, "records", 60)
            states = [p for t, p in watcher.seen if t == f"{ROOT}/liar/state/hourly"]
            records = [json.loads(payload, parse_float=Decimal) for payload in recorder.seen]
            told = [json.loads(payload, parse_float=Decimal) for payload in states]
            told += [record["readings"] for record in records if record["kind"] == "hourly"]
            found = {
                (key, value)
                for values in told
                for key, value in values.items()
                if key in TOTALS and value is not None
            }
            server.close()
    wrong = {(key, value) for key, value in found if value != TOTALS[key]}
    assert not wrong, sorted(wrong)[:5]
    assert {key for key, _ in found} == set(TOTALS)
    figures(f"{len(liar.lies)} impossible totals in {liar.sent} lists; none was told")
