"""Serves an emulated meter on a TCP port or a pty."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators.base import Emulator, PolledEmulator, PushingEmulator, Reply

Make: TypeAlias = Callable[[], Emulator]
Write: TypeAlias = Callable[[bytes], None]

CHUNK = 0.05
"""Seconds of line time that are written at once if the line has a speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Behaviour of the line.

    echo      send what was received before the answer, as a badly shaded optical head does
    delay     seconds before an answer
    baud      speed of what the meter sends, None to send it at once
    interval  seconds from list to list; None: the emulator's own
    """

    echo: bool = False
    delay: float = 0.0
    baud: int | None = None
    interval: float | None = None


class _Wire:
    """Sends what the meter sends, in order, at the speed of the line."""

    def __init__(self, write: Write, serial: SerialParams, behaviour: Behaviour) -> None:
        self._write = write
        self._bits = 1 + serial.bytesize + (serial.parity != "N") + serial.stopbits
        self._behaviour = behaviour
        self._baud = behaviour.baud
        self._queue: asyncio.Queue[tuple[float, Reply]] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def put(self, reply: Reply, delay: float = 0.0) -> None:
        self._queue.put_nowait((delay, reply))

    async def _run(self) -> None:
        while True:
            delay, reply = await self._queue.get()
            if delay:
                await asyncio.sleep(delay)
            await self._paced(reply.data)
            if reply.baudrate is not None and self._baud is not None:
                self._baud = reply.baudrate

    async def _paced(self, data: bytes) -> None:
        if self._baud is None:
            self._write(data)
            return
        size = max(1, int(CHUNK * self._baud / self._bits))
        loop = asyncio.get_running_loop()
        start = loop.time()
        for offset in range(0, len(data), size):
            # bytes are there once their last bit has come
            done = min(offset + size, len(data)) * self._bits / self._baud
            await asyncio.sleep(max(0.0, start + done - loop.time()))
            self._write(data[offset : offset + size])

    def stop(self) -> None:
        self._task.cancel()

    async def close(self) -> None:
        self.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class _Session:
    """The line of one reader to a meter that answers requests."""

    def __init__(self, emulator: PolledEmulator, wire: _Wire, behaviour: Behaviour) -> None:
        self._emulator = emulator
        self._wire = wire
        self._behaviour = behaviour

    def receive(self, data: bytes) -> None:
        if self._behaviour.echo:
            self._wire.put(Reply(data))
        for reply in self._emulator.receive_data(data):
            self._wire.put(reply, self._behaviour.delay)


class Server(ABC):
    """A running emulated meter.

    address  "127.0.0.1:4001", or the path of the pty
    """

    address: str
    port: int = 0

    def __init__(self) -> None:
        self._pushing: asyncio.Task[None] | None = None
        self._listened = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the emulator fails, and raise its error. One that only answers never fails."""
        await (self._pushing or asyncio.get_running_loop().create_future())

    async def close(self) -> None:
        """Stop serving."""
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.wait({self._pushing})
        await self._close()

    def _push(self, meter: PushingEmulator, interval: float | None) -> None:
        self._pushing = asyncio.create_task(
            self._push_until_cancelled(meter, interval or meter.interval)
        )

    async def _push_until_cancelled(self, meter: PushingEmulator, interval: float) -> None:
        loop = asyncio.get_running_loop()
        # wait for a listener, so that the first list is not lost
        await self._listened.wait()
        due = loop.time()
        while True:
            # the meter's clock is the local time
            self._send(meter.push(datetime.now()))  # noqa: DTZ005
            due = max(due + interval, loop.time())
            await asyncio.sleep(due - loop.time())

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Send bytes to every connected reader."""

    @abstractmethod
    async def _close(self) -> None: ...


def _polled(emulator: Emulator) -> PolledEmulator | None:
    return None if hasattr(emulator, "push") else emulator


class _TcpServer(Server):
    def __init__(self, make: Make, meter: Emulator, behaviour: Behaviour) -> None:
        super().__init__()
        self._make = make
        self._meter = meter
        self._behaviour = behaviour
        self._wires: dict[asyncio.StreamWriter, _Wire] = {}
        self._server: asyncio.Server | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._connected, host, port)
        name = self._server.sockets[0].getsockname()
        self.port = name[1]
        self.address = f"{host}:{self.port}"
        if _polled(self._meter) is None:
            self._push(self._meter, self._behaviour.interval)  # type: ignore[arg-type]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = _Wire(writer.write, self._meter.serial, self._behaviour)
        self._wires[writer] = wire
        self._idle.clear()
        self._listened.set()
        try:
            emulator = _polled(self._make()) if _polled(self._meter) else None
            session = _Session(emulator, wire, self._behaviour) if emulator else None
            while data := await reader.read(4096):
                if session is not None:
                    session.receive(data)
        except OSError:
            pass  # the other side is gone: so is its meter
        finally:
            del self._wires[writer]
            await wire.close()
            writer.close()
            if not self._wires:
                self._idle.set()

    def _send(self, data: bytes) -> None:
        for wire in self._wires.values():
            wire.put(Reply(data))

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._wires:
            writer.transport.abort()  # its task sees that and ends
        await self._idle.wait()


class _PtyServer(Server):
    """Serves on a pty. Both ends stay open, so that a reader may leave without a hang-up."""

    def __init__(self, meter: Emulator, path: Path, behaviour: Behaviour) -> None:
        super().__init__()
        self._meter = meter
        self._path = path
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        os.set_blocking(self._near, False)
        self._wire = _Wire(self._write, meter.serial, behaviour)
        polled = _polled(meter)
        self._session = _Session(polled, self._wire, behaviour) if polled else None
        self._behaviour = behaviour

    def start(self) -> None:
        device = os.ttyname(self._far)
        try:
            if self._path.is_symlink():
                self._path.unlink()  # left by a meter that was killed
            self._path.symlink_to(device)
        except OSError:
            self._wire.stop()
            os.close(self._near)
            os.close(self._far)
            raise
        self.address = str(self._path)
        self._listened.set()  # a pty does not show when its other end is opened
        asyncio.get_running_loop().add_reader(self._near, self._readable)
        if self._session is None:
            self._push(self._meter, self._behaviour.interval)  # type: ignore[arg-type]

    def _readable(self) -> None:
        try:
            data = os.read(self._near, 4096)
        except BlockingIOError:
            return
        if self._session is not None:
            self._session.receive(data)

    def _write(self, data: bytes) -> None:
        # the buffer is full: without a reader, what a meter sends is lost
        with contextlib.suppress(BlockingIOError):
            os.write(self._near, data)

    def _send(self, data: bytes) -> None:
        self._wire.put(Reply(data))

    async def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._near)
        await self._wire.close()
        os.close(self._near)
        os.close(self._far)
        self._path.unlink(missing_ok=True)


async def serve_tcp(
    make: Make,
    host: str,
    port: int,
    *,
    echo: bool = False,
    delay: float = 0.0,
    baud: int | None = None,
    interval: float | None = None,
) -> Server:
    """Listen on host:port (0: any free port). Raises OSError if that is not possible.

    Every connection gets another meter from `make`; the lists of a pushing meter go to all
    connections.
    """
    behaviour = Behaviour(echo=echo, delay=delay, baud=baud, interval=interval)
    server = _TcpServer(make, make(), behaviour)
    await server.start(host, port)
    return server


async def serve_pty(
    make: Make,
    path: str | Path,
    *,
    echo: bool = False,
    delay: float = 0.0,
    baud: int | None = None,
    interval: float | None = None,
) -> Server:
    """Serve on a pty, whose other end is at `path`, a symbolic link that is removed at the end.

    Raises OSError if `path` cannot be created.
    """
    behaviour = Behaviour(echo=echo, delay=delay, baud=baud, interval=interval)
    server = _PtyServer(make(), Path(path), behaviour)
    server.start()
    return server
