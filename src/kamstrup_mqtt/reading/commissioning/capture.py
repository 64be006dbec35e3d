"""Writes the recording of a capture: the bytes on the lines, with host names masked."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version

from kamstrup_mqtt.config.redaction import Redaction
from kamstrup_mqtt.links.recording.file_format import (
    Header,
    LineChange,
    ReceivedBytes,
    RecordedEvent,
    RecordingFile,
    SentBytes,
)


class CaptureWriter:
    """Writes the events of the links into a recording, and counts them.

    bytes_received, requests_sent  by the id of the meter
    on_failure                     called for each event that can no longer be written
    """

    def __init__(
        self, file: RecordingFile, redaction: Redaction, on_failure: Callable[[], None]
    ) -> None:
        self.bytes_received: Counter[str] = Counter()
        self.requests_sent: Counter[str] = Counter()
        self._file = file
        self._redaction = redaction
        self._on_failure = on_failure

    def begin(self, started: datetime | None) -> None:
        """Write the header. Raises KamstrupMqttError if that fails.

        `started` is the time in UTC, None if the clock of the host is wrong.
        """
        meters = tuple(self._redaction.config()["meters"])
        self._file.write_header(
            Header(version=version("kamstrup-mqtt"), started=started, meters=meters)
        )

    def put(self, event: RecordedEvent) -> None:
        """Append an event. Never raises."""
        if isinstance(event, ReceivedBytes):
            self.bytes_received[event.meter] += len(event.data)
        elif isinstance(event, SentBytes):
            self.requests_sent[event.meter] += 1
        elif isinstance(event, LineChange) and event.text is not None:
            event = dataclasses.replace(event, text=self._redaction.text(event.text))
        self._file.append(event)
        if self._file.failure is not None:
            self._on_failure()
