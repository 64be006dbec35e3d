"""The part of a scan that only listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress, SerialDevice, TcpBridge
from kamstrup_mqtt.reading.commissioning.passive_listener import PassiveListener
from kamstrup_mqtt.reading.commissioning.scan_finding import ScanProgress
from tests.support.emulated_meter import emulated_meter
from tests.support.han_recordings import LIVE_1, METER_ID
from tests.support.ptys import FakeDevice

NOISE = b"\x55" * 20


@contextlib.asynccontextmanager
async def repeated(
    payload: Callable[[], bytes], address: str, folder: Path
) -> AsyncIterator[PortAddress]:
    """A device or a bridge that sends what `payload` returns, over and over."""
    fake = FakeDevice(folder / "noisy")
    writers: list[asyncio.StreamWriter] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    async def send() -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                fake.send(payload())
            for writer in writers:
                writer.write(payload())
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    task = asyncio.create_task(send())
    try:
        if address == "device":
            yield SerialDevice(str(fake.path))
        else:
            yield TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        task.cancel()
        for writer in writers:
            writer.close()
        server.close()
        fake.unplug()


@pytest.mark.parametrize(
    ("address", "lines"),
    [("device", ["2400 8N1", "2400 8E1", "2400 8N1"]), ("bridge", ["2400 8N1", "2400 8N1"])],
)
async def test_a_local_port_with_bytes_is_tried_with_either_parity(
    tmp_path: Path, address: str, lines: list[str]
) -> None:
    """A pty shows no parity, and a bridge has a fixed one: the reported settings are checked."""
    progress: list[ScanProgress] = []
    async with repeated(lambda: NOISE, address, tmp_path) as port:
        seconds = 0.2 + 0.4 * (len(lines) - 1)
        listener = PassiveListener(port, seconds, progress.append, first_seconds=0.2)
        assert await listener.listen_first() is None
        assert await listener.listen_to_the_end() is None  # no time is left
    messages = [step.message for step in progress]
    assert [m.split(" at ")[1].split(",")[0] for m in messages if " at " in m] == lines
    assert messages[1] == "bytes arrive unasked; continuing to listen ..."


async def test_a_list_after_noise_is_found_with_the_current_parity(tmp_path: Path) -> None:
    payload = NOISE

    def report(progress: ScanProgress) -> None:
        nonlocal payload
        if progress.message.startswith("bytes arrive unasked"):
            payload = LIVE_1

    async with repeated(lambda: payload, "device", tmp_path) as port:
        finding = await PassiveListener(port, 20.0, report, first_seconds=0.2).listen_first()
    assert finding is not None
    assert finding.line == "2400 8E1"
    assert finding.serial == METER_ID


async def test_a_silent_line_is_left_after_the_first_seconds(tmp_path: Path) -> None:
    fake = FakeDevice(tmp_path / "silent")
    progress: list[ScanProgress] = []
    listener = PassiveListener(
        SerialDevice(str(fake.path)), 60.0, progress.append, first_seconds=0.15
    )
    assert await listener.listen_first() is None
    fake.unplug()
    assert [step.message for step in progress] == ["listening for lists at 2400 8N1, up to 0 s ..."]


async def test_a_pushing_meter_is_found() -> None:
    async with emulated_meter("kamstrup_han_3phase", interval=0.1) as address:
        finding = await PassiveListener(address, 20.0, lambda _: None).listen_first()
    assert finding is not None
    assert (finding.protocol, finding.params, finding.model) == ("han", SerialParams(2400), "auto")
    assert finding.is_pushed
    assert not finding.is_encrypted
    assert finding.serial == "1111111111111111"
    assert "1-1:1.7.0.255" in finding.objects


async def test_an_encrypted_list_is_found_without_values() -> None:
    keys = {"encryption_key": "00" * 16, "authentication_key": "11" * 16}
    async with emulated_meter("kamstrup_han_3phase", interval=0.1, **keys) as address:
        finding = await PassiveListener(address, 20.0, lambda _: None).listen_first()
    assert finding is not None
    assert (finding.is_encrypted, finding.objects) == (True, {})


async def test_a_port_is_not_opened_without_time_left() -> None:
    listener = PassiveListener(TcpBridge("127.0.0.1", 9), 0.0, lambda _: None)
    assert await listener.listen_first() is None
    assert await listener.listen_to_the_end() is None
