"""Emulated meters on TCP and on ptys. The meter here sends back what it receives, reversed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path

import pytest

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators.base import Reply
from kamstrup_mqtt.emulators.server import Server, serve_pty, serve_tcp


class Parrot:
    """Answers a whole line with its letters turned round."""

    serial = SerialParams(1200, stopbits=2)

    def __init__(self) -> None:
        self.buffer = b""

    def receive_data(self, data: bytes) -> list[Reply]:
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\n")
        return [Reply(line[::-1] + b"\n", 300 if line == b"slow" else None) for line in lines]


class Clockwork:
    serial = SerialParams(2400)
    interval = 0.02

    def __init__(self) -> None:
        self.count = 0

    def push(self, now: datetime) -> bytes:
        assert now.tzinfo is None
        self.count += 1
        return b"%d\n" % self.count


class Broken(Clockwork):
    def push(self, now: datetime) -> bytes:
        raise RuntimeError("bug")


Connect = Callable[[Server], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    writers: list[asyncio.StreamWriter] = []

    async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


async def test_a_meter_on_tcp(connect: Connect) -> None:
    server = await serve_tcp(Parrot, "127.0.0.1", 0)
    assert server.address == f"127.0.0.1:{server.port}"
    reader, writer = await connect(server)
    writer.write(b"ab")
    writer.write(b"c\n")
    assert await reader.readline() == b"cba\n"
    await server.close()
    assert await reader.read() == b""
    writer.close()


async def test_every_connection_has_its_own_meter(connect: Connect) -> None:
    server = await serve_tcp(Parrot, "127.0.0.1", 0)
    (reader, writer), (other_reader, other_writer) = await connect(server), await connect(server)
    writer.write(b"half")
    other_writer.write(b"xy\n")
    assert await other_reader.readline() == b"yx\n"
    other_writer.close()
    writer.write(b"\n")
    assert await reader.readline() == b"flah\n"
    writer.close()
    await server.close()


async def test_echo_comes_before_the_answer(connect: Connect) -> None:
    server = await serve_tcp(Parrot, "127.0.0.1", 0, echo=True)
    reader, writer = await connect(server)
    writer.write(b"abc\n")
    assert await reader.readexactly(8) == b"abc\ncba\n"
    writer.close()
    await server.close()


async def test_delay(connect: Connect) -> None:
    server = await serve_tcp(Parrot, "127.0.0.1", 0, delay=0.1)
    reader, writer = await connect(server)
    loop = asyncio.get_running_loop()
    start = loop.time()
    writer.write(b"abc\n")
    await reader.readline()
    assert loop.time() - start >= 0.1
    writer.close()
    await server.close()


async def test_pace_and_change_of_speed(connect: Connect) -> None:
    server = await serve_tcp(Parrot, "127.0.0.1", 0, baud=1200)
    reader, writer = await connect(server)
    loop = asyncio.get_running_loop()
    start = loop.time()
    writer.write(b"x" * 23 + b"\n")
    await reader.readline()
    assert loop.time() - start >= 24 * 11 / 1200  # 8N2: 11 bits a character
    writer.write(b"slow\n")
    await reader.readline()
    start = loop.time()
    writer.write(b"abc\n")
    await reader.readline()
    assert loop.time() - start >= 4 * 11 / 300
    writer.close()
    await server.close()


async def test_lists_are_sent_to_all_connections(connect: Connect) -> None:
    server = await serve_tcp(Clockwork, "127.0.0.1", 0)
    pairs = [await connect(server), await connect(server)]
    for reader, writer in pairs:
        first, second = int(await reader.readline()), int(await reader.readline())
        assert second == first + 1
        writer.write(b"what is this?\n")  # such a meter does not listen
        assert int(await reader.readline()) == second + 1
        writer.close()
    await server.close()


async def test_interval(connect: Connect) -> None:
    server = await serve_tcp(Clockwork, "127.0.0.1", 0, interval=0.15)
    reader, writer = await connect(server)
    await reader.readline()
    start = asyncio.get_running_loop().time()
    await reader.readline()
    assert asyncio.get_running_loop().time() - start > 0.1
    writer.close()
    await server.close()


async def test_a_port_that_is_taken() -> None:
    server = await serve_tcp(Parrot, "127.0.0.1", 0)
    with pytest.raises(OSError, match="address already in use"):
        await serve_tcp(Parrot, "127.0.0.1", server.port)
    await server.close()


async def test_an_error_of_the_emulator_is_raised() -> None:
    server = await serve_tcp(Broken, "127.0.0.1", 0)
    # the first list is made for the first listener
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with pytest.raises(RuntimeError, match="bug"):
        await asyncio.wait_for(server.wait(), 5)
    writer.close()
    await server.close()


async def test_the_first_listener_gets_a_list_at_once() -> None:
    server = await serve_tcp(Clockwork, "127.0.0.1", 0, interval=3600)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(5):
        assert await reader.read(1)
    writer.close()
    await server.close()


async def test_wait_does_not_end_while_the_meter_answers() -> None:
    server = await serve_tcp(Parrot, "127.0.0.1", 0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(server.wait(), 0.01)
    await server.close()


async def line_from(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    while not got.endswith(b"\n"):
        ready = asyncio.Event()
        loop.add_reader(fd, ready.set)
        async with asyncio.timeout(5):
            await ready.wait()
        loop.remove_reader(fd)
        got += os.read(fd, 100)
    return got


async def test_a_meter_on_a_pty(tmp_path: Path) -> None:
    path = tmp_path / "meter"
    path.symlink_to("/dev/none")  # left by one that was killed
    server = await serve_pty(Parrot, path, echo=True)
    assert server.address == str(path)
    for text in (b"abc\n", b"\x11\x13\x04x\r\n"):  # raw: nothing is translated
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        os.write(fd, text)
        got = await line_from(fd)
        if got == text:
            got += await line_from(fd)
        assert got == text + text[-2::-1] + b"\n"
        os.close(fd)  # readers come and go
    await server.close()
    assert not path.is_symlink()


async def test_a_pty_without_reader(tmp_path: Path) -> None:
    server = await serve_pty(Clockwork, tmp_path / "meter", interval=0.001)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(server.wait(), 0.05)
    big = os.open(tmp_path / "meter", os.O_RDWR | os.O_NOCTTY)
    server._write(b"x" * 1_000_000)  # type: ignore[attr-defined]
    server._write(b"y")  # type: ignore[attr-defined]
    os.close(big)
    await server.close()


async def test_a_list_meter_on_a_pty_does_not_listen(tmp_path: Path) -> None:
    server = await serve_pty(Clockwork, str(tmp_path / "meter"))
    fd = os.open(tmp_path / "meter", os.O_RDWR | os.O_NOCTTY)
    os.write(fd, b"hello")
    assert (await line_from(fd)).split()[0].isdigit()
    os.close(fd)
    await server.close()


async def test_a_path_that_cannot_be_created(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    with pytest.raises(FileExistsError):
        await serve_pty(Parrot, taken)
    assert taken.exists()
