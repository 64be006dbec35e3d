"""`kamstrup-mqtt check` with real configurations, TCP ports and brokers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import broker
from tests.support.commandline import kamstrup_mqtt

EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.yaml"


def write(folder: Path, port: int, mqtt: int, more: str = "") -> str:
    path = folder / "c.yaml"
    path.write_text(
        f"mqtt: {{host: 127.0.0.1, port: {mqtt}}}\nmeters:\n"
        f"  - {{name: Heat, protocol: kmp, model: multical_403, port: tcp://127.0.0.1:{port}{more}}}\n"
    )
    return str(path)


@pytest.fixture
def bridge() -> Iterator[int]:
    """An open TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_example_is_valid() -> None:
    done = kamstrup_mqtt("check", "-c", str(EXAMPLE))
    assert (done.code, done.err) == (0, "")
    assert "config.example.yaml: valid" in done.out
    assert "broker: localhost:1883, topics kamstrup/main/..." in done.out
    rows = {line.split()[0]: line for line in done.out.splitlines()}
    assert "kmp (1200 8N2)" in rows["district_heating"]
    assert "3600 s" in rows["district_heating"]
    assert "tcp://192.168.1.20:2002" in rows["electricity"]
    assert "sends by itself" in rows["main_meter"]
    assert rows["main_meter"].endswith("and all others that arrive")


def test_every_error_is_printed_with_its_position(tmp_path: Path) -> None:
    done = kamstrup_mqtt("check", "-c", write(tmp_path, 1, 1, ", intervall: 5"))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        f"{tmp_path}/c.yaml:3:79: meters[0].intervall: unknown key; did you mean interval? allowed:"
    )


def test_a_missing_file() -> None:
    done = kamstrup_mqtt("check", "-c", "none.yaml")
    assert done.code == 2
    assert done.err == "none.yaml: no such file; start with a copy of config.example.yaml\n"


def test_a_warning(tmp_path: Path) -> None:
    done = kamstrup_mqtt("check", "-c", write(tmp_path, 1, 1, ", interval: 10s"))
    assert done.code == 0
    assert done.err.startswith("warning: ")
    assert "drains the battery" in done.err


def test_connect(tmp_path: Path, bridge: int) -> None:
    with broker.running(tmp_path) as mosquitto:
        done = kamstrup_mqtt("check", "--connect", "-c", write(tmp_path, bridge, mosquitto.port))
    assert (done.code, done.err) == (0, "")
    assert f"tcp://127.0.0.1:{bridge}: opened" in done.out
    assert "broker: published to kamstrup/main/bridge/check and read it back" in done.out


def test_connect_to_closed_ports(tmp_path: Path) -> None:
    port, mqtt = broker.free_port(), broker.free_port()
    done = kamstrup_mqtt("check", "--connect", "-c", write(tmp_path, port, mqtt))
    assert done.code == 1
    assert len(done.err.splitlines()) == 2
    assert all(line.startswith("failed: ") for line in done.err.splitlines())
    assert f"127.0.0.1:{port}" in done.err
    assert f"127.0.0.1:{mqtt}" in done.err
