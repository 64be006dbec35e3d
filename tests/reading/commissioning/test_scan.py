"""A whole scan of emulated meters."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.core.errors import ConfigError, LinkError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.protocols.kmp import SPEC as KMP
from kamstrup_mqtt.reading.commissioning.register_scan import estimate_hours
from kamstrup_mqtt.reading.commissioning.scan import Scan, ScanOptions
from kamstrup_mqtt.reading.commissioning.scan_finding import ScanProgress, ScanStep
from tests.support.emulated_meter import emulated_meter


def options(**changes: Any) -> ScanOptions:
    return ScanOptions(**{"listen": 0.0, "pause": 0.0, "response_timeout": 0.2, **changes})


async def test_a_kmp_meter_is_named_with_all_that_it_answers() -> None:
    progress: list[ScanProgress] = []
    async with emulated_meter("multical_403") as address:
        finding = await Scan(address, options(response_timeout=None), progress.append).run()
    assert finding is not None
    assert (finding.protocol, finding.line) == ("kmp", "1200 8N2")
    assert (finding.model, finding.serial) == ("multical_403", "123456")
    assert {60, 266, 369, 1004, 404, 675} <= set(finding.objects)
    assert 155 not in finding.objects
    assert [step.step for step in progress[:2]] == [ScanStep.TRY, ScanStep.IDENTIFY]
    last = progress[-1]
    assert last.step is ScanStep.READ_REGISTERS
    assert last.done == last.total
    assert last.answered == len(finding.objects)


@pytest.mark.parametrize(
    ("model", "protocol", "line"),
    [("e685_382", "kmp-ascii", "1200 8E2"), ("e685_382", "iec62056-21", "300 7E1")],
)
async def test_meters_of_other_protocols(
    tmp_path: Path, model: str, protocol: str, line: str
) -> None:
    async with emulated_meter(model, protocol, pty=tmp_path / "meter") as address:
        finding = await Scan(address, options(), lambda _: None).run()
    assert finding is not None
    assert (finding.protocol, finding.line, finding.model) == (protocol, line, model)


async def test_nothing_is_sent_to_a_pushing_meter() -> None:
    progress: list[ScanProgress] = []
    async with emulated_meter("kamstrup_han_3phase", interval=0.1) as address:
        finding = await Scan(address, options(listen=20.0), progress.append).run()
    assert finding is not None
    assert finding.is_pushed
    assert {step.step for step in progress} == {ScanStep.LISTEN}


async def test_a_sleeping_meter_is_not_found() -> None:
    progress: list[ScanProgress] = []
    async with emulated_meter("multical_403", faults=("asleep",)) as address:
        assert await Scan(address, options(response_timeout=0.05), progress.append).run() is None
    assert [step.step for step in progress] == [ScanStep.TRY] * 3


async def test_a_scan_of_all_registers_continues_where_the_last_one_ended(tmp_path: Path) -> None:
    file = tmp_path / "scan.json"
    progress: list[ScanProgress] = []
    async with emulated_meter("kamstrup_382") as address:
        limits = options(awake=0.5, file=file, file_directory=tmp_path)
        first = await Scan(address, limits, progress.append).run()
        done = json.loads(file.read_text())["done"]
        assert 0 < done < 65536
        assert [step.step for step in progress[-2:]] == [ScanStep.STOP, ScanStep.SAVE]
        assert progress[-1].message == f"saved in {file}"
        progress.clear()
        second = await Scan(address, limits, progress.append).run()
    (announced,) = [step for step in progress if " registers are left: about " in step.message]
    assert announced.message.startswith(f"{65536 - done} registers are left")
    assert json.loads(file.read_text())["done"] > done
    assert first is not None
    assert second is not None
    assert set(first.objects) <= set(second.objects)


def test_the_file_is_named_after_the_serial_number(tmp_path: Path) -> None:
    named = options(file_directory=tmp_path)
    assert [file.path for serial in ("4711", None) if (file := named.scan_file(serial))] == [
        tmp_path / "scan-4711.json",
        tmp_path / "scan-unknown.json",
    ]
    assert options().scan_file("4711") is None


async def test_an_invalid_progress_file_stops_the_scan(tmp_path: Path) -> None:
    file = tmp_path / "scan.json"
    file.write_text("[]")
    async with emulated_meter("kamstrup_382") as address:
        with pytest.raises(ConfigError, match="cannot be continued"):
            await Scan(address, options(file=file), lambda _: None).run()
    assert file.read_text() == "[]"


async def test_a_lost_line_keeps_the_finding() -> None:
    def report(progress: ScanProgress) -> None:
        if progress.done:
            meter.cancel()

    async def run_meter() -> None:
        async with emulated_meter("kamstrup_382") as address:
            addresses.set_result(address)
            await asyncio.get_running_loop().create_future()

    addresses: asyncio.Future[PortAddress] = asyncio.get_running_loop().create_future()
    meter = asyncio.create_task(run_meter())
    scan = Scan(await addresses, options(pause=0.2), report)
    with pytest.raises(LinkError):
        await scan.run()
    assert scan.finding is not None
    assert (scan.finding.model, scan.finding.protocol) == ("kamstrup_382", "kmp")


def test_hours_for_all_registers() -> None:
    # 8192 requests of 25 and answers of 10 bytes, 11 bits each at 1200 baud, 0.35 s and the pause
    assert estimate_hours(65536, KMP.serial, 0.5) == pytest.approx(2.664, abs=0.001)
    assert estimate_hours(65536, SerialParams(9600), 0.5) == pytest.approx(2.017, abs=0.001)
