"""The local control socket, for the user of the daemon only.

Request and response are one line of JSON each. A request is an object with `command` and its
arguments. A response is an object with `ok` (bool) and either the result or `error` (text).
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
"""Seconds for a request and its response."""

Handler: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Handles a command. Its result is merged with `ok: true`. Raises KamstrupMqttError."""


class ControlError(KamstrupMqttError):
    """The daemon did not respond, or rejected the request."""


def control_address(environ: Mapping[str, str], instance: str, uid: int) -> str:
    """Return the address of the socket, for the server and the client.

    It is in $RUNTIME_DIRECTORY (systemd) or in the volume /data (Docker). Otherwise it is a name in
    the abstract namespace of Linux (leading NUL), and a file in the user's home elsewhere.
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
    """Return the address in readable form, with @ for an abstract name."""
    return "@" + address[1:] if address.startswith("\0") else address


class ControlServer:
    """Serves requests until it is closed. The daemon also works without it."""

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
        """Run until cancelled. Raises the unexpected exception of a handler, a programming error.

        asyncio would only log it in the task of the connection.
        """
        await self._broken.wait()
        assert self._bug is not None
        raise self._bug

    async def start(self) -> None:
        """Start listening. If that fails, log a warning."""
        try:
            sock = _listening_socket(self._address)
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
        """Stop listening and remove the file of the socket."""
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
                    writer.write(self._respond(await reader.readline()) + b"\n")
                    await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:  # ValueError: a line over MAX_LINE
            _LOG.debug("control: %s", error)
        finally:
            writer.close()

    def _respond(self, line: bytes) -> bytes:
        try:
            return encode(self._handle(line))
        except Exception as bug:  # noqa: BLE001 - raised by `run`
            self._bug = bug
            self._broken.set()
            return encode({"ok": False, "error": "internal error; see the daemon's log"})

    def _handle(self, line: bytes) -> Mapping[str, Any]:
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


def encode(response: Mapping[str, Any]) -> bytes:
    """Return a line of the protocol without its end."""
    return json.dumps(response, ensure_ascii=False).encode()


def is_answering(address: str) -> bool:
    """Return whether a daemon listens there, of any instance and version."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(address)
        except OSError:
            return False
        return True


def _listening_socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not address.startswith("\0"):
            # left by a killed daemon; a running one holds the lock of the state file
            with contextlib.suppress(FileNotFoundError):
                Path(address).unlink()
        umask = os.umask(0o177)
        try:
            sock.bind(address)
        finally:
            os.umask(umask)
        sock.listen(8)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    """Return the peer's user id, or ours where the system cannot tell: the file has mode 0600."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return os.getuid()
    size = struct.calcsize("3i")
    sock = writer.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, size))
    return int(uid)
