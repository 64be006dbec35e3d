"""TCP links on real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links import error_messages, tcp
from kamstrup_mqtt.links.address import TcpBridge
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.links.stream import MAX_UNREAD
from kamstrup_mqtt.links.tcp import TcpLink
from tests.support.ptys import until

LINE = SerialParams(1200, stopbits=2)
HOST = "127.0.0.1"


class Bridge:
    def __init__(self) -> None:
        self.streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )
        self.address = TcpBridge(HOST, 0)


@asynccontextmanager
async def bridge(greeting: bytes = b"", *, close: bool = False) -> AsyncIterator[Bridge]:
    self = Bridge()
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if greeting:
            writer.write(greeting)
        if close:
            writer.close()
        self.streams.put_nowait((reader, writer))

    server = await asyncio.start_server(connected, HOST, 0)
    self.address = TcpBridge(HOST, server.sockets[0].getsockname()[1])
    try:
        yield self
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def test_bytes_are_passed_in_both_directions() -> None:
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        reader, writer = await there.streams.get()
        await link.write(b"\x80\x00\xff")
        assert await reader.readexactly(3) == b"\x80\x00\xff"
        writer.write(b"\x40\x00\xff")
        assert await link.read() == b"\x40\x00\xff"
        assert link.idle_timeout == 2.5
        await link.close()
        assert await reader.read() == b""


async def test_the_socket_detects_a_dead_bridge() -> None:
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        sock = link._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        await link.close()


async def test_the_bridge_sets_the_speed() -> None:
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        with pytest.raises(MeterError, match="the bridge sets the speed"):
            await link.set_baudrate(9600)
        assert link.params == LINE
        await link.configure(SerialParams(300))
        assert link.wire_time(30) == pytest.approx(1.0)
        await link.close()


async def test_drain_waits_for_the_line_behind_the_bridge() -> None:
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await link.write(b"x" * 12)
        await link.drain()
        assert loop.time() - start >= 12 * 11 / 1200
        await link.close()


async def test_connection_refused() -> None:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        address = TcpBridge(HOST, sock.getsockname()[1])
    with pytest.raises(LinkError, match="no program listens there") as error:
        await open_link(address, LINE)
    assert error.value.state is LinkState.REFUSED


async def test_the_last_bytes_are_read_before_the_loss() -> None:
    async with bridge(b"\x40last", close=True) as there:
        link = await open_link(there.address, LINE)
        assert await link.read() == b"\x40last"
        with pytest.raises(LinkError, match="the bridge closed the connection") as error:
            await link.read()
        assert error.value.state is LinkState.REFUSED
        for call in (lambda: link.write(b"x"), link.drain, lambda: link.set_baudrate(300)):
            with pytest.raises(LinkError):
                await call()
        await link.close()


async def test_connection_reset() -> None:
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        _, writer = await there.streams.get()
        # linger 0: close sends a RST
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()
        with pytest.raises(LinkError, match="the connection broke") as error:
            await link.read()
        assert error.value.state is LinkState.PORT_MISSING
        await link.close()


@pytest.mark.parametrize(
    ("greeting", "state", "part"),
    [
        # ser2net 4.3.11 to a second client
        (b"Port already in use\r\n", LinkState.BUSY, "kickolduser: true"),
        (b"Unable to open /dev/ttyUSB0: No such file\r\n", LinkState.REFUSED, "its serial device"),
        # ser2net 4.3.11 with `telnet`
        (bytes.fromhex("ff fb 03 ff fd 03 ff fb 00"), LinkState.REFUSED, "accepter: tcp"),
        (bytes.fromhex("ff fb 01"), LinkState.REFUSED, "uses telnet"),
    ],
)
async def test_messages_of_the_bridge_are_recognised(
    greeting: bytes, state: LinkState, part: str
) -> None:
    async with bridge(greeting) as there:
        link = await open_link(there.address, LINE)
        with pytest.raises(LinkError) as error:
            await link.read()
        assert error.value.state is state
        assert part in str(error.value)
        await link.close()


async def test_a_message_of_the_bridge_in_two_pieces() -> None:
    async with bridge(b"Port alr") as there:
        link = await open_link(there.address, LINE)
        assert await link.read() == b"Port alr"
        _, writer = await there.streams.get()
        writer.write(b"eady in use\r\n")
        with pytest.raises(LinkError, match='the bridge says "Port already in use"'):
            await link.read()
        await link.close()


@pytest.mark.parametrize(
    "head",
    [
        b"/KAM0MC\r\n",
        b"H FE 90",
        bytes.fromhex("7e a0 2c 01 00 01 10"),
        bytes.fromhex("ff fb 80 00"),
        b"",
    ],
)
def test_bytes_of_meters_are_not_taken_for_messages_of_the_bridge(head: bytes) -> None:
    assert error_messages.bridge_message_error(TcpBridge(HOST, 1), head) is None


async def test_only_the_start_of_a_connection_is_searched() -> None:
    async with bridge(b"x" * 300) as there:
        link = await open_link(there.address, LINE)
        _, writer = await there.streams.get()
        got = b""
        while len(got) < 300:
            got += await link.read()
        writer.write(b"Port already in use\r\n")
        assert await link.read() == b"Port already in use\r\n"
        await link.close()


async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(LinkError, match=r"the name bridge\.lan cannot be resolved"):
        await open_link(TcpBridge("bridge.lan", 1), LINE)


async def test_a_name_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[object]:
        gate.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(LinkError, match="no answer; is the bridge switched on") as error:
        await open_link(TcpBridge("bridge.lan", 1), LINE, open_timeout=0.05)
    assert error.value.state is LinkState.PORT_MISSING
    gate.set()


async def test_hosts_without_an_address_or_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: [])
    with pytest.raises(LinkError, match="no address"):
        await open_link(TcpBridge("bridge.lan", 1), LINE)
    error = OSError(113, "No route to host")
    assert str(error_messages.tcp_error(TcpBridge("h", 1), error)) == "tcp://h:1: No route to host"


async def test_the_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        closed = sock.getsockname()
    async with bridge() as there:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*kind, closed), (*kind, (HOST, there.address.port))]
        resolve: Callable[..., object] = lambda *a, **k: found  # noqa: E731
        monkeypatch.setattr(tcp.socket, "getaddrinfo", resolve)
        link = await open_link(TcpBridge("bridge.lan", 1), LINE)
        await link.close()


async def test_bytes_before_the_expected_count_do_not_wake_the_reader() -> None:
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        assert isinstance(link, TcpLink)
        _, writer = await there.streams.get()
        link.expect_bytes(6)
        reading = asyncio.create_task(link.read())
        for piece in (b"ab", b"cd"):
            writer.write(piece)
            await until(lambda piece=piece: link._unread.endswith(piece))  # type: ignore[misc]
            assert not reading.done()
        assert link.last_byte > 0
        writer.write(b"efg")
        assert await asyncio.wait_for(reading, 5) == b"abcdefg"
        writer.write(b"h")  # the hint applied to one read
        assert await asyncio.wait_for(link.read(), 5) == b"h"
        await link.close()


async def test_continuous_reading_applies_back_pressure() -> None:
    sent = bytes(range(256)) * 4096 * 8  # 8 MiB, more than all buffers on the way hold
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        assert isinstance(link, TcpLink)
        link.start_continuous()
        _, writer = await there.streams.get()
        writer.write(sent)
        await until(lambda: link._is_paused)
        assert len(link._unread) <= 2 * MAX_UNREAD
        got = b""
        async with asyncio.timeout(20):
            while len(got) < len(sent):
                got += await link.read()
        assert got == sent
        await link.close()


async def test_a_bridge_lost_during_back_pressure() -> None:
    async with bridge() as there:
        link = await open_link(there.address, LINE)
        assert isinstance(link, TcpLink)
        link.start_continuous()
        _, writer = await there.streams.get()
        writer.write(bytes(4 * MAX_UNREAD))
        await until(lambda: link._is_paused)
        writer.transport.abort()

        async def read_on() -> None:
            while True:
                await link.read()

        with pytest.raises(LinkError):
            await asyncio.wait_for(read_on(), 20)
        await link.close()
