"""`kamstrup-mqtt demo`: the daemon publishes four meters, and nothing is left running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kamstrup_mqtt.cli.demo.published_readings import PublishedReadings, ReadingRow
from kamstrup_mqtt.core.topics import Topics
from tests.support.commandline import command, environment, kamstrup_mqtt

NAMES = ("MULTICAL 403", "685-382 (KMP-ASCII)", "685-382 (IEC 61107)", "HAN, three phases")


def processes_in(folder: Path) -> list[str]:
    """The command lines of the running processes that contain `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in text:
            found.append(text)
    return found


@pytest.mark.timeout(120)
def test_all_four_meters_are_published_and_nothing_is_left_behind(tmp_path: Path) -> None:
    result = kamstrup_mqtt("demo", "--duration", "12", env={"TMPDIR": str(tmp_path)}, limit=60.0)
    assert result.code == 0, result.err
    for name in NAMES:
        assert name in result.out
    assert "heat_energy 0.303 GJ" in result.out  # seed 002
    assert "energy_import 9032 kWh" in result.out  # seed 000
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@contextmanager
def running_demo(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A demo that has shown its first reading; its temporary files are in `folder`."""
    with subprocess.Popen(
        command("demo"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(folder)),
    ) as process:
        assert process.stdout
        while b"MULTICAL 403" not in (line := process.stdout.readline()):
            assert line, "the demo ended"
        yield process


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with running_demo(tmp_path) as process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors.decode()
    assert errors == b""
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.timeout(120)
def test_a_daemon_that_dies_is_reported_with_its_last_log_lines(tmp_path: Path) -> None:
    with running_demo(tmp_path) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"the daemon ended with exit code -9" in errors
    assert b"4 meters" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_a_terminal_shows_one_table(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command("demo", "--duration", "10"),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(tmp_path), TERM="xterm", COLUMNS="80", LINES="24"),
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # Linux: EIO once the other side is closed
                break
        os.close(ours)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    last = shown.decode().rpartition("published readings")[2]  # the last table
    assert "heat_energy 0.303 GJ" in last
    assert "energy_import 44228" in last  # in the last line, so that nothing is cut off


def test_a_broker_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = kamstrup_mqtt("demo", "--mqtt-port", port)
    assert result.code == 1
    assert f"127.0.0.1:{port}" in result.err
    assert "leave out --mqtt-port" in result.err
    assert "Traceback" not in result.err


def test_without_the_extra(tmp_path: Path) -> None:
    (tmp_path / "amqtt.py").write_text("raise ModuleNotFoundError(name='amqtt')\n")
    result = kamstrup_mqtt("demo", env={"PYTHONPATH": str(tmp_path)})
    assert result.code == 2
    assert "pip install 'kamstrup-mqtt[demo]'" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "args", [("--duration", "0"), ("--duration", "long"), ("--mqtt-port", "70000")]
)
def test_wrong_usage(args: tuple[str, ...]) -> None:
    result = kamstrup_mqtt("demo", *args)
    assert result.code == 2
    assert args[0] in result.err


class TestPublishedReadings:
    """Topics and states are those of docs/topics.md."""

    def make(self) -> tuple[PublishedReadings, list[ReadingRow]]:
        rows: list[ReadingRow] = []
        return PublishedReadings(Topics(), {"heat": "Heat", "han": "HAN"}, rows.append), rows

    def test_units_come_from_discovery_and_numbers_keep_their_digits(self) -> None:
        readings, rows = self.make()
        components = {
            "heat_energy": {"unit_of_measurement": "GJ"},
            "info_code": {"entity_category": "diagnostic"},
            "volume_2": {"unit_of_measurement": "m³", "enabled_by_default": False},
        }
        discovery = json.dumps({"components": components}).encode()
        readings.handle_message("homeassistant/device/kamstrup_main_heat/config", discovery)
        state = (
            b'{"heat_energy": 0.3030, "info_code": 0, "volume_2": null,'
            b' "time": "2026-11-21T03:30:00.000Z"}'
        )
        readings.handle_message("kamstrup/main/heat/state/values", state)
        assert rows == [("03:30:00", "Heat", "heat_energy 0.3030 GJ, info_code 0, volume_2 - m³")]
        assert readings.rows() == [("03:30:00", "Heat", "heat_energy 0.3030 GJ")]
        assert readings.missing_meters == ["HAN"]

    def test_a_state_without_values_is_not_a_reading(self) -> None:
        readings, _ = self.make()
        readings.handle_message(
            "kamstrup/main/han/state/live", b'{"power_import": null, "time": null}'
        )
        assert readings.missing_meters == ["Heat", "HAN"]

    def test_other_topics_and_cleared_messages_are_ignored(self) -> None:
        readings, rows = self.make()
        readings.handle_message("kamstrup/main/heat/state/values", b"")
        readings.handle_message("kamstrup/main/heat/status", b"online")
        readings.handle_message("kamstrup/main/bridge/info", b"{}")
        assert rows == []
