"""Client of the control socket of the running daemon."""

from __future__ import annotations

import json
import socket
from typing import Any

from kamstrup_mqtt.daemon.control_socket import TIMEOUT, ControlError, encode, format_address


def send_request(
    address: str, command: str, *, timeout: float = TIMEOUT, **arguments: str
) -> dict[str, Any]:
    """Send a command to the running daemon and return its response.

    Blocks for up to `timeout` seconds. Raises ControlError if no daemon answers, or if the daemon
    rejects the command.
    """
    line = _exchange(address, encode({"command": command, **arguments}), timeout)
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise ControlError(
            f"the daemon at {format_address(address)} closed the connection; does it run as this"
            " user?"
        ) from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        is_object = isinstance(answer, dict)
        raise ControlError(str(answer.get("error") if is_object else line.decode(errors="replace")))
    return answer


def _exchange(address: str, request: bytes, timeout: float) -> bytes:
    """Send one line and receive one line. Raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(address)
            sock.sendall(request + b"\n")
            with sock.makefile("rb") as lines:
                return lines.readline()
    except TimeoutError as error:
        raise ControlError(
            f"the daemon at {format_address(address)} did not answer within {timeout:g} s"
        ) from error
    except OSError as error:
        raise ControlError(
            f"no daemon answers at {format_address(address)} ({error.strerror or error}); is it"
            " running as this user and with the same mqtt.instance?"
        ) from error
