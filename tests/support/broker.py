"""A Mosquitto on a free port of the loopback that tests stop, freeze and kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt

POLL_INTERVAL = 0.01
"""Seconds between checks of a condition."""


def mosquitto_program() -> str:
    """Return the path of mosquitto. Raises RuntimeError with what to do if it is missing."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError("mosquitto is missing: apt install mosquitto (make test does it)")
    return found


def free_port() -> int:
    """Return a free TCP port of the loopback."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Block until `condition` is true. Raises AssertionError with `what` after `timeout`."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout:g} s")
        time.sleep(POLL_INTERVAL)


async def eventually(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Wait until `condition` is true. Raises AssertionError with `what` after `timeout`."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout:g} s")
        await asyncio.sleep(POLL_INTERVAL)


class Mosquitto:
    """A broker. Retained messages survive `stop` and `start`, and with `careful` also `kill`.

    A `careful` broker writes all of them to disk at each change, which is slow with thousands.
    """

    def __init__(
        self,
        directory: Path,
        settings: Iterable[str] = (),
        port: int = 0,
        *,
        careful: bool = True,
    ) -> None:
        self.port = port or free_port()
        self.careful = careful
        self.log = directory / "mosquitto.log"
        self._directory = directory
        self._config = directory / "mosquitto.conf"
        self.settings = tuple(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {self._directory}/",
            *(("autosave_on_changes true", "autosave_interval 1") if self.careful else ()),
            "user root" if os.getuid() == 0 else "",
            *(self.settings or ("allow_anonymous true",)),
        ]
        self._config.write_text("\n".join(lines) + "\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [mosquitto_program(), "-v", "-c", str(self._config)], stdout=log, stderr=log
            )
        wait_until(self._accepts, f"mosquitto on port {self.port}")

    def _accepts(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"mosquitto ended: {self.log.read_text(errors='replace')}")
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Stop the broker with SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the broker; connections break."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(number)
        self._process.wait(10)
        self._process = None

    def restart(self) -> None:
        """Restart on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the broker: connections stay open without responses."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running(
    directory: Path, settings: Iterable[str] = (), *, careful: bool = True
) -> Iterator[Mosquitto]:
    """Run a broker."""
    broker = Mosquitto(directory, settings, careful=careful)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@dataclass(slots=True)
class Watcher:
    """A client that receives all messages and publishes on demand.

    seen  topics and payloads in order of arrival
    last  the last payload by topic; an empty one removes the topic, as in the broker
    """

    client: aiomqtt.Client
    seen: list[tuple[str, str]] = field(default_factory=list)
    last: dict[str, str] = field(default_factory=dict)

    async def collect(self) -> None:
        async for message in self.client.messages:
            topic, payload = str(message.topic), bytes(message.payload).decode()
            self.seen.append((topic, payload))
            if payload:
                self.last[topic] = payload
            else:
                self.last.pop(topic, None)

    async def until(self, topic: str, payload: str | None = None, timeout: float = 10.0) -> str:
        """Wait for a message on `topic`, or for exactly `payload`, and return the payload."""
        await eventually(
            lambda: topic in self.last and (payload is None or self.last[topic] == payload),
            f"{topic} = {payload or 'anything'} (now {self.last.get(topic)!r})",
            timeout,
        )
        return self.last[topic]

    def order(self, *topics: str) -> list[str]:
        """Return the given topics in the order of their first messages."""
        firsts = {topic: index for index, (topic, _) in reversed(list(enumerate(self.seen)))}
        return sorted((t for t in topics if t in firsts), key=lambda t: firsts[t])

    async def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        await self.client.publish(topic, payload, qos=1, retain=retain)


@contextlib.asynccontextmanager
async def watching(port: int) -> AsyncIterator[Watcher]:
    """Run a Watcher of all topics of the broker on `port`."""
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("#", qos=1)
        watcher = Watcher(client)
        task = asyncio.create_task(watcher.collect())
        try:
            yield watcher
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await task
