"""The local control socket: one line of JSON each way, for the same user only.

A request is an object with `command` and its arguments, an answer an object with `ok` (bool) and
either what was asked for or `error` (text).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from kamstrup_mqtt.core.errors import KamstrupMqttError

_LOG = logging.getLogger(__name__)

MAX_LINE = 4096
TIMEOUT = 3.0
"""Seconds for a whole request."""

Handler: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Answers one command; what it returns is merged with `ok: true`. Raises KamstrupMqttError."""


class ControlError(KamstrupMqttError):
    """The daemon could not be asked, or said no."""


def control_address(environ: Mapping[str, str], instance: str, uid: int) -> str:
    """Where the daemon listens and where it is asked: by the same rule on both sides.

    $RUNTIME_DIRECTORY (systemd), else the volume /data (Docker), else a name of Linux's abstract
    namespace (leading NUL), else, where there is none, a file in the user's home.
    """
    runtime = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if runtime:
        return str(Path(runtime) / "control.sock")
    if environ.get("STATE_DIRECTORY") == "/data":
        return "/data/control.sock"
    if sys.platform == "linux":
        return f"\0kamstrup-mqtt-{uid}-{instance}"
    return str(Path.home() / f".kamstrup-mqtt-{instance}.sock")


def format_address(address: str) -> str:
    """The address as people write it."""
    return "@" + address[1:] if address.startswith("\0") else address


class ControlServer:
    """Answers requests until it is closed. Without it the daemon works all the same."""

    def __init__(
        self, address: str, handlers: Mapping[str, Handler], *, timeout: float = TIMEOUT
    ) -> None:
        self._address = address
        self._handlers = handlers
        self._timeout = timeout
        self._server: asyncio.AbstractServer | None = None
        self._bug: Exception | None = None
        self._broken = asyncio.Event()

    async def run(self) -> None:
        """Wait for ever; raises what a handler raised that is no answer, a bug of ours. It is not
        to be lost in the task of one connection."""
        await self._broken.wait()
        assert self._bug is not None
        raise self._bug

    async def start(self) -> None:
        """Listen; where that cannot be, say so and go on."""
        try:
            sock = _listening(self._address)
        except OSError as error:
            _LOG.warning(
                "no control socket at %s (%s): `kamstrup-mqtt health` will not work",
                format_address(self._address),
                "another daemon of this user has the same mqtt.instance"
                if error.errno == errno.EADDRINUSE
                else error.strerror or error,
            )
            return
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_LINE)

    def close(self) -> None:
        """Stop listening and remove the socket's file."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if not self._address.startswith("\0"):
            with contextlib.suppress(OSError):
                Path(self._address).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _peer_uid(writer) == os.getuid():
                async with asyncio.timeout(self._timeout):
                    writer.write(self._answer(await reader.readline()) + b"\n")
                    await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:  # ValueError: a line over MAX_LINE
            _LOG.debug("control: %s", error)
        finally:
            writer.close()

    def _answer(self, line: bytes) -> bytes:
        try:
            return encode(self._ask(line))
        except Exception as bug:  # noqa: BLE001 - not swallowed: `run` raises it
            self._bug = bug
            self._broken.set()
            return encode({"ok": False, "error": "internal error; see the daemon's log"})

    def _ask(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
        except ValueError:
            return {"ok": False, "error": "not a line of JSON"}
        command = request.get("command") if isinstance(request, dict) else None
        handler = self._handlers.get(command) if isinstance(command, str) else None
        if handler is None:
            known = ", ".join(self._handlers)
            return {"ok": False, "error": f"unknown command; there are {known}"}
        try:
            return {"ok": True, **handler(request)}
        except KamstrupMqttError as error:
            return {"ok": False, "error": str(error)}


def encode(answer: Mapping[str, Any]) -> bytes:
    """One line of the socket's protocol, without its end."""
    return json.dumps(answer, ensure_ascii=False).encode()


def is_answering(address: str) -> bool:
    """Whether somebody listens there, of whatever instance or version."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(address)
        except OSError:
            return False
        return True


def _listening(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not address.startswith("\0"):
            # what a killed daemon left; a living one holds the memory's lock and we are not here
            with contextlib.suppress(FileNotFoundError):
                Path(address).unlink()
        before = os.umask(0o177)
        try:
            sock.bind(address)
        finally:
            os.umask(before)
        sock.listen(8)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    """The user on the other end. Where the system does not tell, the file's mode 0600 does."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return os.getuid()
    size = struct.calcsize("3i")
    sock = writer.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, size))
    return int(uid)
