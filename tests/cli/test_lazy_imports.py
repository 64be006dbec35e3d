"""A command loads only the parts of the program that it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOAD = """
import contextlib, io, sys
from kamstrup_mqtt import cli
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    cli.make_parser([sys.argv[1]]).parse_args([sys.argv[1], "--help"])
print(*sys.modules)
"""


@pytest.mark.parametrize(
    "command", ["scan", "align", "listen", "read", "history", "clock", "decode"]
)
def test_a_command_for_one_meter_loads_neither_configuration_nor_broker(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, command], capture_output=True, check=True, text=True
    )
    modules = done.stdout.split()
    assert f"kamstrup_mqtt.cli.{command}" in modules
    unwanted = ("aiomqtt", "pydantic", "kamstrup_mqtt.daemon", "kamstrup_mqtt.mqtt", "rich")
    assert [name for name in modules if name in unwanted] == []


def test_the_list_of_commands_loads_none_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "--help"], capture_output=True, check=True, text=True
    )
    modules = done.stdout.split()
    assert [name for name in modules if name.startswith("kamstrup_mqtt.cli.")] == []
