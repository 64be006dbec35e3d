"""The contract of an emulated meter: sans-IO, so that it runs on a pty, over TCP or in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from kamstrup_mqtt.core.model import SerialParams


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes that the meter sends, then the baud rate it goes on with (None: the same)."""

    data: bytes
    baudrate: int | None = None


class PolledEmulator(Protocol):
    """A meter that answers."""

    serial: SerialParams

    def receive_data(self, data: bytes) -> list[Reply]:
        """Take bytes from the reader, in any split; return what the meter sends back."""


class PushingEmulator(Protocol):
    """A meter that sends by itself."""

    serial: SerialParams
    interval: float
    """Seconds from one list to the next."""

    def push(self, now: datetime) -> bytes:
        """The list or lists due at `now` (the meter's local time), as they go onto the wire."""


Emulator: TypeAlias = PolledEmulator | PushingEmulator

Maker: TypeAlias = Callable[[Mapping[str, str]], Emulator]
"""Makes an emulator from the `--set key=value` of the command line; a key or value that it does
not know raises ValueError with a message that lists what it knows."""
