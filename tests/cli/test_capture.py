"""`kamstrup-mqtt capture` of a meter of which every byte is known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.daemon import control_socket
from kamstrup_mqtt.links.recording import file_format
from kamstrup_mqtt.links.recording.file_format import (
    LineChange,
    ReceivedBytes,
    Recording,
    SentBytes,
)
from tests.support.broker import eventually
from tests.support.commandline import command, environment, kamstrup_mqtt
from tests.support.kmp_recordings import (
    CLOCK_REQUEST,
    CLOCK_RESPONSE,
    SERIAL_REQUEST,
    SERIAL_RESPONSE,
    TYPE_REQUEST,
    TYPE_RESPONSE,
)

RESPONSES = {
    CLOCK_REQUEST: CLOCK_RESPONSE,
    SERIAL_REQUEST: SERIAL_RESPONSE,
    TYPE_REQUEST: TYPE_RESPONSE,
}
CONFIG = """
mqtt: {host: broker.attic.lan, username: attic-user, password: hunter2-7f3a}
meters:
  - name: Heat
    protocol: kmp
    model: kmp_meter
    serial: "1"
    port: tcp://127.0.0.1:%d
    interval: 1s
    timing: {first_byte: 0.3, pause: 0.1, tries: 1}
    custom: [{name: Clock, register: 0x03EA}]
  - name: Other
    protocol: han
    port: /dev/no-such-port
