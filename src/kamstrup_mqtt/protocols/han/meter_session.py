"""Combines the lists of one meter.

Several lists together show the scale of the energies (`energy_scale`), the zone of the clock
(`clock_offset`), the time that a register belongs to, and whether phases add up to totals. The
time of each list is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from kamstrup_mqtt.core.model import DecodedValue, SourceId
from kamstrup_mqtt.core.units import power
from kamstrup_mqtt.protocols.base import Message, PushedReading, SessionUpdate, Timestamp
from kamstrup_mqtt.protocols.han import consistency, meter_type, obis, push_lists
from kamstrup_mqtt.protocols.han.clock_offset import ClockOffset
from kamstrup_mqtt.protocols.han.datetimes import meter_time, parse_local
from kamstrup_mqtt.protocols.han.energy_scale import EnergyScale
from kamstrup_mqtt.protocols.han.sender import SERIAL_KEY, Sender
from kamstrup_mqtt.protocols.power_integral import MAX_POWER, PowerIntegral

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
"""Log levels in `SessionUpdate.log`."""

_MS_PER_SECOND = 1000

_POWER_PREFIXES = {"W": 3, "kW": 6}
"""Unit of a power -> exponent of ten in mW."""
_SCALE_REGISTERS: Final = {"1.8.0": "1.7.0", "2.8.0": "2.7.0"}
"""Registers that the scale is learned from -> the power that they count."""
_FULL_HOUR_WINDOW: Final = 120
"""Seconds after the full hour in which registers are those of the full hour."""
_TIME_OR_ENERGY_CODES: Final = frozenset(obis.CLOCKS) | frozenset(
    code for code, measure in obis.MEASURES.items() if measure.unit in push_lists.ENERGY_UNITS
)
"""Codes of values that are published otherwise than they were decoded."""
_DAY = timedelta(days=1)
_FREQUENT_MS: Final = 300_000
"""Milliseconds within which registers that are sent again are those of the time of sending."""


class _PendingList(NamedTuple):
    """The list that was processed last.

    by_code         its objects by C.D.E of their codes
    meter_replaced  another meter sent it than the lists before
    has_time        its clock was observed
    """

    message: Message
    received_at: Timestamp
    by_code: Mapping[str, DecodedValue]
    meter_replaced: bool
    has_time: bool


class HanSession:
    """The lists of one meter in the order received; see `protocols.base.PushedCodec`.

    energy_scale  the configured scale, None to learn it
    learned       `SessionUpdate.learned` of an earlier run
    """

    def __init__(
        self,
        energy_scale: int | None,
        learned: Mapping[str, str],
        detect_model: meter_type.DetectModel = meter_type.no_model,
    ) -> None:
        self._configured_scale = energy_scale
        self._detect_model = detect_model
        self._pending: _PendingList | None = None
        self._log: list[tuple[int, str]] = []
        self._reset(learned)

    def _reset(self, learned: Mapping[str, str]) -> None:
        self._sender = Sender(learned.get(SERIAL_KEY))
        self._model_facts = {key: learned[key] for key in meter_type.KEYS if key in learned}
        self._scale = EnergyScale(self._configured_scale, learned)
        self._clock = ClockOffset(learned.get("clock_offset"))
        self._integrals: dict[str, PowerIntegral] = {}
        self._registers_at: int | None = None
        self._compared = self._inconsistent = 0
        self._conflict_reported = False
        self._is_kamstrup = False  # then its lists do not say the scale

    def process(self, message: Message, received_at: Timestamp) -> PushedReading:
        """Return what to publish of a list."""
        by_id = {obj.id: obj for obj in message.objects}
        same_sender = self._sender.is_same(message, by_id)
        meter_replaced = not same_sender and self._identify(message, by_id)
        by_code = {_short_code(id_): obj for id_, obj in by_id.items()}
        now = round(received_at.monotonic * _MS_PER_SECOND)
        if self._is_kamstrup:
            self._integrate(by_code, now)
        has_time = not _TIME_OR_ENERGY_CODES.isdisjoint(by_id)
        objects, measured_at, register_age = message.objects, None, 0.0
        if has_time:
            local = meter_time(message, obis.CLOCKS)
            self._observe_clock(local, received_at)
            measured_at, register_age = self._read_registers(by_code, local, now)
            if measured_at is not None and (
                received_at.utc is None or abs(received_at.utc - measured_at) > _DAY
            ):
                measured_at = None  # the meter's clock is wrong
            objects = tuple(self._published_objects(message, received_at))
        self._pending = _PendingList(message, received_at, by_code, meter_replaced, has_time)
        return PushedReading(
            objects,
            measured_at,
            same_sender=same_sender,
            register_age=register_age,
            scale_trusted=not self._is_kamstrup or self._scale.usable_scale is not None,
        )

    def learn(self) -> SessionUpdate:
        """Learn from the list that was processed last."""
        last, self._pending = self._pending, None
        assert last is not None, "process a list first"
        self._warn_scale_conflict()
        self._model_facts.update(
            meter_type.identify_model(last.message, last.by_code, self._detect_model)
        )
        if not last.has_time:
            self._observe_clock(meter_time(last.message, obis.CLOCKS), last.received_at)
        self._check_phases(last.by_code)
        log, self._log = self._log, []
        return SessionUpdate(
            learned=self.learned_state(),
            meter_replaced=last.meter_replaced,
            notes=tuple(self._notes(round(last.received_at.monotonic * _MS_PER_SECOND))),
            problem=self._scale.problem if self._is_kamstrup else None,
            log=tuple(log),
        )

    # The meter

    def _identify(self, message: Message, by_id: Mapping[SourceId, DecodedValue]) -> bool:
        """Identify the sender of a list. Returns whether it is another meter than before."""
        is_replaced = self._sender.is_replaced(by_id)
        if is_replaced:
            self._reset({})
        self._sender.update(message, by_id)
        self._is_kamstrup = message.header.get("maker") == "kamstrup"
        if self._is_kamstrup:
            types = [str(by_id[id_].value) for id_ in meter_type.TYPE_CODES if id_ in by_id]
            if types and self._scale.decide_by_type(types[0]):
                self._log.append(
                    (INFO, f"the energies count {self._scale.scale} Wh: proven for {types[0]}")
                )
        return is_replaced

    def _warn_scale_conflict(self) -> None:
        """Warn once if the configured scale is another than before."""
        if self._is_kamstrup and self._scale.has_config_conflict and not self._conflict_reported:
            self._conflict_reported = True
            self._log.append((WARNING, self._scale.problem or ""))

    def accept_held(self) -> str | None:
        """Accept the scale that totals are held back for. Returns it in words, None if there is
        none."""
        scale = self._scale.accept_held() if self._is_kamstrup else None
        return None if scale is None else f"energy_scale {scale}"

    def learned_state(self) -> dict[str, str]:
        """Return everything to remember."""
        found = {**self._scale.learned, **self._model_facts}
        if self._sender.serial is not None:
            found[SERIAL_KEY] = self._sender.serial
        if self._clock.text is not None:
            found["clock_offset"] = self._clock.text
        return found

    # The clock

    def _observe_clock(self, local: datetime | None, received_at: Timestamp) -> None:
        if received_at.utc is None:
            return
        stepped = self._clock.observe_host(received_at.utc, received_at.monotonic)
        if stepped is not None:
            self._log.append(
                (INFO, "the host's clock stepped: the meter's offset is learned again")
            )
        if local is not None and self._clock.observe_meter(local, received_at.utc):
            self._log.append((INFO, f"the meter's clock is {self._clock.text} from UTC"))

    # The scale of the energies

    def _integrate(self, by_code: Mapping[str, DecodedValue], now: int) -> None:
        """Integrate the powers that the scale is learned from."""
        gap = 0
        for register, code in _SCALE_REGISTERS.items():
            milliwatts = _milliwatts(by_code.get(code))
            if milliwatts is not None:
                integral = self._integrals.get(register)
                if integral is None:
                    integral = self._integrals[register] = PowerIntegral()
                gap = max(gap, integral.add(milliwatts, now))
        if gap:
            self._scale.discard_window()

    def _read_registers(
        self, by_code: Mapping[str, DecodedValue], local: datetime | None, now: int
    ) -> tuple[datetime | None, float]:
        """Learn from the registers of a list, if it has any.

        Returns the time that they belong to, None if it is not known, and their age in seconds.
        """
        found = {code: by_code[code] for code in obis.COUNTED if _is_count(by_code.get(code))}
        if not found:
            return None, 0.0
        before, self._registers_at = self._registers_at, now
        is_frequent = before is not None and now - before < _FREQUENT_MS
        late = local.minute * 60 + local.second if local is not None else _FULL_HOUR_WINDOW
        is_hourly = not is_frequent and late < _FULL_HOUR_WINDOW
        age = late if is_hourly else 0
        if self._is_kamstrup:
            self._learn_scale(found, now - age * _MS_PER_SECOND, is_frequent)
        if not is_hourly or local is None:
            return None, age
        return self._clock.to_utc(local.replace(minute=0, second=0, microsecond=0)), age

    def _learn_scale(self, found: Mapping[str, DecodedValue], at: int, is_frequent: bool) -> None:
        counts = {
            code: (obj.raw, self._integrals[code].value_at(at))
            for code, obj in found.items()
            if isinstance(obj.raw, int) and code in self._integrals
        }
        finding = self._scale.add_registers(at, counts, is_frequent=is_frequent)
        if finding is not None:
            self._log.append((WARNING if self._scale.is_contradicted else INFO, finding))

    # Published values

    def _published_objects(
        self, message: Message, received_at: Timestamp
    ) -> Iterator[DecodedValue]:
        """The objects of a list: energies if their scale is known, clocks with their zone."""
        for obj in message.objects:
            measure = obis.MEASURES.get(str(obj.id)) if self._is_kamstrup else None
            if measure is not None and measure.unit in push_lists.ENERGY_UNITS:
                scale = self._scale.usable_scale
                if scale is not None and isinstance(obj.raw, int):
                    self._scale.published_scale = scale
                    exponent = push_lists.energy_measure(measure, scale).exponent
                    yield obj._replace(value=power(obj.raw, exponent), unit=measure.unit)
            elif obj.id in obis.CLOCKS:
                yield from self._clock_objects(obj, received_at)
            else:
                yield obj

    def _clock_objects(self, obj: DecodedValue, received_at: Timestamp) -> Iterator[DecodedValue]:
        local = parse_local(obj.value)
        zoned = None if local is None else self._clock.to_utc(local)
        yield obj if zoned is None else obj._replace(value=zoned.isoformat())
        if local is not None and zoned is not None and received_at.utc is not None:
            yield DecodedValue(obis.DRIFT, None, self._clock.drift(local, received_at.utc), "s")

    def _check_phases(self, by_code: Mapping[str, DecodedValue]) -> None:
        if not self._is_kamstrup or "21.7.0" not in by_code:
            return
        self._compared += 1
        wrong = consistency.check_phases(
            {code: obj.raw for code, obj in by_code.items() if isinstance(obj.raw, int)}
        )
        if wrong is not None:
            self._inconsistent += 1
            level = WARNING if self._inconsistent == 1 else DEBUG
            self._log.append((level, f"consistency: {wrong}"))

    def _notes(self, now: int) -> Iterator[str]:
        progress = self._scale.describe_progress(now) if self._is_kamstrup else None
        if progress is not None:
            yield progress
        if self._compared:
            yield f"consistency: {self._inconsistent} of {self._compared} lists do not add up"
        if self._sender.is_anonymous:
            yield "the lists have no serial number: set `serial`"


def _short_code(source: object) -> str:
    """Return C.D.E of an electricity code: "1-1:1.7.0.255" -> "1.7.0". Others are unchanged."""
    text = str(source)
    return text[4:-4] if text.startswith(("1-0:", "1-1:")) and text.endswith(".255") else text


def _is_count(obj: DecodedValue | None) -> bool:
    return obj is not None and isinstance(obj.raw, int)


def _milliwatts(obj: DecodedValue | None) -> int | None:
    if obj is None or not isinstance(obj.value, Decimal) or obj.unit not in _POWER_PREFIXES:
        return None
    milliwatts = int(obj.value.scaleb(_POWER_PREFIXES[obj.unit]))
    return milliwatts if abs(milliwatts) < MAX_POWER else None
