"""The reader's time limits, each with its default."""

from __future__ import annotations

from dataclasses import dataclass

HEARTBEAT_MARGIN = 5.0
"""Seconds beyond a sleep within which the reader promises to act again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderTimeouts:
    """The reader's time limits in seconds (`max_silent_polls`: a count).

    no_bytes, no_frames  a pushing meter's silence after which it is said that nothing comes
    hunt                 bytes without a list, before the other parity is tried
    reopen_mute          a pushed line that stays silent is closed and opened again
    unsupported_retry    until a register that the meter left out is asked for again
    retry_first, _cap    from a failed poll to the next try, on mains meters
    retry_asleep         the same on battery meters that said nothing (which cost them nothing);
                         one that did answer is left alone until its interval has passed
    mute                 polls in a row that brought nothing, after which only one request is tried
    restart_first, _cap  from an unexpected exception to going on
    read_mains, _battery between two `read` commands
    recheck              from a reading with an implausible total to asking once more
    diagnosis            between two reports of changed counters
    port_check           between two looks at the port while no poll is due
    steady               for which a port that is open again must stay so to be called back
    tick                 between two looks at a pushed line that has nothing else to be looked for
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
