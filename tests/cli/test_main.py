"""The command line as a whole: exit codes, help and error messages."""

from __future__ import annotations

import argparse
import importlib
import subprocess
from importlib.metadata import version

import pytest

from kamstrup_mqtt import cli
from kamstrup_mqtt.core.errors import ConfigError, LinkError
from kamstrup_mqtt.core.model import LinkState
from tests.support.commandline import command, environment, kamstrup_mqtt


@pytest.fixture(autouse=True)
def _no_log_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kamstrup_mqtt.core.log.set_up", lambda **_: None)


def run_raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code if a command raises `error`."""
    module = importlib.import_module("kamstrup_mqtt.cli.models")

    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(module, "run", fail)
    return cli.main(["models"])


def test_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(monkeypatch, ConfigError(["a:1:1: b", "a:2:1: c"])) == 2
    assert capsys.readouterr().err == "a:1:1: b\na:2:1: c\n"


def test_a_link_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(monkeypatch, LinkError(LinkState.BUSY, "/dev/x is busy")) == 1
    assert capsys.readouterr().err == "kamstrup-mqtt: /dev/x is busy\n"


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_raising(monkeypatch, KeyboardInterrupt()) == 130


def test_a_programming_error_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_raising(monkeypatch, ZeroDivisionError())


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_module_and_help(name: str) -> None:
    assert callable(importlib.import_module(f"kamstrup_mqtt.cli.{name}").run)
    done = kamstrup_mqtt(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: kamstrup-mqtt {name} ")


def test_help_lists_every_command() -> None:
    done = kamstrup_mqtt("--help")
    assert done.code == 0
    assert [name for name in cli.COMMANDS if f"\n    {name} " not in done.out] == []


def test_version() -> None:
    assert kamstrup_mqtt("--version").out == version("kamstrup-mqtt") + "\n"


@pytest.mark.parametrize("arguments", [(), ("bake",), ("check",), ("models", "--nonsense")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = kamstrup_mqtt(*arguments)
    assert done.code == 2
    assert done.err.startswith("usage: kamstrup-mqtt")
    assert "Traceback" not in done.err


def test_a_closed_output_pipe() -> None:
    process = subprocess.Popen(
        command("models", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(30) == 1
