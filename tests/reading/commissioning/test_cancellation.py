"""A cancelled engine releases its port: the port is exclusive and can be opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.han import HanCodec
from kamstrup_mqtt.reading.commissioning.align import Alignment
from kamstrup_mqtt.reading.commissioning.listen import ListenSession
from kamstrup_mqtt.reading.commissioning.scan import Scan, ScanOptions
from tests.support.emulated_meter import emulated_meter

Engine: TypeAlias = Callable[[PortAddress, Callable[[object], None]], Awaitable[object]]


def align(address: PortAddress, report: Callable[[object], None]) -> Awaitable[object]:
    return Alignment(address, registry.find_protocol("kmp"), pause=0.0).run(report)


def listen(address: PortAddress, report: Callable[[object], None]) -> Awaitable[object]:
    return ListenSession(HanCodec(), verdict_seconds=0.1).run(address, SerialParams(2400), report)


def scan(address: PortAddress, report: Callable[[object], None]) -> Awaitable[object]:
    return Scan(address, ScanOptions(listen=0.0), report).run()


async def open_as_soon_as_free(address: PortAddress) -> Link:
    """The open port. A port that was being opened is closed by the thread that opens it."""
    while True:
        try:
            return await open_link(address, SerialParams(1200))
        except LinkError as error:
            if error.state is not LinkState.BUSY:
                raise
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("reports", [1, 2])
@pytest.mark.parametrize("engine", [align, listen, scan])
async def test_the_port_is_free_within_two_seconds(
    tmp_path: Path, engine: Engine, reports: int
) -> None:
    reported = asyncio.Semaphore(0)
    async with emulated_meter("multical_403", pty=tmp_path / "meter") as address:
        task = asyncio.ensure_future(engine(address, lambda _: reported.release()))
        async with asyncio.timeout(10):
            for _ in range(reports):
                await reported.acquire()
        task.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await task
            link = await open_as_soon_as_free(address)
        await link.close()


@pytest.mark.parametrize("engine", [align, listen, scan])
async def test_a_deadline_ends_the_engine_and_frees_the_port(
    tmp_path: Path, engine: Engine
) -> None:
    async with emulated_meter("multical_403", pty=tmp_path / "meter") as address:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await engine(address, lambda _: None)
        async with asyncio.timeout(2):
            link = await open_as_soon_as_free(address)
        await link.close()
