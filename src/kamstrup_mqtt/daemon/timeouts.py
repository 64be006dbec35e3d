"""The daemon's time limits, each with its default."""

from __future__ import annotations

from dataclasses import dataclass, field

from kamstrup_mqtt.daemon import clock_watch
from kamstrup_mqtt.mqtt import PublisherLimits
from kamstrup_mqtt.reading.timeouts import ReaderTimeouts
from kamstrup_mqtt.storage.history.spooler import HistoryLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonTimeouts:
    """Time limits in seconds.

    stop             for the whole shutdown
    status           between two checks of the status line
    clock            between two checks of the host's clock
    detection_grace  for the polls that are running when a model was detected
    """

    stop: float = 5.0
    status: float = 5.0
    clock: float = clock_watch.INTERVAL
    detection_grace: float = 60.0
    history: HistoryLimits = field(default_factory=HistoryLimits)
    publisher: PublisherLimits = field(default_factory=PublisherLimits)
    reader: ReaderTimeouts = field(default_factory=ReaderTimeouts)
