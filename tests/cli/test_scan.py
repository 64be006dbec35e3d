"""`kamstrup-mqtt scan`: what it prints, and what it does when it is interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commandline import emulated, kamstrup_mqtt
from tests.support.terminal import Terminal

LOOPBACK = ("--listen", "127.0.0.1:0")


def check_configuration(folder: Path, output: str) -> str:
    """The configuration at the end of the output; `check` must accept it."""
    block = output[output.index("meters:") :]
    file = folder / "config.yaml"
    file.write_text(block, "utf-8")
    assert kamstrup_mqtt("check", "-c", str(file)).code == 0
    return block


def test_a_pushing_meter(tmp_path: Path) -> None:
    with emulated("kamstrup_han_3phase", *LOOPBACK, "--interval", "0.5") as (_, address):
        result = kamstrup_mqtt("scan", "--port", f"tcp://{address}")
        found = kamstrup_mqtt("scan", "--port", f"tcp://{address}", "--json")
    assert result.code == 0
    assert "trying kmp" not in result.err  # nothing was sent
    assert "han at 2400 8N1: a meter that sends by itself, serial number 1111" in result.out
    block = check_configuration(tmp_path, result.out)
    assert "protocol: han" in block
    assert "model: auto" in block
    printed = json.loads(found.out)
    assert (printed["protocol"], printed["line"], printed["model"]) == ("han", "2400 8N1", "auto")
    assert {"power_import", "meter_id"} <= {entry["key"] for entry in printed["objects"]}


def test_encrypted_lists_name_the_keys() -> None:
    keys = ("--set", f"encryption_key={'00' * 16}", "--set", f"authentication_key={'11' * 16}")
    with emulated("kamstrup_han_3phase", *LOOPBACK, *keys, "--interval", "0.5") as (_, address):
        result = kamstrup_mqtt("scan", "--port", f"tcp://{address}")
    assert result.code == 0
    assert 'encryption_key: "${GPK60}"' in result.out
    assert "the two keys, GPK60 and GPK61" in result.err


def test_a_polled_meter_as_json() -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        port = ("--port", f"tcp://{address}")
        result = kamstrup_mqtt("scan", "--listen", "0", *port, "--pause", "0", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert (found["model"], found["serial"]) == ("multical_403", "123456")
    assert {"id": 60, "key": "heat_energy", "value": 0.303, "unit": "GJ"} in found["objects"]


def test_a_polled_meter_as_a_configuration(tmp_path: Path) -> None:
    path = str(tmp_path / "meter")
    with emulated("e685_382", "--protocol", "iec62056-21", "--pty", path):
        result = kamstrup_mqtt(
            "scan", "--listen", "0", "--port", path, "--timeout", "0.1", limit=60
        )
    assert result.code == 0
    assert "model: e685_382" in check_configuration(tmp_path, result.out)


def test_all_registers_until_the_time_limit(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    with emulated("kamstrup_382", *LOOPBACK) as (_, address):
        args = ("scan", "--listen", "0", "--port", f"tcp://{address}", "--pause", "0", "--json")
        args += ("--all", "--awake", "0.01", "--resume", str(record))
        first = kamstrup_mqtt(*args)
        assert first.code == 0
        assert "about 1.5 hours" in first.err
        assert "to spare the meter's battery" in first.err
        assert f"saved in {record}" in first.err
        assert 0 < json.loads(record.read_text())["done"] < 65536
        record.write_text("[]")
        assert kamstrup_mqtt(*args).code == 2


def test_no_meter(tmp_path: Path) -> None:
    path = str(tmp_path / "meter")
    with emulated("multical_403", "--fault", "asleep", "--pty", path):
        result = kamstrup_mqtt(
            "scan", "--listen", "0", "--port", path, "--timeout", "0.05", limit=60
        )
    assert result.code == 1
    assert "no meter answered" in result.err


@pytest.mark.parametrize("shown", ["listening for lists", "trying kmp at 1200"])
def test_ctrl_c_before_a_meter_answers(tmp_path: Path, shown: str) -> None:
    path = str(tmp_path / "meter")
    listening = () if shown.startswith("listening") else ("--listen", "0")
    with emulated("multical_403", "--fault", "asleep", "--pty", path):
        terminal = Terminal("scan", "--port", path, "--timeout", "0.2", *listening)
        terminal.wait_for(shown)
        assert terminal.interrupt() == 130
    assert "interrupted: no meter had answered yet" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_ctrl_c_shows_what_was_found_and_the_next_call_continues(tmp_path: Path) -> None:
    path, record = str(tmp_path / "meter"), tmp_path / "scan.json"
    with emulated("kamstrup_382", "--pty", path):
        args = ("scan", "--port", path, "--listen", "0", "--all", "--resume", str(record))
        args += ("--pause", "0.01", "--timeout", "0.2")
        terminal = Terminal(*args)
        terminal.wait_for(" registers, ")
        assert terminal.interrupt() == 130
        assert "interrupted" in terminal.shown
        assert "Traceback" not in terminal.shown
        assert f"saved in {record}" in terminal.shown
        assert "model: kamstrup_382" in terminal.shown
        done = json.loads(record.read_text())["done"]
        assert 0 < done < 65536
        again = Terminal(*args)
        again.wait_for(f"{65536 - done} registers are left")
        assert again.interrupt() == 130
        assert json.loads(record.read_text())["done"] >= done


def test_a_lost_bridge_prints_the_finding_so_far() -> None:
    with emulated("kamstrup_382", *LOOPBACK) as (meter, address):
        terminal = Terminal("scan", "--port", f"tcp://{address}", "--listen", "0")
        terminal.wait_for(" registers, ")
        meter.kill()
        code = terminal.wait()
    assert code == 1
    assert "kamstrup-mqtt: tcp://127.0.0.1" in terminal.shown  # closed, or reset
    assert "this was found before:" in terminal.shown
    assert "protocol: kmp" in terminal.shown


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--port", "/dev/x", "--listen", "x"), "give a number of minutes"),
        (("--port", "/dev/x", "--awake", "0"), "give more than 0 minutes"),
        (("--port", "/dev/x", "--resume", "x"), "--resume works only together with --all"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt("scan", *args)
    assert result.code == 2
    assert message in result.err
