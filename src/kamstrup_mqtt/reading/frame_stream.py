"""Bytes of one link into the framer, and its events out of it."""

from __future__ import annotations

import asyncio
import logging

from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.protocols.base import DroppedBytes, Event, Framer
from kamstrup_mqtt.reading.counters import Counters

_TEXT = frozenset((*range(0x20, 0x7F), 0x0D, 0x0A, 0x02, 0x03, 0x06))


def format_bytes(data: bytes) -> str:
    """Return bytes for the log: in hex, and as text if they are text without their parity bits."""
    seven = bytes(byte & 0x7F for byte in data)
    text = f" {seven.decode('ascii')!r}" if data and _TEXT.issuperset(seven) else ""
    return data.hex(" ") + text


class FrameStream:
    """Feeds the bytes of one link into its framer, and counts and logs the events."""

    def __init__(self, link: Link, framer: Framer, counters: Counters, log: logging.Logger) -> None:
        self.link = link
        self.framer = framer
        self.counters = counters
        self.log = log
        self._parity = framer.parity_errors

    def feed(self, data: bytes) -> None:
        """Give bytes to the framer."""
        if data:
            self.framer.receive_data(data)

    def next_event(self) -> Event | None:
        """Return the framer's next event, counted.

        An echo of a request is not counted here. The code that waits for the response counts it.
        """
        event = self.framer.next_event()
        self.counters.parity_errors += self.framer.parity_errors - self._parity
        self._parity = self.framer.parity_errors
        is_logged = self.log.isEnabledFor(logging.DEBUG)
        if isinstance(event, DroppedBytes):
            self.counters.record_drop(event.reason, event.raw, asyncio.get_running_loop().time())
            if is_logged:
                self.log.debug("<- dropped (%s): %s", event.reason, format_bytes(event.raw))
        elif event is not None:
            self.counters.frames += event.direction != "request"
            if is_logged:
                self.log.debug(
                    "<- %s, checksum right: %s", event.direction, format_bytes(event.raw)
                )
        return event

    def discard_pending(self) -> None:
        """Discard what came before the request."""
        old = self.link.discard_input()
        if old:
            self.log.debug("<- not asked for, discarded: %s", format_bytes(old))
        self.framer.end_burst()
        while self.framer.next_event() is not None:
            pass
        self._parity = self.framer.parity_errors
