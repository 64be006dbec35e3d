"""The control socket: server and client on real Unix sockets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.cli.control_client import send_request
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.daemon import control_socket
from kamstrup_mqtt.daemon.control_socket import (
    ControlError,
    ControlServer,
    control_address,
    format_address,
)


def _health(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"healthy": True, "status": "3 of 4 meters online"}


def _read(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if request["meter"] != "heat":
        raise KamstrupMqttError(f"no meter {request['meter']}")
    return {}


@pytest.fixture(params=["file", "abstract"])
async def address(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    name = str(tmp_path / "c.sock") if request.param == "file" else f"\0km-test-{os.getpid()}"
    server = ControlServer(name, {"health": _health, "read": _read}, timeout=0.3)
    await server.start()
    yield name
    server.close()
    server.close()
    assert not (tmp_path / "c.sock").exists()


async def _raw(address: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


async def test_health_and_read(address: str) -> None:
    answer = await asyncio.to_thread(send_request, address, "health")
    assert answer == {"ok": True, "healthy": True, "status": "3 of 4 meters online"}
    assert await asyncio.to_thread(send_request, address, "read", meter="heat") == {"ok": True}
    with pytest.raises(ControlError, match="no meter water"):
        await asyncio.to_thread(send_request, address, "read", meter="water")
    with pytest.raises(ControlError, match="unknown command; there are health, read"):
        await asyncio.to_thread(send_request, address, "reboot")


@pytest.mark.parametrize("line", [b"{\n", b"\n", b"[]\n", b'{"command": []}\n', b"\xff\n"])
async def test_an_invalid_request_gets_an_error(address: str, line: bytes) -> None:
    assert json.loads(await _raw(address, line))["ok"] is False


async def test_a_line_that_is_too_long_closes_the_connection(address: str) -> None:
    with pytest.raises((ConnectionError, AssertionError)):
        assert await _raw(address, b"x" * 100_000) == b"an answer"


async def test_a_silent_client_is_disconnected(address: str) -> None:
    assert await _raw(address, b"") == b""


async def test_another_user_gets_no_response(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "_peer_uid", lambda _: os.getuid() + 1)
    with pytest.raises(ControlError, match=r"no daemon answers|closed the connection"):
        await asyncio.to_thread(send_request, address, "health")


async def test_the_kernel_reports_the_user_of_the_peer(tmp_path: Path) -> None:
    uids: list[int] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uids.append(control_socket._peer_uid(writer))
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "s"):
        await _raw(str(tmp_path / "s"), b"")
    assert uids == [os.getuid()]
    assert struct.calcsize("3i") == 12  # struct ucred, unix(7)


async def test_only_the_owner_may_connect_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("left by a killed daemon")
    server = ControlServer(str(path), {})
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.close()


async def test_an_unusable_path_is_named(
    tmp_path: Path, expected_logs: list[str], logged: Callable[[], list[str]]
) -> None:
    expected_logs.append("no control socket at")
    server = ControlServer(str(tmp_path / "no" / "control.sock"), {})
    await server.start()
    server.close()
    assert "No such file or directory" in logged()[0]


async def test_a_second_daemon_of_the_instance_logs_why_it_has_no_socket(
    expected_logs: list[str], logged: Callable[[], list[str]]
) -> None:
    expected_logs.append("no control socket at")
    name = f"\0kamstrup-mqtt-second-{os.getpid()}"
    first, second = ControlServer(name, {}), ControlServer(name, {})
    await first.start()
    await second.start()
    second.close()
    first.close()
    assert "another daemon of this user has the same mqtt.instance" in logged()[0]


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no daemon answers at @nobody .*mqtt\.instance"):
        send_request("\0nobody", "health")
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(path)
        silent.listen()
        with pytest.raises(ControlError, match=r"did not answer within 0\.1 s"):
            send_request(path, "health", timeout=0.1)
    assert control_socket.TIMEOUT == 3.0


def test_the_address_is_the_same_on_both_sides() -> None:
    assert control_address({"RUNTIME_DIRECTORY": "/run/a:/run/b"}, "main", 7) == (
        "/run/a/control.sock"
    )
    assert control_address({"STATE_DIRECTORY": "/data"}, "main", 7) == "/data/control.sock"
    if sys.platform == "linux":
        name = control_address({"STATE_DIRECTORY": "/var/lib/x"}, "attic", 7)
        assert name == "\0kamstrup-mqtt-7-attic"
        assert format_address(name) == "@kamstrup-mqtt-7-attic"
    assert format_address("/data/control.sock") == "/data/control.sock"


@pytest.mark.parametrize("bug", [ValueError("our fault"), OSError("our fault"), KeyError("it")])
async def test_an_exception_of_a_handler_is_raised_by_run(tmp_path: Path, bug: Exception) -> None:
    """A programming error ends the process; asyncio would only log it."""

    def broken(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise bug

    name = str(tmp_path / "c.sock")
    server = ControlServer(name, {"health": broken})
    running = asyncio.create_task(server.run())
    await server.start()
    with pytest.raises(ControlError, match="internal error; see the daemon's log"):
        await asyncio.to_thread(send_request, name, "health")
    with pytest.raises(type(bug)):
        await running
    server.close()


async def test_a_result_that_is_not_json_is_a_programming_error(tmp_path: Path) -> None:
    name = str(tmp_path / "c.sock")
    server = ControlServer(name, {"dump": lambda _: {"no": {1, 2}}})
    running = asyncio.create_task(server.run())
    await server.start()
    with pytest.raises(ControlError, match="internal error"):
        await asyncio.to_thread(send_request, name, "dump")
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        await running
    server.close()


async def test_is_answering(address: str, tmp_path: Path) -> None:
    assert control_socket.is_answering(address)
    assert not control_socket.is_answering(str(tmp_path / "nobody"))
    assert not control_socket.is_answering("/run/" + "x" * 200)
