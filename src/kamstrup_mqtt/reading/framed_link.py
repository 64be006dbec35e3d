"""The line of one meter: its port, and the framer of the link that is open."""

from __future__ import annotations

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.protocols.base import Framer
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.link_status import LinkStatus


class FramedLink:
    """`last_bytes`: the bytes being handled, for the report of a crash."""

    def __init__(self, port: Port, context: ReaderContext, status: LinkStatus) -> None:
        self.port = port
        self.last_bytes = b""
        self._context = context
        self._status = status
        self._link: Link | None = None
        self._framer: Framer | None = None

    def framer_for(self, link: Link) -> tuple[Framer, bool]:
        """Return the link's framer, and whether it is new: each opened link gets its own."""
        if self._framer is not None and link is self._link:
            return self._framer, False
        if self._link is not None:
            self._context.counters.reconnects += 1
        self._link = link
        self._framer = self._context.config.codec.framer()
        return self._framer, True

    def report_failure(self, error: LinkError) -> None:
        """Report that the port cannot be opened, or was lost."""
        self._status.port_gone_since = self.port.gone_since
        self._status.mark_failed(error.state, str(error))
