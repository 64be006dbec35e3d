"""One meter's lists in the order they come: what several of them tell together.

The scale of the energies (`energy_scale`), the zone of the meter's clock (`clock_offset`), the
counters that go on between two registers (`live`), the moment that a register belongs to, and
whether the phases add up to the totals. Pure: the time of each list is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.core.units import power
from kamstrup_mqtt.protocols.base import Message, PushedReading, SessionUpdate, Timestamp
from kamstrup_mqtt.protocols.han import consistency, meter_type, obis, push_lists
from kamstrup_mqtt.protocols.han.clock_offset import ClockOffset
from kamstrup_mqtt.protocols.han.energy_scale import EnergyScale
from kamstrup_mqtt.protocols.han.integral import MAX_GAP, MAX_POWER, Integral
from kamstrup_mqtt.protocols.han.live import LiveCounter

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
"""Levels of logging, for `Followed.log`."""

_SERIAL_CODES = ("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255")
_SENDER_CODES = (*_SERIAL_CODES, *meter_type.TYPE_CODES)
_MS_PER_SECOND = 1000
_SERIAL_KEY = "energy_scale_meter"

_PREFIXES = {"Wh": 0, "kWh": 3, "MWh": 6, "varh": 0, "kvarh": 3, "Mvarh": 6}
"""Unit of a register -> power of ten of Wh or varh."""
_POWER_PREFIXES = {"W": 3, "kW": 6, "var": 3, "kvar": 6}
"""Unit of a power -> power of ten of mW."""
_POWER_OF: Final = {register: f"{register[0]}.7.0" for register in obis.COUNTED}
"""Register -> the power that it adds up."""
_FULL_HOUR_WINDOW: Final = 120
"""Seconds after the hour up to which a list with registers means those of the full hour."""
_TIME_OR_ENERGY_CODES: Final = frozenset(obis.CLOCKS) | frozenset(
    code for code, measure in obis.MEASURES.items() if measure.unit in push_lists.ENERGY_UNITS
)
"""Codes of what may be published otherwise than it was decoded."""
_ACTIVE: Final = ("1.8.0", "2.8.0")
_MAX_LISTS_WITHOUT_SERIAL: Final = 6
"""Lists without a serial number after which it is said that there is none."""
_DAY = timedelta(days=1)
_FREQUENT_MS: Final = 300_000
"""Milliseconds: registers that come again within this time are those of their own moment."""


class _PendingList(NamedTuple):
    """The list that was heard last. `by_code`: its objects by C.D.E; `has_time`: its clock was
    seen."""

    message: Message
    received_at: Timestamp
    by_code: Mapping[str, DecodedValue]
    meter_replaced: bool
    has_time: bool


class HanSession:
    """Follows one meter; `learned_state` is what `Followed.learned` said before."""

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
        self._saved_totals: dict[str, tuple[Decimal, datetime]] = {}
        self._totals_are_exact = True
        self._reset(learned)

    def _reset(self, learned: Mapping[str, str]) -> None:
        self._serial = learned.get(_SERIAL_KEY)
        self._sender: tuple[object, ...] | None = None  # who told the last list
        self._model_facts = {key: learned[key] for key in meter_type.KEYS if key in learned}
        self._scale = EnergyScale(self._configured_scale, learned)
        self._clock = ClockOffset(learned.get("clock_offset"))
        self._integrals: dict[str, Integral] = {}
        self._live_counters: dict[str, LiveCounter] = {}
        self._registers_at: int | None = None
        self._gaps = 0
        self._last_gap = 0
        self._compared = self._inconsistent = self._lists_without_serial = 0
        self._conflict_reported = False
        self._is_kamstrup = False  # its lists are a Kamstrup meter's: the scale is to be found

    def restore(
        self, totals: Mapping[str, tuple[Scalar, datetime | None]], *, exact: bool = True
    ) -> None:
        """Let the live counters go on from these totals, by key; `exact` False: not before the
        next register, for there may have been later ones."""
        self._totals_are_exact = exact
        self._saved_totals = {
            key: (value, time)
            for key, (value, time) in totals.items()
            if isinstance(value, Decimal) and time is not None
        }

    def process(self, message: Message, received_at: Timestamp) -> PushedReading:
        """Take one list, received at `received_at`: what is to be published, and no more."""
        by_id = {obj.id: obj for obj in message.objects}
        met, anew = self._sender, self._identify(message, by_id)
        by_code = {_short_code(id_): obj for id_, obj in by_id.items()}
        now = round(received_at.monotonic * _MS_PER_SECOND)
        self._integrate(by_code, now)
        self._resume_live_counters(received_at)
        timed = not _TIME_OR_ENERGY_CODES.isdisjoint(by_id)  # it has registers, or a clock
        objects, belongs = message.objects, None
        if timed:
            local = _meter_time(message)
            self._observe_clock(local, received_at)
            belongs = self._read_registers(by_code, local, now)
            if belongs is not None and (
                received_at.utc is None or abs(received_at.utc - belongs) > _DAY
            ):
                belongs = None  # the meter's clock is wrong
            objects = tuple(self._published_objects(message, local, received_at))
        if self._live_counters:
            objects = (*objects, *self._live_objects(by_code))
        self._pending = _PendingList(message, received_at, by_code, anew, timed)
        return PushedReading(objects, belongs, same_sender=self._sender is met)

    def learn(self) -> SessionUpdate:
        """What else follows from the list that was heard last."""
        last, self._pending = self._pending, None
        assert last is not None, "hear it first"
        self._warn_scale_conflict()
        self._model_facts.update(
            meter_type.identify_model(last.message, last.by_code, self._detect_model)
        )
        if not last.has_time:
            self._observe_clock(_meter_time(last.message), last.received_at)
        self._check_phases(last.by_code)
        log, self._log = self._log, []
        return SessionUpdate(
            learned=self.learned_state(),
            meter_replaced=last.meter_replaced,
            notes=tuple(self._notes(round(last.received_at.monotonic * _MS_PER_SECOND))),
            problem=self._scale.problem if self._is_kamstrup else None,
            log=tuple(log),
        )

    # Who it is

    def _identify(self, message: Message, by_id: Mapping[SourceId, DecodedValue]) -> bool:
        """A proven type decides the scale. Another meter begins anew: whether it is one."""
        maker = message.header.get("maker")
        met = (maker, *(by_id[id_] for id_ in _SENDER_CODES if id_ in by_id))
        if met == self._sender and self._serial is not None:
            return False  # the same as before
        told = [(id_, by_id[id_].value) for id_ in _SERIAL_CODES if id_ in by_id]
        ids = [f"{id_} {value}" for id_, value in told if value is not None]
        known = (self._serial or "").partition(" ")[0]
        other = [id_ for id_ in ids if id_.partition(" ")[0] == known and id_ != self._serial]
        if other:
            self._reset({})
            self._saved_totals = {}
        if ids:
            self._serial = self._serial or ids[0]
        elif message.header.get("elements", 0) != 1:
            self._lists_without_serial += 1
        self._sender = met
        self._is_kamstrup = maker == "kamstrup"
        if self._is_kamstrup:
            types = [str(by_id[id_].value) for id_ in meter_type.TYPE_CODES if id_ in by_id]
            if types and self._scale.decide_by_type(types[0]):
                self._log.append(
                    (INFO, f"the energies count {self._scale.scale} Wh: proven for {types[0]}")
                )
        return bool(other)

    def _warn_scale_conflict(self) -> None:
        """Once: the configuration has another scale than before."""
        if self._is_kamstrup and self._scale.has_config_conflict and not self._conflict_reported:
            self._conflict_reported = True
            self._log.append((WARNING, self._scale.problem or ""))

    def accept_held(self) -> str | None:
        """Go on with the scale that totals are held back for: what was accepted, in words."""
        scale = self._scale.accept_held() if self._is_kamstrup else None
        if scale is None:
            return None
        self._live_counters.clear()
        self._saved_totals.clear()
        return f"energy_scale {scale}"

    def learned_state(self) -> dict[str, str]:
        """Everything to remember."""
        found = {**self._scale.learned, **self._model_facts}
        if self._serial is not None:
            found[_SERIAL_KEY] = self._serial
        if self._clock.text is not None:
            found["clock_offset"] = self._clock.text
        return found

    # Its clock

    def _observe_clock(self, local: datetime | None, received_at: Timestamp) -> None:
        if received_at.utc is None:
            return
        stepped = self._clock.observe_host(received_at.utc, received_at.monotonic)
        if stepped is not None:
            self._log.append((INFO, "the host's clock stepped: the meter's offset is learned anew"))
        if local is not None and self._clock.observe_meter(local, received_at.utc):
            self._log.append((INFO, f"the meter's clock is {self._clock.text} from UTC"))

    # Power to energy

    def _integrate(self, by_code: Mapping[str, DecodedValue], now: int) -> None:
        longest = 0
        for register in obis.COUNTED:
            power = _milliwatts(by_code.get(_POWER_OF[register]))
            if power is not None:
                integral = self._integrals.get(register)
                if integral is None:
                    integral = self._integrals[register] = Integral()
                longest = max(longest, integral.add(power, now))
        if longest:
            self._gaps += 1
            self._last_gap = longest
            self._scale.discard_window()

    def _read_registers(
        self, by_code: Mapping[str, DecodedValue], local: datetime | None, now: int
    ) -> datetime | None:
        """Take the registers of a list, if it has any; the moment they belong to."""
        found = {code: by_code[code] for code in obis.COUNTED if _is_count(by_code.get(code))}
        if not found:
            return None
        before, self._registers_at = self._registers_at, now
        is_frequent = before is not None and now - before < _FREQUENT_MS
        late = local.minute * 60 + local.second if local is not None else _FULL_HOUR_WINDOW
        hourly = not is_frequent and late < _FULL_HOUR_WINDOW
        at = now - late * _MS_PER_SECOND if hourly else now
        if self._is_kamstrup:
            self._learn_scale(found, at, is_frequent)
        self._anchor_counters(found, at)
        if not hourly or local is None:
            return None
        return self._clock.to_utc(local.replace(minute=0, second=0, microsecond=0))

    def _learn_scale(self, found: Mapping[str, DecodedValue], at: int, is_frequent: bool) -> None:
        counts = {
            code: (obj.raw, self._integrals[code].value_at(at))
            for code, obj in found.items()
            if isinstance(obj.raw, int) and code in self._integrals and code in _ACTIVE
        }
        news = self._scale.add_registers(at, counts, is_frequent=is_frequent)
        if news is not None:
            self._log.append((WARNING if self._scale.is_contradicted else INFO, news))
        if self._scale.is_contradicted:
            for counter in self._live_counters.values():
                counter.reset()

    def _anchor_counters(self, found: Mapping[str, DecodedValue], at: int) -> None:
        for code, obj in found.items():
            register = self._watt_hours(obj)
            if register is not None and code in self._integrals:
                if code not in self._live_counters:
                    self._live_counters[code] = self._make_counter(code, running=False)
                self._live_counters[code].anchor(*register, at)

    def _make_counter(self, code: str, *, running: bool) -> LiveCounter:
        counter = LiveCounter(self._integrals[code])
        remembered = self._saved_totals.pop(_live_key(code), None)
        if remembered is not None:
            counter.restore(remembered[0], running=running)
        return counter

    def _resume_live_counters(self, received_at: Timestamp) -> None:
        """Counters that were published a moment ago, before a restart, need no register."""
        if not self._saved_totals or not self._totals_are_exact or received_at.utc is None:
            return
        if self._is_kamstrup and self._scale.usable_scale is None:
            return
        for code in self._integrals:
            value, time = self._saved_totals.get(_live_key(code), (None, None))
            if value is None or time is None or code in self._live_counters:
                continue
            age = (received_at.utc - time).total_seconds()
            if 0 <= age * _MS_PER_SECOND <= MAX_GAP:
                self._live_counters[code] = self._make_counter(code, running=True)

    def _watt_hours(self, obj: DecodedValue) -> tuple[int, int] | None:
        """A register and its step in Wh; None while the scale is not known."""
        if self._is_kamstrup:
            scale = self._scale.usable_scale
            if scale is None or not isinstance(obj.raw, int):
                return None
            return obj.raw * scale, scale
        if not isinstance(obj.value, Decimal) or obj.unit not in _PREFIXES:
            return None
        sign, digits, exponent = obj.value.as_tuple()
        if sign or not isinstance(exponent, int):
            return None
        step = exponent + _PREFIXES[obj.unit]
        return int(Decimal((0, digits, step))), 10 ** max(step, 0)

    # What is told

    def _published_objects(
        self, message: Message, local: datetime | None, received_at: Timestamp
    ) -> Iterator[DecodedValue]:
        """The objects of the list: energies as far as their scale is known, clocks with zone."""
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
        local = _parse_local(obj.value)
        zoned = None if local is None else self._clock.to_utc(local)
        yield obj if zoned is None else obj._replace(value=zoned.isoformat())
        if local is not None and zoned is not None and received_at.utc is not None:
            yield DecodedValue(obis.DRIFT, None, self._clock.drift(local, received_at.utc), "s")

    def _live_objects(self, by_code: Mapping[str, DecodedValue]) -> Iterator[DecodedValue]:
        """The live counters of the powers in this list."""
        for code, counter in self._live_counters.items():
            value = counter.value
            if _POWER_OF[code] in by_code and value is not None:
                unit = "kWh" if code in _ACTIVE else "kvarh"
                yield DecodedValue(f"{obis.LIVE}{code}", None, value, unit)

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
        for code, counter in self._live_counters.items():
            if counter.error is not None:
                yield f"{_live_key(code)}: {counter.error:+f} against the last register"
        if self._gaps:
            yield (
                f"gaps: {self._gaps} that were not counted live,"
                f" the last of {self._last_gap // _MS_PER_SECOND} s"
            )
        if self._compared:
            yield f"consistency: {self._inconsistent} of {self._compared} lists do not add up"
        if self._lists_without_serial >= _MAX_LISTS_WITHOUT_SERIAL and self._serial is None:
            yield "the lists tell no serial number: set `serial`"


@lru_cache(maxsize=256)  # a meter says what it likes
def _short_code(source: object) -> str:
    """C.D.E of a code of the electricity tables: "1-1:1.7.0.255" is "1.7.0"; others as they are."""
    text = str(source)
    return text[4:-4] if text.startswith(("1-0:", "1-1:")) and text.endswith(".255") else text


def _live_key(code: str) -> str:
    return obis.KEYS[f"{obis.LIVE}{code}"]


def _is_count(obj: DecodedValue | None) -> bool:
    return obj is not None and isinstance(obj.raw, int)


def _milliwatts(obj: DecodedValue | None) -> int | None:
    if obj is None or not isinstance(obj.value, Decimal) or obj.unit not in _POWER_PREFIXES:
        return None
    power = int(obj.value.scaleb(_POWER_PREFIXES[obj.unit]))
    return power if abs(power) < MAX_POWER else None


def _meter_time(message: Message) -> datetime | None:
    """What the meter's clock showed when it sent the list: its header tells, or an element."""
    local = _parse_local(message.header.get("meter_time"))
    if local is not None:
        return local
    told = (obj.value for obj in message.objects if obj.id in obis.CLOCKS)
    return next((local for local in map(_parse_local, told) if local is not None), None)


def _parse_local(value: object) -> datetime | None:
    """A time without zone, as meters tell it; None for everything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo is None else None
