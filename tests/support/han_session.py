"""A simulated HAN meter and the session that follows its lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from kamstrup_mqtt.core.model import DecodedValue, Scalar
from kamstrup_mqtt.protocols.base import Message, PushedReading, SessionUpdate, Timestamp
from kamstrup_mqtt.protocols.han.codec import HanCodec
from kamstrup_mqtt.protocols.han.meter_session import HanSession

ID, TYPE = "7359992891231234", "6841131BN245101092"  # a type whose scale is not proven
NORWEGIAN = "6841121BN243101040"
HOUR = datetime(2026, 7, 1, 10, tzinfo=UTC)
ZONE = timedelta(hours=1)  # the meter's clock: standard time all year (han.md 2.8)


@dataclass(frozen=True)
class Processed:
    reading: PushedReading = field(default_factory=lambda: PushedReading(()))
    update: SessionUpdate = field(default_factory=SessionUpdate)


def process(meter: HanCodec | HanSession, message: Message, moment: Timestamp) -> Processed:
    return Processed(meter.process(message, moment), meter.learn())


@dataclass
class Meter:
    """A Kamstrup meter that uses `power` W and counts `scale` Wh, followed by a session.

    `on_list` is called with each processed list.
    """

    session: HanSession
    power: int = 3600
    scale: int = 10
    count: int = 4_422_800
    id: str = ID
    type: str = TYPE
    export: int | None = None
    host: timedelta = timedelta()  # by which the host's clock is wrong
    clock: bool = True
    second: int = 0  # since HOUR - 60 s
    energy: float = field(default=0.0)
    processed: Processed = field(default_factory=Processed)
    log: list[tuple[int, str]] = field(default_factory=list)
    on_list: Callable[[PushedReading, Timestamp], None] | None = None

    @property
    def now(self) -> datetime:
        return HOUR - timedelta(seconds=60) + timedelta(seconds=self.second)

    def pass_(self, seconds: int) -> None:
        self.second += seconds
        self.energy += self.power * seconds / 3600
        while self.energy >= self.scale:
            self.energy -= self.scale
            self.count += 1

    def push(self, *, registers: bool = False) -> dict[str, Scalar]:
        """One list; its values by id."""
        objects = [
            DecodedValue("1-1:0.0.5.255", self.id, self.id),
            DecodedValue("1-1:96.1.1.255", self.type, self.type),
            DecodedValue("1-1:1.7.0.255", self.power, Decimal(self.power), "W"),
        ]
        local = (self.now + ZONE).replace(tzinfo=None)
        if self.export is not None:
            objects.append(DecodedValue("1-1:2.7.0.255", self.export, Decimal(self.export), "W"))
        if registers:
            objects.append(DecodedValue("0-1:1.0.0.255", "07ea", local.isoformat()))
            objects.append(DecodedValue("1-1:1.8.0.255", self.count, None))
        header = {"maker": "kamstrup", "meter_time": local.isoformat(), "elements": 25}
        moment = Timestamp(self.now + self.host if self.clock else None, 1000.0 + self.second)
        self.processed = process(self.session, Message(header, tuple(objects)), moment)
        self.log += self.processed.update.log
        if self.on_list is not None:
            self.on_list(self.processed.reading, moment)
        return {str(obj.id): obj.value for obj in self.processed.reading.objects}

    def run(self, seconds: int, *, often: bool = False) -> dict[str, Scalar]:
        """Lists every 10 s for so long; the registers 5 s after each hour, or in every list."""
        found: dict[str, Scalar] = {}
        for _ in range(seconds // 10):
            if not often and (self.now + timedelta(seconds=10)).minute == 0 and self.now.minute:
                self.pass_(10)
                self.push()
                count = self.count  # as it stands at the full hour
                self.pass_(5)
                later, self.count = self.count, count
                found = self.push(registers=True)
                self.count = later
                self.pass_(5)
                continue
            self.pass_(10)
            found = self.push(registers=often)
        return found

    def texts(self, fragment: str) -> list[str]:
        return [text for _, text in self.log if fragment in text]


def meter(scale: int | None = None, learned: Mapping[str, str] | None = None, **k: object) -> Meter:
    return Meter(HanSession(scale, learned or {}), **k)  # type: ignore[arg-type]
