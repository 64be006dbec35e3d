"""The daemon in a separate process, and the emulated meters that it reads."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_pty, serve_tcp


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """An emulated meter, on a pty or on TCP."""

    id: str
    protocol: str
    model: str
    pty: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    push_interval: float | None = None


@contextlib.asynccontextmanager
async def emulated(meter: Meter, directory: Path) -> AsyncIterator[dict[str, Any]]:
    """Run the meter. Yields its entry in the configuration."""
    make = functools.partial(make_emulator, meter.model, meter.protocol, meter.settings)
    if meter.pty:
        port = str(directory / f"{meter.id}.tty")
        server = await serve_pty(make, port, interval=meter.push_interval)
    else:
        server = await serve_tcp(make, "127.0.0.1", 0, interval=meter.push_interval)
        port = f"tcp://127.0.0.1:{server.port}"
    try:
        yield {
            "id": meter.id,
            "name": meter.id,
            "protocol": meter.protocol,
            "model": meter.model,
            "port": port,
            **meter.options,
        }
    finally:
        await server.close()


@dataclass(slots=True)
class Daemon:
    """`python -m kamstrup_mqtt run` with its own state and control socket."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def log(self) -> str:
        return (self.directory / "daemon.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def environ(self) -> dict[str, str]:
        directories = {
            "STATE_DIRECTORY": str(self.directory / "state"),
            "RUNTIME_DIRECTORY": str(self.directory),
        }
        return {**os.environ, **directories, **self.environment}

    def configure(self, mqtt: Mapping[str, Any], *meters: Mapping[str, Any]) -> None:
        """Write the configuration (JSON is YAML)."""
        self.config.write_text(json.dumps({"mqtt": mqtt, "meters": meters}))

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run another command with the same environment. Returns exit code and output."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kamstrup_mqtt", *arguments),
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, printed.decode()

    async def start(self) -> None:
        with (self.directory / "daemon.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "kamstrup_mqtt", "run", "-c", str(self.config)),
                env=self.environ,
                stdout=log,
                stderr=log,
            )

    async def end(self, number: signal.Signals = signal.SIGTERM, within: float = 5.5) -> int:
        """Send the signal and return the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), within)


@contextlib.asynccontextmanager
async def daemon(directory: Path, **environment: str) -> AsyncIterator[Daemon]:
    """Provide a daemon that the test starts. It is killed at the end if it still runs."""
    found = Daemon(directory, environment)
    try:
        yield found
    finally:
        if found.process is not None and found.process.returncode is None:
            found.process.kill()
            await found.process.wait()
