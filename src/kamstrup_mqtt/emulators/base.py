"""The interface of an emulated meter: sans-IO, so that it runs on a pty, over TCP or in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from kamstrup_mqtt.core.model import SerialParams


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes that the meter sends.

    baudrate  the speed that it continues with, None to keep it
    """

    data: bytes
    baudrate: int | None = None


class PolledEmulator(Protocol):
    """A meter that answers requests."""

    serial: SerialParams

    def receive_data(self, data: bytes) -> list[Reply]:
        """Receive bytes from the reader, split in any way. Returns what the meter answers."""


class PushingEmulator(Protocol):
    """A meter that sends without being asked."""

    serial: SerialParams
    interval: float
    """Seconds between two lists."""

    def push(self, now: datetime) -> bytes:
        """Return the frames of the lists that are due at `now`, the meter's local time."""


Emulator: TypeAlias = PolledEmulator | PushingEmulator

Maker: TypeAlias = Callable[[Mapping[str, str]], Emulator]
"""Makes an emulator with the `--set key=value` of the command line.

Raises ValueError for an unknown key or value, with a list of the known ones."""
