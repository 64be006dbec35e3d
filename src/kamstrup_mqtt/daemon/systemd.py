"""Telling systemd how we are: sd_notify(3), without its library."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

_LOG = logging.getLogger(__name__)


class Notifier:
    """Sends `KEY=value` lines to the service manager; does nothing where there is none.

    `environ` is asked for NOTIFY_SOCKET: a path, or with a leading `@` an abstract name.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._failed = False

    def send(self, **fields: str) -> None:
        """Send one message, such as send(READY="1", STATUS="...")."""
        if not self._address:
            return
        text = "\n".join(f"{key}={value}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # a manager that reads nothing must not hold the loop
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._failed:
                _LOG.warning("systemd cannot be told anything (NOTIFY_SOCKET): %s", error)
            self._failed = True
        else:
            self._failed = False
