"""A broker, the daemon and meters, each a process of its own on the loopback; what they use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import ROOT

READY_WITHIN = 60.0
_PAGE = resource.getpagesize()


def free_port() -> int:
    """A TCP port of the loopback that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory that goes away."""
    with tempfile.TemporaryDirectory(prefix="kamstrup-bench-") as path:
        yield Path(path)


@contextlib.contextmanager
def broker(place: Path) -> Iterator[int]:
    """A Mosquitto that writes nothing; its port."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise RuntimeError("mosquitto is missing: apt install mosquitto")
    port = free_port()
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence false",
        "log_type none",
        "max_queued_messages 0",
        "set_tcp_nodelay true",
    ]
    config = place / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    with _process(program, "-c", str(config)):
        end = time.monotonic() + READY_WITHIN
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > end:
                raise RuntimeError("mosquitto does not listen")
            time.sleep(0.02)
        yield port


def compiled() -> dict[str, str]:
    """The environment, in which modules stay compiled, as those of an installed package are."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def _process(*command: str, **keywords: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, cwd=ROOT, **keywords)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon as a process: what it uses, from /proc."""

    pid: int
    seconds_to_ready: float

    @property
    def cpu(self) -> float:
        """CPU seconds so far, of all threads."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    @property
    def rss(self) -> int:
        """Bytes that are resident."""
        return rss(self.pid)


def rss(pid: int) -> int:
    """Bytes of a process that are resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


@contextlib.contextmanager
def daemon(
    place: Path,
    mqtt_port: int,
    meters: Sequence[Mapping[str, Any]],
    **options: Any,
) -> Iterator[Daemon]:
    """The daemon, from READY on."""
    config = {"mqtt": {"host": "127.0.0.1", "port": mqtt_port}, "meters": list(meters), **options}
    place.mkdir(exist_ok=True)
    (place / "config.yaml").write_text(json.dumps(config))
    path = str(place / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(READY_WITHIN)
        environ = {
            **compiled(),
            "NOTIFY_SOCKET": path,
            "STATE_DIRECTORY": str(place / "state"),
            "RUNTIME_DIRECTORY": str(place),
        }
        started = time.perf_counter()
        with (
            (place / "daemon.log").open("a") as log,
            _process(
                *(sys.executable, "-m", "kamstrup_mqtt", "run", "-c", str(place / "config.yaml")),
                env=environ,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            while b"READY=1" not in notify.recv(4096):
                pass
            yield Daemon(process.pid, time.perf_counter() - started)
    Path(path).unlink()


def meter(id_: str, port: str) -> dict[str, Any]:
    """A HAN meter's entry in the configuration."""
    return {
        "id": id_,
        "name": id_,
        "protocol": "han",
        "model": "kamstrup_han_3phase",
        "port": port,
        "energy_scale": 10,
    }


@contextlib.contextmanager
def tcp_meters(count: int, *arguments: str) -> Iterator[tuple[list[int], subprocess.Popen[str]]]:
    """`bench.meters`: meters on TCP ports that push; a line on its stdin lets them begin."""
    with _process(
        *(sys.executable, "-m", "bench.meters", "--count", str(count), *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process


def ask(process: subprocess.Popen[str], line: str = "") -> Any:
    """Say something to `bench.meters`; its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(line, file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


@contextlib.asynccontextmanager
async def subscriber(
    port: int, topic: str
) -> AsyncIterator[asyncio.Queue[tuple[float, str, bytes]]]:
    """What comes on a topic: monotonic time, topic, payload."""
    import aiomqtt

    queue: asyncio.Queue[tuple[float, str, bytes]] = asyncio.Queue()

    async def collect(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            assert isinstance(payload, bytes)
            queue.put_nowait((time.monotonic(), str(message.topic), payload))

    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        task = asyncio.create_task(collect(client))
        try:
            yield queue
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def quiet(queue: asyncio.Queue[Any]) -> None:
    """Forget what came."""
    while not queue.empty():
        queue.get_nowait()


async def until_quiet(queue: asyncio.Queue[Any], seconds: float) -> None:
    """Wait until nothing comes any more, and forget it."""
    while True:
        try:
            async with asyncio.timeout(seconds):
                await queue.get()
        except TimeoutError:
            return
