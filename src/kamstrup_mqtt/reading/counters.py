"""Counters of a reader, published as diagnostics."""

from __future__ import annotations

from dataclasses import dataclass, field

_HOUR = 3600.0

KEPT_DROPS = 20
"""Drops of one meter that are kept for a bug report."""
KEPT_BYTES = 300
"""Bytes that are kept of each drop."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Bytes that became no frame, or one of no use.

    at    monotonic time
    raw   the first bytes
    size  the number of all bytes
    """

    at: float
    reason: str
    raw: bytes
    size: int


_NO_COUNTS = ("drops", "requests")


@dataclass(slots=True)
class Counters:
    """Counts since the start of the daemon.

    frames           frames from the meter with a correct checksum
    dropped          pieces of the stream that did not become a frame
    timeouts         requests that nothing answered
    echoes           requests of this program that came back
    reconnects       times the port was opened again after it had been lost
    internal_errors  bugs of this program, caught by the supervisor
    held             values rejected because their unit cannot be the key's
    implausible      totals rejected because the meter cannot have counted that far
    parity_errors    characters with a wrong parity bit (where parity is checked in software)
    refused_reads    read commands that were refused
    undecrypted      encrypted lists for which the key was missing or wrong
    replayed         encrypted lists whose frame counter did not rise
    drops            the newest of the dropped pieces
    requests         hour of the monotonic clock -> requests sent in it, for the last day
    """

    frames: int = 0
    dropped: int = 0
    timeouts: int = 0
    echoes: int = 0
    reconnects: int = 0
    internal_errors: int = 0
    held: int = 0
    implausible: int = 0
    parity_errors: int = 0
    refused_reads: int = 0
    undecrypted: int = 0
    replayed: int = 0
    drops: list[Drop] = field(default_factory=list)
    requests: dict[int, int] = field(default_factory=dict)

    def record_drop(self, reason: str, raw: bytes, now: float) -> None:
        """Record bytes that became no frame, or one of no use, at the monotonic time `now`."""
        self.dropped += 1
        self.drops.append(Drop(now, str(reason), bytes(raw[:KEPT_BYTES]), len(raw)))
        del self.drops[:-KEPT_DROPS]

    def record_request(self, now: float) -> None:
        """Record a request that was sent at the monotonic time `now`."""
        hour = int(now // _HOUR)
        self.requests[hour] = self.requests.get(hour, 0) + 1
        for old in [past for past in self.requests if past <= hour - 24]:
            del self.requests[old]

    def requests_per_day(self, now: float) -> int:
        """Return the number of requests sent within the last 24 hours."""
        hour = int(now // _HOUR)
        return sum(count for past, count in self.requests.items() if past > hour - 24)

    def as_dict(self, now: float, pushed: bool) -> dict[str, int]:
        """Return counter -> count, as published. A pushing meter has no requests."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name not in _NO_COUNTS}
        return counts if pushed else {**counts, "requests_per_day": self.requests_per_day(now)}