"""


class Meter:
    """A meter on a TCP port that answers three requests and keeps all bytes."""

    def __init__(self) -> None:
        self.port = 0
        self.received = b""
        self.sent = b""
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r")
                self.received += request
                answer = RESPONSES.get(request, b"")
                self.sent += answer
                writer.write(answer)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@pytest.fixture
async def meter() -> AsyncIterator[Meter]:
    found = Meter()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    found.hang_up()
    server.close()


def places(directory: Path) -> dict[str, str]:
    """The environment that keeps state and control socket in this directory."""
    return {"STATE_DIRECTORY": str(directory / "state"), "RUNTIME_DIRECTORY": str(directory)}


class Run:
    """The command in its own process and directory."""

    def __init__(self, directory: Path, meter: Meter) -> None:
        self.directory = directory
        self.file = directory / "line.jsonl"
        self.config = directory / "config.yaml"
        self.config.write_text(CONFIG % meter.port)
        # the socket as well: a daemon of this user may run on this machine
        self.environment = places(directory)

    def arguments(self, *more: str, meter: str = "heat") -> list[str]:
        files = ["-c", str(self.config), "-o", str(self.file)]
        return ["capture", *files, "--meter", meter, *more]

    async def start(
        self, *more: str, meter: str = "heat", **kwargs: Any
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command(*self.arguments(*more, meter=meter)),
            env=environment(**self.environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            **kwargs,
        )

    async def to_its_end(self, *more: str, meter: str = "heat") -> tuple[int | None, str]:
        process = await self.start(*more, meter=meter)
        out, err = await process.communicate()
        assert out == b""
        return process.returncode, err.decode()


@pytest.fixture
def run(tmp_path: Path, meter: Meter) -> Run:
    return Run(tmp_path, meter)


def received(found: Recording) -> bytes:
    return b"".join(e.data for e in found.events if isinstance(e, ReceivedBytes))


def sent(found: Recording) -> bytes:
    return b"".join(e.data for e in found.events if isinstance(e, SentBytes))


async def test_a_recording_holds_every_byte_and_no_secret(run: Run, meter: Meter) -> None:
    code, said = await run.to_its_end("--duration", "2.5")
    assert code == 0, said
    found = file_format.read_recording(run.file)
    assert meter.received.count(CLOCK_REQUEST) >= 2
    assert sent(found) == meter.received
    assert received(found).count(CLOCK_RESPONSE) >= 2
    assert meter.sent.startswith(received(found))  # the end may truncate a response
    assert found.meters == ("heat",)
    assert found.end == "the time is over"
    assert 2.5 <= found.length < 10
    assert isinstance(found.events[0], LineChange)
    text = run.file.read_text()
    for secret in ("hunter2", "attic-user", "broker.attic.lan"):
        assert secret not in text + said
    count = len([e for e in found.events if isinstance(e, SentBytes)])
    assert f"heat: {count} requests sent, {len(received(found))} bytes received" in said
    assert "connected to the broker" not in said
    # the state of the daemon is neither read nor created
    assert not (run.directory / "state").exists()


async def test_a_lost_line_is_reopened(run: Run, meter: Meter) -> None:
    process = await run.start("--duration", "30")
    await eventually(lambda: meter.sent.count(CLOCK_RESPONSE) >= 1, "a response")
    meter.hang_up()
    before = len(meter.sent)
    await eventually(lambda: len(meter.sent) > before, "another response")
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    events = [
        e.event for e in file_format.read_recording(run.file).events if isinstance(e, LineChange)
    ]
    assert events[:3] == ["opened", "lost", "reopened"]
    assert events[-1] == "closed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_signal_completes_the_recording(
    run: Run, meter: Meter, number: signal.Signals
) -> None:
    process = await run.start()
    await eventually(lambda: TYPE_REQUEST in meter.received, "a response and the next request")
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 0, err
    found = file_format.read_recording(run.file)
    assert found.end == ("interrupted" if number is signal.SIGINT else "stopped")
    assert received(found).startswith(SERIAL_RESPONSE + CLOCK_RESPONSE)
    assert meter.sent.startswith(received(found))


async def test_a_killed_capture_leaves_a_valid_recording(run: Run, meter: Meter) -> None:
    process = await run.start()
    await eventually(lambda: meter.sent.count(CLOCK_RESPONSE) >= 2, "two responses")
    process.kill()
    await process.wait()
    found = file_format.read_recording(run.file)
    assert found.end is None
    assert received(found).startswith(SERIAL_RESPONSE + CLOCK_RESPONSE)


async def test_a_full_disk(run: Run) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))

    process = await run.start(preexec_fn=small)
    async with asyncio.timeout(20):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert "line.jsonl: File too large; the recording is valid up to here" in err.decode()
    assert "Traceback" not in err.decode()
    found = file_format.read_recording(run.file)
    assert not found.is_truncated
    assert CLOCK_REQUEST in sent(found)


async def test_no_bytes_received(run: Run) -> None:
    code, said = await run.to_its_end("--duration", "0.5", meter="other")
    assert code == 1
    assert "other: 0 requests sent, 0 bytes received" in said
    assert "no bytes were received; the recording is empty" in said
    failed = file_format.read_recording(run.file).events[0]
    assert isinstance(failed, LineChange)
    assert failed.event == "failed"


async def test_an_existing_file_is_not_replaced_without_force(run: Run) -> None:
    run.file.write_text("mine")
    code, said = await run.to_its_end("--duration", "1")
    assert (code, run.file.read_text()) == (2, "mine")
    assert said == f"{run.file} already exists; name another file or add --force\n"
    code, _ = await run.to_its_end("--duration", "1", "--force")
    assert code == 0
    assert file_format.read_recording(run.file).end == "the time is over"


async def test_a_running_daemon_is_refused(run: Run, tmp_path: Path) -> None:
    server = control_socket.ControlServer(str(tmp_path / "control.sock"), {})
    await server.start()
    code, said = await run.to_its_end()
    server.close()
    assert code == 2
    assert f"a daemon is running (it answers at {tmp_path}/control.sock)" in said
    assert not run.file.exists()


async def test_a_locked_state_file_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    first = await run.start("--duration", "20")
    await eventually(run.file.exists, "the first recording")
    run.file = tmp_path / "second.jsonl"
    code, said = await run.to_its_end()
    first.terminate()
    assert await first.wait() in (0, 1)
    assert code == 2
    assert f"another kamstrup-mqtt (process {first.pid}) uses this state file" in said
    assert not run.file.exists()
    # or the next start of the daemon reports that the daemon was killed
    assert (tmp_path / "state" / "memory.lock").read_text() == ""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"--meter": "attic"}, "--meter attic: no such meter; the configuration has heat, other"),
        ({"--duration": "0"}, "give more than 0 seconds"),
        ({"--duration": "an hour"}, "give a number of seconds"),
        ({"-o": "/no/such/folder/x"}, "/no/such/folder/x cannot be written: No such file"),
        ({"-o": "/"}, "/ already exists"),
        ({"-c": "/no/config.yaml"}, "/no/config.yaml: no such file; start with a copy"),
        ({"-o": None}, "the following arguments are required: -o/--output"),
        ({"-c": None}, "the following arguments are required: -c/--config"),
        ({"--meters": "heat"}, "unrecognized arguments: --meters heat"),
        ({"-o": "-"}, "-o -: a recording cannot be written to standard output"),
    ],
)
def test_wrong_usage(tmp_path: Path, change: Mapping[str, str | None], fault: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG % 2)
    options: dict[str, str | None] = {"-c": str(config), "-o": str(tmp_path / "x"), **change}
    words = [word for k, v in options.items() if v is not None for word in (k, v)]
    done = kamstrup_mqtt("capture", *words, env=places(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert fault in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "x").exists()


async def test_a_detected_model_is_recorded_and_replayed(tmp_path: Path) -> None:
    """`model: auto` restarts the app, and the recording continues."""
    from kamstrup_mqtt.emulators.registry import make_emulator
    from kamstrup_mqtt.emulators.server import serve_tcp

    server = await serve_tcp(lambda: make_emulator("multical_403", "kmp", {}), "127.0.0.1", 0)
    config = tmp_path / "config.yaml"
    entry = {"name": "Heat", "protocol": "kmp", "model": "auto"}
    port = f"tcp://127.0.0.1:{server.port}"
    config.write_text(json.dumps({"meters": [{**entry, "port": port, "interval": 2}]}))
    file = tmp_path / "line.jsonl"
    process = await asyncio.create_subprocess_exec(
        *command("capture", "-c", str(config), "-o", str(file), "--duration", "4"),
        env=environment(**places(tmp_path)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    await server.close()
    assert process.returncode == 0, said
    assert b"restarting to read the meter as a multical_403" in said
    # the replay does the same
    done = await asyncio.to_thread(
        kamstrup_mqtt, "replay", str(file), "-c", str(config), "--print", "--speed", "max"
    )
    assert done.code == 0
    assert "restarting to read the meter as a multical_403" in done.err
    last = [line for line in done.lines if line["topic"] == "kamstrup/replay/heat/state/values"]
    assert str(last[-1]["payload"]["heat_energy"]) == "0.303"
    records = [line["payload"] for line in done.lines if line["topic"].endswith("/history")]
    assert len({(record["boot"], record["seq"]) for record in records}) == len(records)
