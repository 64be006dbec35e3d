"""What a reader counts; published as diagnostics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counts since the start of the daemon.

    frames           frames with a right checksum that came from the meter
    dropped          pieces of the stream that did not become a frame
    timeouts         exchanges that nothing answered
    echoes           copies of our own requests that came back
    reconnects       times the port was opened again after it had been lost
    internal_errors  our own bugs, caught by the supervisor
    held             values held back because their unit cannot be the key's
    implausible      totals held back because the meter cannot have counted that far
    parity_errors    characters with a wrong parity bit (where parity is checked in software)
    refused_reads    read commands that were not carried out
    undecrypted      encrypted lists for which the key was missing or wrong
    replayed         encrypted lists whose frame counter did not rise
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

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}
