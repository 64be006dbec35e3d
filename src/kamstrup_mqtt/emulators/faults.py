"""Faults of a meter and its line, for any emulated meter that answers requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kamstrup_mqtt.emulators import han
from kamstrup_mqtt.emulators.base import Emulator, PolledEmulator, Reply

FAULTS = ("asleep", "noisy", "short")
"""Faults of a meter that answers requests.

asleep  silent until zeros or /#1 wake it
noisy   every second answer has a wrong bit
short   every second answer ends in the middle
"""
PUSHED_FAULTS = tuple(fault for fault in han.FAULTS if fault != "none")
"""Faults of a meter that pushes: its setting `fault`."""

AWAKE = 240.0
"""Seconds that an eye stays awake (a 403 without magnet: about 4 minutes)."""
NULS = 30
"""Zeros that wake an eye."""
_IDENTS = (b"/#1", bytes.fromhex("AF A3 B1"))
_TAIL = 64


class FaultyEmulator:
    """A meter with faults.

    awake  seconds that it stays awake after its last answer
    """

    def __init__(
        self,
        meter: PolledEmulator,
        faults: Sequence[str],
        *,
        awake: float = AWAKE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.serial = meter.serial
        self._meter = meter
        self._faults = frozenset(faults)
        self._awake = awake
        self._monotonic = monotonic
        self._awake_until = 0.0 if "asleep" in self._faults else float("inf")
        self._received = bytearray()
        self._answers = 0

    def receive_data(self, data: bytes) -> list[Reply]:
        """Return the answer of the meter, changed by its faults."""
        now = self._monotonic()
        if now >= self._awake_until:
            self._listen(data, now)
            return []
        replies = self._meter.receive_data(data)
        if replies and "asleep" in self._faults:
            self._awake_until = now + self._awake
        return [self._damaged(reply) for reply in replies]

    def _listen(self, data: bytes, now: float) -> None:
        self._received = (self._received + data)[-_TAIL:]
        if bytes(NULS) in self._received or any(ident in self._received for ident in _IDENTS):
            self._received.clear()
            self._awake_until = now + self._awake

    def _damaged(self, reply: Reply) -> Reply:
        self._answers += 1
        data = reply.data
        if not self._answers % 2 or not data:
            return reply
        middle = len(data) // 2
        if "short" in self._faults:
            data = data[:middle]
        elif "noisy" in self._faults:
            data = data[:middle] + bytes((data[middle] ^ 0x10,)) + data[middle + 1 :]
        return Reply(data, reply.baudrate)


def with_faults(meter: Emulator, faults: Sequence[str]) -> Emulator:
    """Add faults to a meter. Raises ValueError for a fault that it cannot have."""
    unknown = sorted(set(faults) - set(FAULTS))
    if unknown:
        raise ValueError(f"no such fault: {', '.join(unknown)}; choose from {', '.join(FAULTS)}")
    if not faults:
        return meter
    if hasattr(meter, "push"):
        raise ValueError(
            f"a meter that sends by itself is not {' or '.join(faults)}; it can have"
            f" {', '.join(PUSHED_FAULTS)}"
        )
    return FaultyEmulator(meter, faults)
