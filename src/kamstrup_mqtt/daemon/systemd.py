"""Notifications to systemd: sd_notify(3) without its library."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

_LOG = logging.getLogger(__name__)


class Notifier:
    """Sends `KEY=value` lines to the service manager, if there is one.

    Its address is NOTIFY_SOCKET in `environ`: a path, or an abstract name with a leading `@`.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._failed = False

    def send(self, **fields: str) -> None:
        """Send a message, for example send(READY="1", STATUS="...")."""
        if not self._address:
            return
        text = "\n".join(f"{key}={value}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # a manager that does not read must not block the loop
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._failed:
                _LOG.warning("notifications to systemd fail (NOTIFY_SOCKET): %s", error)
            self._failed = True
        else:
            self._failed = False
