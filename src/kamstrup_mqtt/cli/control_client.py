"""Asks the running daemon through its control socket."""

from __future__ import annotations

import json
import socket
from typing import Any

from kamstrup_mqtt.daemon.control_socket import TIMEOUT, ControlError, encode, format_address


def send_request(
    address: str, command: str, *, timeout: float = TIMEOUT, **arguments: str
) -> dict[str, Any]:
    """Send one command to the running daemon; its answer. Raises ControlError.

    Blocking: for the command line.
    """
    line = _exchange_lines(address, encode({"command": command, **arguments}), timeout)
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise ControlError(
            f"the daemon at {format_address(address)} hung up; is it run by this user?"
        ) from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        said = answer.get("error") if isinstance(answer, dict) else line.decode(errors="replace")
        raise ControlError(str(said))
    return answer


def _exchange_lines(address: str, request: bytes, timeout: float) -> bytes:
    """One line there and one back. Raises ControlError."""
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
            f"no daemon answers at {format_address(address)} ({error.strerror or error});"
            " is it running, as this user and with the same mqtt.instance?"
        ) from error
