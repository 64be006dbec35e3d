"""`kamstrup-mqtt dump` with a running daemon and without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import eventually, running, watching
from tests.support.commandline import Result, kamstrup_mqtt
from tests.support.daemon import daemon
from tests.support.han_recordings import LIVE_1, LIVE_2

DAMAGED = LIVE_2[:50] + b"\x55" + LIVE_2[51:]
SECRETS = {
    "PASSWORD": "hunter2-7f3a",
    "GPK60": "000102030405060708090a0b0c0d0e0f",
    "GPK61": "f0e0d0c0b0a09080706050403020100a",
    "FLOOR": "seventh-floor",
}


@pytest.fixture
async def pushing() -> AsyncIterator[int]:
    """A meter that alternates between a valid and a damaged list."""
    over = asyncio.Event()
    serving: list[asyncio.Task[None] | None] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while not over.is_set():
                for data in (LIVE_1, DAMAGED):
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0.1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    over.set()
    if tasks := [task for task in serving if task is not None]:
        await asyncio.wait(tasks)


def configuration(port: int, broker: int) -> dict[str, Any]:
    return {
        "mqtt": {
            "host": "127.0.0.1",
            "port": broker,
            "username": "attic-user",
            "password": "${PASSWORD}",
        },
        "meters": [
            {
                "name": "Main on the ${FLOOR}",
                "id": "main",
                "protocol": "han",
                "port": f"tcp://127.0.0.1:{port}",
                "energy_scale": 10,
            },
            {
                "name": "Secret",
                "id": "secret",
                "protocol": "han",
                "port": "tcp://no-such-host.invalid:2003",
                "encryption_key": "${GPK60}",
                "authentication_key_file": "gpk61",
            },
        ],
    }


async def test_with_a_running_daemon(tmp_path: Path, pushing: int) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "gpk61").write_text(SECRETS["GPK61"])
    with running(tmp_path / "broker") as broker:
        async with daemon(tmp_path, **SECRETS) as process, watching(broker.port) as watcher:
            config = configuration(pushing, broker.port)
            process.config.write_text(json.dumps(config))
            await process.start()
            await watcher.until("kamstrup/main/main/state/live")
            await eventually(lambda: "no-such-host.invalid" in process.log, "the bridge's fault")
            file = tmp_path / "dump.json"
            more = ("-c", str(process.config), "-o", str(file))
            code, said = await process.command("dump", *more)
            assert (code, said) == (0, f"{file}: read it before you send it\n")
            text = file.read_text()
            code, printed = await process.command("dump")
            assert code == 0
            assert json.loads(printed)["daemon"] == "running"
            assert await process.end() == 0
    for secret in (*SECRETS.values(), "attic-user", "no-such-host"):
        assert secret.lower() not in (text + printed).lower()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = json.loads(text)
    assert found["daemon"] == "running"
    assert found["version"] == "0.1.0"
    assert found["packages"]["aiomqtt"]
    assert found["python"].startswith("CPython 3.")
    assert found["config"]["mqtt"]["username"] == "********"
    assert found["config"]["meters"][0]["name"] == "Main on the ${FLOOR}"
    main, secret = found["meters"]["main"], found["meters"]["secret"]
    assert (main["link_state"], main["online"]) == ("ok", True)
    assert main["counters"]["frames"] >= 1
    # one damaged byte: the whole list is dropped, and kept for the report
    drop = main["drops"][0]
    assert (drop["reason"], drop["bytes"]) == ("checksum", len(DAMAGED))
    assert bytes.fromhex(drop["hex"]) == DAMAGED
    assert 0 <= drop["seconds_ago"] < 60
    assert abs(datetime.now(UTC) - datetime.fromisoformat(drop["time"])) < timedelta(seconds=60)
    assert len(main["drops"]) <= 20
    assert secret["link_state"] == "port_missing"
    assert "host-1" in secret["last_error"]
    assert found["history"]["spool"] == "offline"


def dump(directory: Path, *more: str, **env: str) -> Result:
    place = {"STATE_DIRECTORY": str(directory), "RUNTIME_DIRECTORY": str(directory)}
    return kamstrup_mqtt("dump", *more, env={**place, **env})


def test_without_a_daemon(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    (tmp_path / "gpk61").write_text(SECRETS["GPK61"])
    text = configuration(2000, 1883)
    text["meters"].append({"name": "Gone", "protocol": "han", "port": "/dev/no-such-tty"})
    text["meters"][0]["serial"] = "5706567000000001"
    config.write_text(json.dumps(text))
    remembered = {
        "units": {"power_import": "W"},
        "readings": {"live": {"time": "2026-11-21T03:30:00.000Z", "values": {"power_import": 7}}},
        "serial": "5706567000000001",
        "model": "auto",
    }
    memory = {"version": 1, "meters": {"main": remembered}}
    (tmp_path / "memory.json").write_text(json.dumps(memory))
    done = dump(tmp_path, "-c", str(config), **SECRETS)
    assert done.code == 0
    assert "without the daemon: no daemon answers at" in done.err
    found = json.loads(done.out)
    for secret in (*SECRETS.values(), "attic-user", "no-such-host", "5706567000000001"):
        assert secret not in done.out + done.err
    assert "no daemon answers" in found["daemon"]
    assert found["meters"]["main"]["readings"] == {"live": "2026-11-21T03:30:00.000Z"}
    assert found["meters"]["main"]["port"] == "a bridge"
    assert found["meters"]["gone"]["port"] == "no such device"
    assert found["meters"]["main"]["identified"] is True


def test_with_an_invalid_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("mqtt: {password: hunter2-7f3a}\nmeters: [{name: A, protocol: kpm}]\n")
    done = dump(tmp_path, "-c", str(config))
    assert done.code == 0
    faults = json.loads(done.out)["config"]["faults"]
    assert "no such protocol; did you mean kmp?" in faults[0]
    assert "hunter2" not in done.out + done.err


def test_without_daemon_and_configuration(tmp_path: Path) -> None:
    done = dump(tmp_path)
    assert done.code == 0
    assert "without a configuration; give it with -c" in done.err
    assert json.loads(done.out)["config"] is None


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_state_file_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text("{}")
    (tmp_path / "memory.json").chmod(0)
    config = tmp_path / "config.yaml"
    config.write_text("meters: [{name: A, protocol: han, port: /dev/ttyS0}]\n")
    done = dump(tmp_path, "-c", str(config))
    assert done.code == 0
    assert "permission denied" in done.err


def test_the_output_file(tmp_path: Path) -> None:
    file = tmp_path / "dump.json"
    file.write_text("mine")
    done = dump(tmp_path, "-o", str(file))
    assert (done.code, file.read_text()) == (2, "mine")
    assert f"{file} already exists; name another file or add --force" in done.err
    assert dump(tmp_path, "-o", str(file), "--force").code == 0
    assert json.loads(file.read_text())["version"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for wrong in ("/no/such/folder/x", "/"):
        done = dump(tmp_path, "-o", wrong)
        assert done.code == 2
        assert "Traceback" not in done.err
    done = dump(tmp_path, "-o", "/dev/full", "--force")
    assert done.code == 2
    assert "/dev/full cannot be written: No space left on device" in done.err


@pytest.mark.parametrize("words", [["dump.json"], ["-c"], ["--meter", "x"], ["--instance"]])
def test_wrong_usage(words: list[str]) -> None:
    done = kamstrup_mqtt("dump", *words)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
