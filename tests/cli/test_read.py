"""`kamstrup-mqtt read` on emulated meters on TCP ports and ptys."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.commandline import LIMIT, command, emulated, environment, kamstrup_mqtt

LOOPBACK = ("--listen", "127.0.0.1:0")


def read_json(text: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return result


def test_a_model_over_tcp() -> None:
    # the values of seed 002
    with emulated("multical_403", *LOOPBACK) as (_, address):
        result = kamstrup_mqtt(
            *("read", "--protocol", "kmp", "--model", "multical_403", "--json"),
            *("--port", f"tcp://{address}"),
        )
    assert result.code == 0
    read = read_json(result.out)
    assert set(read) == {"objects", "readings"}
    assert read["readings"]["heat_energy"] == Decimal("0.303")
    assert read["readings"]["temp1"] == Decimal("61.62")
    assert {
        "id": 60,
        "key": "heat_energy",
        "raw": 303,
        "value": Decimal("0.303"),
        "unit": "GJ",
    } in (read["objects"])


def test_a_pty_named_in_the_environment(tmp_path: Path) -> None:
    path = str(tmp_path / "meter.tty")
    with emulated("multical_403", "--pty", path):
        result = kamstrup_mqtt("read", "--protocol", "kmp", env={"KAMSTRUP_MQTT_PORT": path})
    assert result.code == 0
    assert "heat_energy" in result.out
    assert "0.303" in result.out


def test_registers_by_number_including_missing_ones() -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        result = kamstrup_mqtt(
            *("read", "--protocol", "kmp", "--port", f"tcp://{address}", "--json"),
            *("--register", "0x3C", "--register", "86", "--register", "4242"),
        )
        none = kamstrup_mqtt(
            *("read", "--protocol", "kmp", "--port", f"tcp://{address}", "--register", "4242")
        )
    assert result.code == 0
    assert [obj["id"] for obj in read_json(result.out)["objects"]] == [60, 86]
    assert "does not have: 4242" in result.err
    assert none.code == 1
    assert "does not have: 4242" in none.err


def test_type_and_serial_number() -> None:
    with emulated("multical_403", *LOOPBACK, "--set", "serial=6892850") as (_, address):
        result = kamstrup_mqtt(
            *("read", "--protocol", "kmp", "--port", f"tcp://{address}", "--json"),
            *("--type", "--serial"),
        )
    assert result.code == 0
    readings = read_json(result.out)["readings"]
    assert readings["serial_number"] == "6892850"
    assert "meter_type" in readings


@pytest.mark.parametrize("protocol", ["kmp-ascii", "iec62056-21"])
def test_a_685_382(protocol: str) -> None:
    with emulated("e685_382", "--protocol", protocol, *LOOPBACK) as (_, address):
        result = kamstrup_mqtt(
            *("read", "--protocol", protocol, "--port", f"tcp://{address}", "--json")
        )
    assert result.code == 0
    readings = read_json(result.out)["readings"]
    # seed 000
    assert readings["energy_import"] == 9032
    assert readings["energy_import_tariff_1"] == 9031


def test_the_next_list_of_a_han_port() -> None:
    with emulated("kamstrup_han_3phase", *LOOPBACK, "--interval", "0.3") as (_, address):
        result = kamstrup_mqtt("read", "--protocol", "han", "--port", f"tcp://{address}")
    assert result.code == 0
    assert "power_import" in result.out
    assert "10 Wh per count assumed" in result.out


def test_verbose_shows_the_traffic() -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        result = kamstrup_mqtt(
            *("read", "--protocol", "kmp", "--port", f"tcp://{address}", "-v"),
            *("--register", "60"),
        )
    assert result.code == 0
    assert "803f1001003c" in result.err.lower().replace(" ", "")


def test_a_meter_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        result = kamstrup_mqtt(*("read", "--protocol", "kmp", "--port", port, "--timeout", "0.5"))
        han = kamstrup_mqtt("read", "--protocol", "han", "--port", port, "--timeout", "0.5")
    for ended in (result, han):
        assert ended.code == 1
        assert "no bytes were received within 0.5 s" in ended.err
        assert "Traceback" not in ended.err
    assert "head" in result.err
    assert "M-Bus" in han.err


@pytest.mark.parametrize(("protocol", "what"), [("kmp", "response"), ("han", "list")])
def test_invalid_bytes_are_distinguished_from_silence(protocol: str, what: str) -> None:
    def talk() -> None:
        line, _ = server.accept()
        with line, contextlib.suppress(OSError):  # the command closes the connection first
            while True:
                line.sendall(bytes(range(32)))
                over.wait(0.05)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        talker = threading.Thread(target=talk)
        talker.start()
        port = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        ended = kamstrup_mqtt("read", "--protocol", protocol, "--port", port, "--timeout", "1")
        talker.join(LIMIT)
    assert ended.code == 1
    assert f"bytes were received, but no complete {what} within 1 s" in ended.err


def test_ctrl_c_while_waiting() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        subprocess.Popen(
            command(
                *("read", "--protocol", "han"),
                *("--port", f"tcp://127.0.0.1:{silent.getsockname()[1]}"),
            ),
            stderr=subprocess.PIPE,
            env=environment(),
        ) as process,
    ):
        silent.settimeout(LIMIT)
        line, _ = silent.accept()
        with line:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert errors == b""


def test_a_missing_port(tmp_path: Path) -> None:
    result = kamstrup_mqtt("read", "--protocol", "kmp", "--port", str(tmp_path / "ttyUSB7"))
    assert result.code == 1
    assert "ttyUSB7" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--protocol", "kmp"), "--port is missing"),
        (("--protocol", "kmp", "--port", "COM3"), "is not a port"),
        (("--protocol", "mbus", "--port", "/dev/x"), "choose from"),
        (("--protocol", "kmp", "--port", "/dev/x", "--model", "e685_382"), "choose from"),
        (("--protocol", "kmp", "--port", "/dev/x", "--model", "kmp_meter"), "--register"),
        (("--protocol", "kmp", "--port", "/dev/x", "--register", "many"), "--register"),
        (("--protocol", "kmp", "--port", "/dev/x", "--address", "0x1FF"), "one byte"),
        (("--protocol", "kmp", "--port", "/dev/x", "--address", "x"), "one byte"),
        (("--protocol", "han", "--port", "/dev/x", "--address", "1"), "no addresses"),
        (("--protocol", "han", "--port", "/dev/x", "--serial"), "requests of kmp"),
        (("--protocol", "kmp", "--port", "/dev/x", "--energy-scale", "1"), "--energy-scale"),
        (("--protocol", "kmp", "--port", "/dev/x", "--baudrate", "fast"), "a speed in baud"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt("read", *args)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
