"""The context that the parts of one reader share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.model import EMPTY
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.reader_config import ReaderConfig
from kamstrup_mqtt.reading.timeouts import ReaderTimeouts
from kamstrup_mqtt.storage.state_file import StateFile
from kamstrup_mqtt.storage.state_schema import ReaderState

_MAX_LOGGED_ONCE = 100
"""Keys that are remembered per meter: a noisy line may invent any number of them."""


@dataclass(slots=True, kw_only=True)
class ReaderContext:
    """One meter's configuration, state, queue, clock, counters, heartbeat, timeouts and log."""

    config: ReaderConfig
    state: ReaderState
    state_file: StateFile
    report_queue: ReportQueue
    clock: Clock
    heartbeat: Heartbeat
    log: logging.Logger
    counters: Counters = field(default_factory=Counters)
    timeouts: ReaderTimeouts = field(default_factory=ReaderTimeouts)
    _logged: frozenset[object] = EMPTY

    def learn(self, learned: Mapping[str, str]) -> bool:
        """Store learned facts about the meter, and return whether any of them is new."""
        merged = self.state.learned.merge(learned)
        if merged is self.state.learned:
            return False
        self.state.learned = merged
        self.state_file.mark_changed(urgent=True)
        return True

    def log_once(self, key: object, message: str, level: int = logging.WARNING) -> None:
        """Log a message once per meter and key."""
        if key not in self._logged and len(self._logged) < _MAX_LOGGED_ONCE:
            self._logged |= {key}
            self.log.log(level, "%s", message)
