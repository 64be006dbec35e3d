"""The functions through which a session reaches the rest of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kamstrup_mqtt.core.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCallbacks:
    """Functions that a session calls.

    bridge_info          returns the contents of bridge/info
    request_read         asks a meter's reader to read now; returns None, or why it refuses
    report_conflict      takes a description of another daemon that uses the same instance
    expect_progress      takes the seconds within which the session makes its next step
    warn_once            logs a warning, each text once in the lifetime of the process
    update_backpressure  called when the backlog of the history may have changed
    """

    bridge_info: Callable[[], Json]
    request_read: Callable[[str], str | None]
    report_conflict: Callable[[str], None]
    expect_progress: Callable[[float], None]
    warn_once: Callable[[str], None]
    update_backpressure: Callable[[], None]
