"""One meter: open its port, poll or listen, hand the readings over, say why when none come."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kamstrup_mqtt.clock import Clock
from kamstrup_mqtt.counters import Counters
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.liveness import Deadline
from kamstrup_mqtt.memory import Memory
from kamstrup_mqtt.model import SerialParams
from kamstrup_mqtt.outbox import Outbox
from kamstrup_mqtt.plan import Plan
from kamstrup_mqtt.protocols.base import Codec, ProtocolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSetup:
    """One configured meter. `interval` None: it sends by itself."""

    id: str
    name: str
    spec: ProtocolSpec
    codec: Codec
    plan: Plan
    serial: SerialParams
    interval: float | None
    battery: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The reader's time limits in seconds."""

    no_bytes: float = 30.0
    no_frames: float = 30.0
    unsupported_retry: float = 24 * 3600.0
    retry_first: float = 5.0
    retry_cap: float = 60.0
    restart_first: float = 1.0
    restart_cap: float = 60.0
    read_mains: float = 10.0
    read_battery: float = 15 * 60.0
    diagnosis: float = 60.0


class Reader:
    """Reads one meter for ever; `run` ends only by cancellation."""

    def __init__(
        self,
        setup: MeterSetup,
        port: Port,
        outbox: Outbox,
        memory: Memory,
        clock: Clock,
        deadline: Deadline,
        *,
        limits: Limits | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.setup = setup
        self.counters = Counters()
        raise NotImplementedError

    async def run(self) -> None:
        raise NotImplementedError

    def request_read(self) -> str | None:
        """Read now, if that is allowed: None, else the reason why not."""
        raise NotImplementedError
