"""Recording on real lines, a pty and TCP: the recording is what the other end saw."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links.address import PortAddress, SerialDevice, TcpBridge
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.links.recording.file_format import (
    LineChange,
    ReceivedBytes,
    RecordedEvent,
    SentBytes,
)
from kamstrup_mqtt.links.recording.recorder import Recorder
from tests.support.ptys import FakeDevice, until

KMP = SerialParams(1200, stopbits=2)
REQUEST = bytes.fromhex("803f1001003c84c90d")


class Recorded(list[RecordedEvent]):
    """Events. The bytes of a meter are joined, because a line may split them anywhere."""

    def received(self, meter: str) -> bytes:
        return b"".join(e.data for e in self if isinstance(e, ReceivedBytes) and e.meter == meter)

    def sent(self, meter: str) -> list[bytes]:
        return [e.data for e in self if isinstance(e, SentBytes) and e.meter == meter]

    def changes(self, meter: str) -> list[str]:
        return [e.event for e in self if isinstance(e, LineChange) and e.meter == meter]


def make_recorder(address: PortAddress, *meters: str) -> tuple[Recorder, Recorded]:
    events = Recorded()
    now = asyncio.get_running_loop().time
    start = now()
    return Recorder(events.append, {address: meters}, lambda: now() - start), events


@pytest.fixture
async def talkative_bridge() -> AsyncIterator[tuple[TcpBridge, list[asyncio.StreamWriter]]]:
    """A bridge that sends bytes as soon as a client connects."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x7e\xa0")
        writers.append(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1]), writers
        for writer in writers:
            writer.close()


async def test_two_meters_share_a_tty_that_is_unplugged(device: FakeDevice) -> None:
    address = SerialDevice(str(device.path))
    tap, events = make_recorder(address, "heat", "water")
    port = Port(address, opener=tap.open, first_backoff=0.0)
    async with port.lease(KMP, holder="heat") as link:
        await link.write(REQUEST)
        assert await device.receive(len(REQUEST)) == REQUEST
        device.send(b"\x40\x3f")
        assert await link.read() == b"\x40\x3f"
        port.mark_success()
    device.send(b"idle")
    await until(lambda: events.received("heat") == b"\x40\x3fidle")
    async with port.lease(SerialParams(9600), holder="water") as link:
        assert link.discard_input() == b"idle"
        await link.write(b"/?!\r\n")
        await link.set_baudrate(300)
        device.send(b"\x06")
        await until(lambda: events.received("water") == b"\x06")
    device.unplug()
    await until(lambda: events.changes("heat")[-1:] == ["lost"])
    with pytest.raises(LinkError):
        async with port.lease(KMP, holder="heat"):
            pass
    device.plug()
    async with port.lease(KMP, holder="heat"):
        pass
    await port.close()
    assert events.sent("heat") == [REQUEST]
    assert events.sent("water") == [b"/?!\r\n"]
    changes = ["opened", "changed", "changed", "lost", "failed", "reopened", "closed"]
    assert events.changes("heat") == events.changes("water") == changes
    changed = [e.params for e in events if isinstance(e, LineChange) and e.event == "changed"]
    assert changed == [SerialParams(9600)] * 2 + [SerialParams(300)] * 2
    lost = next(e for e in events if isinstance(e, LineChange) and e.event == "lost")
    assert lost.state is LinkState.PORT_MISSING
    assert lost.text
    opened = events[0]
    assert isinstance(opened, LineChange)
    assert (opened.params, opened.link, opened.idle_timeout) == (KMP, "serial", 1.0)
    times = [event.at for event in events]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 30


async def test_the_first_bytes_of_a_connection_are_recorded(
    talkative_bridge: tuple[TcpBridge, list[asyncio.StreamWriter]],
) -> None:
    address, writers = talkative_bridge
    tap, events = make_recorder(address, "main")
    link = await tap.open(address, KMP, open_timeout=5.0)
    await until(lambda: len(events) >= 2)
    assert await link.read() == b"\x7e\xa0"
    writers[0].close()
    await until(lambda: events.changes("main")[-1:] == ["lost"])
    await link.close()
    opened = events[0]
    assert isinstance(opened, LineChange)
    assert (opened.event, opened.link, opened.idle_timeout) == ("opened", "tcp", 2.5)
    assert events.received("main") == b"\x7e\xa0"
    assert events.changes("main") == ["opened", "lost"]


async def test_bytes_received_before_the_tap_was_attached(tmp_path: Path) -> None:
    """The kernel may deliver bytes together with the connection."""
    device = FakeDevice(tmp_path / "tty")
    try:
        address = SerialDevice(str(device.path))
        events = Recorded()
        tap = Recorder(
            events.append, {address: ("main",)}, lambda: 0.0, opener=opener_with_early_bytes(device)
        )
        link = await tap.open(address, KMP, open_timeout=5.0)
        assert events.received("main") == b"early"
        await link.close()
    finally:
        device.unplug()


def opener_with_early_bytes(device: FakeDevice):  # type: ignore[no-untyped-def]
    from kamstrup_mqtt.links.open_link import open_link

    async def opener(address, params, **limits):  # type: ignore[no-untyped-def]
        link = await open_link(address, params, **limits)
        device.send(b"early")
        await until(lambda: bool(link._unread))  # type: ignore[attr-defined]
        return link

    return opener


async def test_a_failed_open_is_recorded_for_each_meter_of_the_port() -> None:
    address = SerialDevice("/dev/no-such-port")
    tap, events = make_recorder(address, "heat", "water")
    with contextlib.suppress(LinkError):
        await tap.open(address, KMP, open_timeout=5.0)
    assert [e.meter for e in events] == ["heat", "water"]
    for event in events:
        assert isinstance(event, LineChange)
        assert (event.event, event.state) == ("failed", LinkState.PORT_MISSING)
        assert "/dev/no-such-port does not exist" in (event.text or "")


async def test_a_recorded_tty_is_read_without_pauses(device: FakeDevice) -> None:
    """Otherwise the recorded time would be that of the read, not that of the arrival."""
    address = SerialDevice(str(device.path))
    tap, events = make_recorder(address, "main")
    link = await tap.open(address, SerialParams(300), open_timeout=5.0)
    link.start_continuous()
    link.expect_bytes(200)  # almost seven seconds of the line
    device.send(b"\x7e")
    async with asyncio.timeout(0.4):
        await until(lambda: events.received("main") == b"\x7e")
    await link.close()
