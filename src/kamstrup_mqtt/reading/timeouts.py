"""The reader's time limits, each with its default."""

from __future__ import annotations

from dataclasses import dataclass

HEARTBEAT_MARGIN = 5.0
"""Seconds beyond a sleep within which the reader promises to act again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderTimeouts:
    """The reader's time limits in seconds (`max_silent_polls`: a count).

    no_bytes, no_frames    silence of a pushing meter before the missing data is reported
    parity_timeout         bytes without a list before the other parity is tried
    reopen_after           silence on a pushed line before it is closed and opened again
    unsupported_retry      delay before an unsupported register is requested again
    retry_first, _cap      delay from a failed poll to the next try, on mains meters
    retry_asleep           the same on battery meters that did not answer, which costs them
                           nothing; one that answered is left alone until its interval has passed
    max_silent_polls       unanswered polls in a row before only one request is tried
    restart_first, _cap    delay from an unexpected exception to the restart
    read_mains, _battery   shortest time between two `read` commands
    recheck_delay          delay from a reading with an implausible total to the second read
    diagnosis_interval     time between two reports of changed counters
    port_check_interval    time between two checks of the port while no poll is due
    reopen_grace           time that a reopened port must stay open to count as back
    idle_check             time between two checks of a pushed line without other deadlines
    """

    no_bytes: float = 30.0
    no_frames: float = 30.0
    parity_timeout: float = 60.0
    reopen_after: float = 300.0
    unsupported_retry: float = 24 * 3600.0
    retry_first: float = 5.0
    retry_cap: float = 60.0
    retry_asleep: float = 15 * 60.0
    max_silent_polls: int = 2
    restart_first: float = 1.0
    restart_cap: float = 60.0
    read_mains: float = 10.0
    read_battery: float = 15 * 60.0
    recheck_delay: float = 2.0
    diagnosis_interval: float = 60.0
    port_check_interval: float = 15.0
    reopen_grace: float = 1.0
    idle_check: float = 20.0
