"""What outlives the process: one small JSON file, and who owns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from kamstrup_mqtt.clock import Clock
from kamstrup_mqtt.model import Scalar, SourceId


@dataclass(slots=True)
class StoredReading:
    """The last valid reading of one group. `values`: key -> value in the key's frozen unit."""

    time: datetime | None
    values: dict[str, Scalar]


@dataclass(slots=True)
class StoredTotal:
    """The last accepted value of a total."""

    value: Scalar
    time: datetime | None


@dataclass(slots=True)
class MeterMemory:
    """What is remembered of one configured meter. Whoever changes it calls Memory.changed().

    units      key -> its frozen unit, for every key ever seen with a value, in order first seen
    announced  component id -> platform, as the last discovery sent for this meter listed them
    announced_as  the serial number (with its suffix) that this discovery was sent under
    """

    serial: str | None = None
    serial_source: SourceId | None = None
    model: str | None = None
    details: dict[str, str] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    readings: dict[str, StoredReading] = field(default_factory=dict)
    totals: dict[str, StoredTotal] = field(default_factory=dict)
    last_poll: datetime | None = None
    unsupported: dict[SourceId, datetime] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)
    announced: dict[str, str] = field(default_factory=dict)
    announced_as: str | None = None


class Memory:
    """The file: read at start, locked while we run, written whole.

    Urgent changes (identity, keys, units, learned choices) are written within seconds, others at
    most every 15 minutes and on a clean stop. Missing, read-only or corrupt: said once in the
    log, set aside, and gone on without.
    """

    def __init__(self, path: Path | None, clock: Clock) -> None:
        raise NotImplementedError

    def open(self) -> None:
        """Lock and read. Raises ConfigError naming the pid when another daemon has it."""
        raise NotImplementedError

    @property
    def meters(self) -> Mapping[str, MeterMemory]:
        """All that is remembered, meters that are configured no longer included."""
        raise NotImplementedError

    def meter(self, id_: str) -> MeterMemory:
        """The memory of one meter, empty when there was none."""
        raise NotImplementedError

    def forget(self, id_: str) -> None:
        """Drop a meter."""
        raise NotImplementedError

    def changed(self, *, urgent: bool = False) -> None:
        """Something in it changed."""
        raise NotImplementedError

    async def keep(self) -> None:
        """The task that writes when it is time; ends by cancellation, having written."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what changed and release the lock."""
        raise NotImplementedError
