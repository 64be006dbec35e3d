"""The statements of SECURITY.md, checked on a running daemon."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker import eventually, running, watching
from tests.support.daemon import Meter, daemon, emulated
from tests.support.documents import ROOT, blocks

SECRET = "hunter2-7f3a"
METER = Meter(
    id="main",
    protocol="han",
    model="kamstrup_han_3phase",
    options={"energy_scale": 10},
    push_interval=0.2,
)


def access_list() -> str:
    """The example in docs/security.md."""
    found = blocks("docs/security.md")
    return next(block.text for block in found if block.text.startswith("user "))


def settings(directory: Path) -> list[str]:
    """A broker where the daemon has the rights of the example, and anonymous clients have all."""
    passwords, access = directory / "passwords", directory / "access"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "kamstrup", SECRET], check=True)
    for path in (passwords,):
        path.chmod(0o600)
    access.write_text("topic readwrite #\n\n" + access_list())
    access.chmod(0o600)
    return ["allow_anonymous true", f"password_file {passwords}", f"acl_file {access}"]


def listening(pid: int) -> list[str]:
    """The TCP addresses on which the process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        target = link.readlink().name if link.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        for line in lines:
            fields = line.split()
            if fields[9] in inodes and fields[3] in ("0A", "07"):
                found.append(f"{table} {fields[1]}")
    return found


def no_core(pid: int) -> bool:
    limits = Path(f"/proc/{pid}/limits").read_text()
    kept = int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16)
    return kept == 0 and re.search(r"Max core file size +0 ", limits) is not None


def files_with(secret: str, directory: Path) -> list[str]:
    return [
        str(path)
        for path in directory.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


async def test_minimal_rights_no_open_port_no_core_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "daemon").mkdir()
    with running(tmp_path / "broker", settings(tmp_path / "broker")) as broker:
        async with (
            emulated(METER, tmp_path) as entry,
            daemon(tmp_path / "daemon", MQTT_SECRET=SECRET) as process,
            watching(broker.port) as watcher,
        ):
            mqtt = {
                "host": "127.0.0.1",
                "port": broker.port,
                "username": "kamstrup",
                "password": "${MQTT_SECRET}",
            }
            process.configure(mqtt, entry)
            # the most detailed log
            text = process.config.read_text()
            process.config.write_text(text.rstrip()[:-1] + ', "log_level": "debug"}')
            await process.start()
            # the broker accepts everything that the daemon publishes
            await watcher.until("kamstrup/main/bridge/status", "online")
            await watcher.until("kamstrup/main/main/state/live")
            await watcher.until("kamstrup/main/main/history")
            await watcher.until("homeassistant/device/kamstrup_main_main/config")
            await eventually(lambda: "readings arrive" in process.log, "in the log")
            assert listening(process.pid) == []
            assert no_core(process.pid)
            command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()  # noqa: ASYNC240
            assert SECRET.encode() not in command_line
            code, output = await process.command("health", "--json")
            assert code == 0
            assert SECRET not in output
            assert await process.end() == 0
            assert not [payload for _, payload in watcher.seen if SECRET in payload]
            assert files_with(SECRET, tmp_path / "daemon") == []


@pytest.mark.skipif(
    Path("/proc/sys/kernel/core_pattern").read_text()[:1] in ("|", "/"),
    reason="cores go elsewhere on this machine",
)
@pytest.mark.parametrize("command", ["models", None])
def test_a_core_dump_contains_no_memory(tmp_path: Path, command: str | None) -> None:
    """A kernel that pipes cores to a program ignores the limit. Without the daemon's setting, the
    core contains the secret."""
    program = f"""
import os, resource
from kamstrup_mqtt import cli
open("/proc/self/coredump_filter", "w").write("33")  # the default of the kernel
secret = "hunter2-" + str(7000 + 133)
if {command!r} is not None:
    cli.main([{command!r}])
most = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
os.abort()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGABRT
    cores = list(tmp_path.iterdir())
    if not cores:
        pytest.skip("this machine writes no core dumps")
    assert (b"hunter2-7133" in cores[0].read_bytes()) is (command is None)


def test_the_units_allow_no_core() -> None:
    for name in ("kamstrup-mqtt.service", "kamstrup-mqtt@.service"):
        assert "\nLimitCORE=0\n" in (ROOT / "systemd" / name).read_text()
