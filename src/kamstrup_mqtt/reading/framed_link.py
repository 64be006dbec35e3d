"""The line of one meter: the framer of the link that is open, and what is said when it fails."""

from __future__ import annotations

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.protocols.base import Codec, Framer
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.reports import Reports


class FramedLink:
    """`last_bytes`: what is being handled, for the report of a bug."""

    def __init__(self, port: Port, codec: Codec, reports: Reports, counters: Counters) -> None:
        self.port = port
        self.last_bytes = b""
        self._codec = codec
        self._reports = reports
        self._counters = counters
        self._link: Link | None = None
        self._framer: Framer | None = None

    def framer_for(self, link: Link) -> tuple[Framer, bool]:
        """The link's framer; whether it is fresh: a new link gets a new one."""
        if self._framer is not None and link is self._link:
            return self._framer, False
        if self._link is not None:
            self._counters.reconnects += 1
        self._link = link
        self._framer = self._codec.framer()
        return self._framer, True

    def report_failure(self, error: LinkError) -> None:
        """Tell that the port cannot be opened, or was lost."""
        self._reports.port_gone_since = self.port.gone_since
        self._reports.mark_failed(error.state, str(error))
