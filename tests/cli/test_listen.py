"""`kamstrup-mqtt listen` against emulated meters on TCP."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from kamstrup_mqtt.emulators.han import make
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_tcp
from tests.support.commandline import command, environment, kamstrup_mqtt

KEY = "000102030405060708090A0B0C0D0E0F"


async def listening(*options: str, **settings: str) -> str:
    """What the command prints until its end, its exit code on the last line."""
    model = settings.pop("model", "kamstrup_han_3phase")
    server = await serve_tcp(
        lambda: make_emulator(model, "han", settings), "127.0.0.1", 0, interval=0.2
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *command("listen", "--port", f"tcp://127.0.0.1:{server.port}", *options),
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    finally:
        await server.close()
    return f"{out.decode()}exit {process.returncode}"


async def test_lists_and_their_values() -> None:
    out = await listening("--duration", "2", "--raw")
    assert "power_import               4187 W" in out
    assert "7e a0 e2 2b 21 13 23 9a" in out
    assert "lists, dropped: nothing" in out
    assert out.endswith("exit 0")


async def test_keys(tmp_path: Path) -> None:
    keys = {"encryption_key": KEY, "authentication_key": KEY[::-1]}
    out = await listening("--duration", "2", **keys)
    assert "dropped: the list is encrypted and there is no key" in out
    assert "wrong_key" in out
    assert out.endswith("exit 1")
    (tmp_path / "ek").write_text(KEY)
    (tmp_path / "ak").write_text(KEY[::-1])
    files = (
        *("--encryption-key-file", str(tmp_path / "ek")),
        *("--authentication-key-file", str(tmp_path / "ak")),
    )
    out = await listening("--duration", "2", *files, **keys)
    assert "frame_counter" in out
    assert out.endswith("exit 0")


async def test_the_parity_verdict() -> None:
    # 2.5 s of silence end a burst on TCP, so the lists must be farther apart
    server = await serve_tcp(
        lambda: make_emulator("kamstrup_han_3phase", "han", {"fault": "parity"}),
        "127.0.0.1",
        0,
        interval=30,
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *command("listen", "--duration", "6"),
            *("--port", f"tcp://127.0.0.1:{server.port}", "--verdict", "3.5"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    finally:
        await server.close()
    assert b"the meter sends 8N1 and is read as 8E1" in out
    assert b"bytes, but no list for" in out
    assert process.returncode == 1


async def test_no_bytes() -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, w: writers.append(w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *command("listen", "--duration", "4"),
        *("--port", f"tcp://127.0.0.1:{port}", "--verdict", "1"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    server.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    assert b"no bytes for" in out
    assert process.returncode == 1


async def test_a_verdict_while_bytes_arrive() -> None:
    out = await listening("--duration", "2.5", "--verdict", "1", fault="fcs")
    assert "bytes, but no list for 1 s (0 lists, dropped: " in out
    assert out.endswith("exit 1")


async def test_a_lost_line_ends_with_the_summary() -> None:
    server = await serve_tcp(
        lambda: make_emulator("kamstrup_han_3phase", "han", {}), "127.0.0.1", 0, interval=0.2
    )
    process = await asyncio.create_subprocess_exec(
        *command("listen", "--port", f"tcp://127.0.0.1:{server.port}"),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    while b"power_import" not in (line := await process.stdout.readline()):
        assert line, "the command ended"
    await server.close()
    out, errors = await process.communicate()
    assert out.splitlines()[-1].endswith(b" lists, dropped: nothing")
    assert errors.startswith(b"kamstrup-mqtt: tcp://127.0.0.1:")
    assert process.returncode == 1


@pytest.mark.parametrize("parity", ["N", "e", "odd", "None"])
def test_parities(parity: str) -> None:
    found = kamstrup_mqtt(
        *("listen", "--port", "tcp://127.0.0.1:9", "--duration", "1", "--parity", parity)
    )
    assert "no parity" not in found.err
    assert "is no parity: write N (none), E or O" in kamstrup_mqtt("listen", "--parity", "8N1").err


def test_wrong_usage(tmp_path: Path) -> None:
    assert "--port is missing" in kamstrup_mqtt("listen").err
    assert kamstrup_mqtt("listen", "--port", "COM1").code == 2
    (tmp_path / "key").write_text("no key")
    for file in ("key", "none"):
        found = kamstrup_mqtt(
            *("listen", "--port", "tcp://127.0.0.1:9"),
            *("--encryption-key-file", str(tmp_path / file)),
        )
        assert (found.code, "--encryption-key-file" in found.err) == (2, True)


def test_decode_takes_keys_from_the_environment() -> None:
    # shared vectors, synthetic_enc_nve_10s_sc30_shortlen's kin: made by the emulated meter
    keys = {"encryption_key": KEY, "authentication_key": KEY[::-1]}
    wire = pushed("kamstrup_han_3phase", keys)
    env = {
        "KAMSTRUP_MQTT_ENCRYPTION_KEY": KEY,
        "KAMSTRUP_MQTT_AUTHENTICATION_KEY": KEY[::-1],
    }
    found = kamstrup_mqtt("decode", "--protocol", "han", "--json", wire, env=env)
    assert found.lines[0]["readings"]["power_import"] == 4187
    assert found.lines[0]["frame"]["energy_scale"] == 10
    aidon = kamstrup_mqtt("decode", "--protocol", "han", "--json", pushed("aidon_3phase", {}))
    assert "energy_scale" not in aidon.lines[0]["frame"]
    assert kamstrup_mqtt("decode", "--protocol", "han", wire).code == 1


def pushed(model: str, settings: dict[str, str]) -> str:
    return make(model, settings).push(datetime(2026, 1, 1, 12, 0, 30)).hex()  # noqa: DTZ001
