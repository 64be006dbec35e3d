"""`scan` on a port whose meter sends by itself, and `scan` interrupted: the installed command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kamstrup_mqtt.cli.scan import passive
from kamstrup_mqtt.cli.scan.passive import Ear
from kamstrup_mqtt.links.address import SerialDevice, TcpBridge
from tests.support.commandline import command, emulated, environment, kamstrup_mqtt
from tests.support.ptys import FakeDevice

LOOPBACK = ("--listen", "127.0.0.1:0")


def test_a_meter_that_sends_by_itself_is_heard_first(tmp_path: Path) -> None:
    with emulated("kamstrup_han_3phase", *LOOPBACK, "--interval", "0.5") as (_, address):
        result = kamstrup_mqtt("scan", "--port", f"tcp://{address}")
        assert result.code == 0
        assert "trying kmp" not in result.err  # nothing was sent
        block = result.out[result.out.index("meters:") :]
        assert "protocol: han" in block
        assert "model: auto" in block
        file = tmp_path / "config.yaml"
        file.write_text(block, "utf-8")
        assert kamstrup_mqtt("check", "-c", str(file)).code == 0
        found = kamstrup_mqtt("scan", "--port", f"tcp://{address}", "--json")
    told = json.loads(found.out)
    assert (told["protocol"], told["line"], told["model"]) == ("han", "2400 8N1", "auto")
    assert {"power_import", "meter_id"} <= {entry["key"] for entry in told["objects"]}


@pytest.mark.parametrize(
    ("local", "lines"),
    [(True, ["2400 8N1", "2400 8E1", "2400 8N1"]), (False, ["2400 8N1", "2400 8N1"])],
)
async def test_bytes_that_come_unasked_are_listened_to_with_either_parity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool, lines: list[str]
) -> None:
    """A pty shows no parity, and a bridge's is its own: which lines are tried is what is seen."""
    monkeypatch.setattr(passive, "FIRST", 0.2)
    said: list[str] = []
    async with noise(tmp_path) as (device, bridge):
        ear = Ear(device if local else bridge, 0.2 + 0.4 * (len(lines) - 1), said.append)
        assert await ear.first() is None
        assert await ear.last() is None
    heard = [line.split(" at ")[1].split(",")[0] for line in said if " at " in line]
    assert heard == lines
    assert "bytes come unasked; listening on ..." in said


@contextlib.asynccontextmanager
async def noise(tmp_path: Path) -> AsyncIterator[tuple[SerialDevice, TcpBridge]]:
    """A device and a bridge from which 55 comes again and again."""
    fake = FakeDevice(tmp_path / "noisy")
    writers: list[asyncio.StreamWriter] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    async def babble() -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                fake.send(b"\x55" * 20)
            for writer in writers:
                writer.write(b"\x55" * 20)
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    task = asyncio.create_task(babble())
    try:
        port = server.sockets[0].getsockname()[1]
        yield SerialDevice(str(fake.path)), TcpBridge("127.0.0.1", port)
    finally:
        task.cancel()
        for writer in writers:
            writer.close()
        server.close()
        fake.unplug()


def test_an_encrypted_list_asks_for_the_keys(tmp_path: Path) -> None:
    keys = ("--set", f"encryption_key={'00' * 16}", "--set", f"authentication_key={'11' * 16}")
    with emulated("kamstrup_han_3phase", *LOOPBACK, *keys, "--interval", "0.5") as (_, address):
        result = kamstrup_mqtt("scan", "--port", f"tcp://{address}")
    assert result.code == 0
    assert 'encryption_key: "${GPK60}"' in result.out
    assert "GPK60 and GPK61" in result.err


class Terminal:
    """The command on a terminal of its own, as a user has it."""

    def __init__(self, *args: str) -> None:
        self.near, far = pty.openpty()
        self.process = subprocess.Popen(
            command(*args),
            stdin=far,
            stdout=far,
            stderr=far,
            env=environment(),
            start_new_session=True,
        )
        os.close(far)
        self.shown = ""

    def until(self, text: str, timeout: float = 20.0) -> None:
        """Read until `text` is shown."""
        end = time.monotonic() + timeout
        while text not in self.shown:
            ready, _, _ = select.select([self.near], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} was not shown: {self.shown}"
            self.shown += os.read(self.near, 4096).decode()

    def end(self) -> int:
        """What is still shown, and the exit code."""
        code = self.process.wait(10)
        try:
            while select.select([self.near], [], [], 0.2)[0]:
                self.shown += os.read(self.near, 4096).decode()
        except OSError:
            pass  # the far end is closed
        os.close(self.near)
        return code


def interrupt(terminal: Terminal) -> int:
    os.killpg(terminal.process.pid, signal.SIGINT)  # what Ctrl-C does
    return terminal.end()


@pytest.mark.parametrize("shown", ["listening for lists", "trying kmp at 1200"])
def test_ctrl_c_before_anything_answered(tmp_path: Path, shown: str) -> None:
    path = str(tmp_path / "meter")
    listening = () if shown.startswith("listening") else ("--listen", "0")
    with emulated("multical_403", "--fault", "asleep", "--pty", path):
        terminal = Terminal("scan", "--port", path, "--timeout", "0.2", *listening)
        terminal.until(shown)
        assert interrupt(terminal) == 130
    assert "interrupted: no meter had answered yet" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_ctrl_c_in_mid_scan_shows_what_came_and_a_second_call_goes_on(tmp_path: Path) -> None:
    path, record = str(tmp_path / "meter"), tmp_path / "scan.json"
    with emulated("kamstrup_382", "--pty", path):
        args = ("scan", "--port", path, "--listen", "0", "--all", "--resume", str(record))
        args += ("--pause", "0.01", "--timeout", "0.2")
        terminal = Terminal(*args)
        terminal.until(" registers, ")
        assert interrupt(terminal) == 130
        assert "interrupted" in terminal.shown
        assert "Traceback" not in terminal.shown
        assert f"kept in {record}" in terminal.shown
        assert "model: kamstrup_382" in terminal.shown
        done = json.loads(record.read_text())["done"]
        assert 0 < done < 65536
        again = Terminal(*args)
        again.until(f"{65536 - done} registers are left to ask for")
        assert interrupt(again) == 130
        assert json.loads(record.read_text())["done"] >= done


def test_a_bridge_that_goes_in_mid_scan_takes_nothing_with_it() -> None:
    with emulated("kamstrup_382", *LOOPBACK) as (meter, address):
        terminal = Terminal("scan", "--port", f"tcp://{address}", "--listen", "0")
        terminal.until(" registers, ")
        meter.kill()
        code = terminal.end()
    assert code == 1
    assert "kamstrup-mqtt: tcp://127.0.0.1" in terminal.shown  # closed, or reset
    assert "this is what came until then" in terminal.shown
    assert "protocol: kmp" in terminal.shown
