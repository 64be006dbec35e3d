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

from kamstrup_mqtt.core.model import Object, Scalar, SourceId
from kamstrup_mqtt.core.units import power
from kamstrup_mqtt.protocols.base import Followed, Message, Moment, Told
from kamstrup_mqtt.protocols.han import consistency, meter_type, obis, push_lists
from kamstrup_mqtt.protocols.han.clock_offset import ClockOffset
from kamstrup_mqtt.protocols.han.energy_scale import EnergyScale
from kamstrup_mqtt.protocols.han.integral import LONGEST_GAP, MOST, Integral
from kamstrup_mqtt.protocols.han.live import LiveCounter

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
"""Levels of logging, for `Followed.log`."""

_IDS = ("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255")
_WHO = (*_IDS, *meter_type.TYPES)
_MILLI = 1000
_METER = "energy_scale_meter"

_PREFIXES = {"Wh": 0, "kWh": 3, "MWh": 6, "varh": 0, "kvarh": 3, "Mvarh": 6}
"""Unit of a register -> power of ten of Wh or varh."""
_POWER_PREFIXES = {"W": 3, "kW": 6, "var": 3, "kvar": 6}
"""Unit of a power -> power of ten of mW."""
_POWER_OF: Final = {register: f"{register[0]}.7.0" for register in obis.COUNTED}
"""Register -> the power that it adds up."""
_LATE: Final = 120
"""Seconds after the hour up to which a list with registers means those of the full hour."""
_TURNED: Final = frozenset(obis.CLOCKS) | frozenset(
    code for code, measure in obis.MEASURES.items() if measure.unit in push_lists.ENERGY_UNITS
)
"""Codes of what may be published otherwise than it was decoded."""
_ACTIVE: Final = ("1.8.0", "2.8.0")
_ANONYMOUS: Final = 6
"""Lists without a serial number after which it is said that there is none."""
_DAY = timedelta(days=1)
_OFTEN: Final = 300_000
"""Milliseconds: registers that come again within this time are those of their own moment."""


class _List(NamedTuple):
    """The list that was heard last. `short`: its objects by C.D.E; `timed`: its clock was seen."""

    message: Message
    moment: Moment
    short: Mapping[str, Object]
    anew: bool
    timed: bool


class Follower:
    """Follows one meter; `learned` is what `Followed.learned` said before."""

    def __init__(
        self,
        energy_scale: int | None,
        learned: Mapping[str, str],
        detect_model: meter_type.DetectModel = meter_type.no_model,
    ) -> None:
        self._given = energy_scale
        self._detect_model = detect_model
        self._last: _List | None = None
        self._log: list[tuple[int, str]] = []
        self._resumed: dict[str, tuple[Decimal, datetime]] = {}
        self._exact = True
        self._begin(learned)

    def _begin(self, learned: Mapping[str, str]) -> None:
        self._meter = learned.get(_METER)
        self._met: tuple[object, ...] | None = None  # who told the last list
        self._recognised = {key: learned[key] for key in meter_type.KEYS if key in learned}
        self._scale = EnergyScale(self._given, learned)
        self._clock = ClockOffset(learned.get("clock_offset"))
        self._integrals: dict[str, Integral] = {}
        self._live: dict[str, LiveCounter] = {}
        self._registers_at: int | None = None
        self._gaps = 0
        self._last_gap = 0
        self._compared = self._inconsistent = self._anonymous = 0
        self._held_said = False
        self._kamstrup = False  # its lists are a Kamstrup meter's: the scale is to be found

    def resume(
        self, totals: Mapping[str, tuple[Scalar, datetime | None]], *, exact: bool = True
    ) -> None:
        """Let the live counters go on from these totals, by key; `exact` False: not before the
        next register, for there may have been later ones."""
        self._exact = exact
        self._resumed = {
            key: (value, time)
            for key, (value, time) in totals.items()
            if isinstance(value, Decimal) and time is not None
        }

    def hear(self, message: Message, moment: Moment) -> Told:
        """Take one list, received at `moment`: what is to be published, and no more."""
        by_id = {obj.id: obj for obj in message.objects}
        met, anew = self._met, self._meet(message, by_id)
        short = {_short(id_): obj for id_, obj in by_id.items()}
        now = round(moment.monotonic * _MILLI)
        self._integrate(short, now)
        self._go_on(moment)
        timed = not _TURNED.isdisjoint(by_id)  # it has registers, or a clock
        objects, belongs = message.objects, None
        if timed:
            local = _local(message)
            self._set_clock(local, moment)
            belongs = self._read_registers(short, local, now)
            if belongs is not None and (moment.utc is None or abs(moment.utc - belongs) > _DAY):
                belongs = None  # the meter's clock is wrong
            objects = tuple(self._published(message, local, moment))
        if self._live:
            objects = (*objects, *self._counted(short))
        self._last = _List(message, moment, short, anew, timed)
        return Told(objects, belongs, settled=self._met is met)

    def follow(self) -> Followed:
        """What else follows from the list that was heard last."""
        last, self._last = self._last, None
        assert last is not None, "hear it first"
        self._say_held()
        self._recognised.update(meter_type.recognise(last.message, last.short, self._detect_model))
        if not last.timed:
            self._set_clock(_local(last.message), last.moment)
        self._check(last.short)
        log, self._log = self._log, []
        return Followed(
            learned=self.learned(),
            anew=last.anew,
            notes=tuple(self._notes(round(last.moment.monotonic * _MILLI))),
            problem=self._scale.problem if self._kamstrup else None,
            log=tuple(log),
        )

    # Who it is

    def _meet(self, message: Message, by_id: Mapping[SourceId, Object]) -> bool:
        """A proven type decides the scale. Another meter begins anew: whether it is one."""
        maker = message.header.get("maker")
        met = (maker, *(by_id[id_] for id_ in _WHO if id_ in by_id))
        if met == self._met and self._meter is not None:
            return False  # the same as before
        told = [(id_, by_id[id_].value) for id_ in _IDS if id_ in by_id]
        ids = [f"{id_} {value}" for id_, value in told if value is not None]
        known = (self._meter or "").partition(" ")[0]
        other = [id_ for id_ in ids if id_.partition(" ")[0] == known and id_ != self._meter]
        if other:
            self._begin({})
            self._resumed = {}
        if ids:
            self._meter = self._meter or ids[0]
        elif message.header.get("elements", 0) != 1:
            self._anonymous += 1
        self._met = met
        self._kamstrup = maker == "kamstrup"
        if self._kamstrup:
            types = [str(by_id[id_].value) for id_ in meter_type.TYPES if id_ in by_id]
            if types and self._scale.type_is(types[0]):
                self._log.append(
                    (INFO, f"the energies count {self._scale.scale} Wh: proven for {types[0]}")
                )
        return bool(other)

    def _say_held(self) -> None:
        """Once: the configuration has another scale than before."""
        if self._kamstrup and self._scale.is_another and not self._held_said:
            self._held_said = True
            self._log.append((WARNING, self._scale.problem or ""))

    def accept(self) -> str | None:
        """Go on with the scale that totals are held back for: what was accepted, in words."""
        scale = self._scale.accept() if self._kamstrup else None
        if scale is None:
            return None
        self._live.clear()
        self._resumed.clear()
        return f"energy_scale {scale}"

    def learned(self) -> dict[str, str]:
        """Everything to remember."""
        found = {**self._scale.learned, **self._recognised}
        if self._meter is not None:
            found[_METER] = self._meter
        if self._clock.text is not None:
            found["clock_offset"] = self._clock.text
        return found

    # Its clock

    def _set_clock(self, local: datetime | None, moment: Moment) -> None:
        if moment.utc is None:
            return
        stepped = self._clock.host(moment.utc, moment.monotonic)
        if stepped is not None:
            self._log.append((INFO, "the host's clock stepped: the meter's offset is learned anew"))
        if local is not None and self._clock.observe(local, moment.utc):
            self._log.append((INFO, f"the meter's clock is {self._clock.text} from UTC"))

    # Power to energy

    def _integrate(self, short: Mapping[str, Object], now: int) -> None:
        longest = 0
        for register in obis.COUNTED:
            power = _milliwatts(short.get(_POWER_OF[register]))
            if power is not None:
                integral = self._integrals.get(register)
                if integral is None:
                    integral = self._integrals[register] = Integral()
                longest = max(longest, integral.add(power, now))
        if longest:
            self._gaps += 1
            self._last_gap = longest
            self._scale.void()

    def _read_registers(
        self, short: Mapping[str, Object], local: datetime | None, now: int
    ) -> datetime | None:
        """Take the registers of a list, if it has any; the moment they belong to."""
        found = {code: short[code] for code in obis.COUNTED if _is_count(short.get(code))}
        if not found:
            return None
        before, self._registers_at = self._registers_at, now
        often = before is not None and now - before < _OFTEN
        late = local.minute * 60 + local.second if local is not None else _LATE
        hourly = not often and late < _LATE
        at = now - late * _MILLI if hourly else now
        if self._kamstrup:
            self._learn_scale(found, at, often)
        self._anchor(found, at)
        if not hourly or local is None:
            return None
        return self._clock.utc(local.replace(minute=0, second=0, microsecond=0))

    def _learn_scale(self, found: Mapping[str, Object], at: int, often: bool) -> None:
        counts = {
            code: (obj.raw, self._integrals[code].at(at))
            for code, obj in found.items()
            if isinstance(obj.raw, int) and code in self._integrals and code in _ACTIVE
        }
        news = self._scale.registers(at, counts, often=often)
        if news is not None:
            self._log.append((WARNING if self._scale.contradicted else INFO, news))
        if self._scale.contradicted:
            for counter in self._live.values():
                counter.forget()

    def _anchor(self, found: Mapping[str, Object], at: int) -> None:
        for code, obj in found.items():
            register = self._watt_hours(obj)
            if register is not None and code in self._integrals:
                if code not in self._live:
                    self._live[code] = self._make_counter(code, running=False)
                self._live[code].anchor(*register, at)

    def _make_counter(self, code: str, *, running: bool) -> LiveCounter:
        counter = LiveCounter(self._integrals[code])
        remembered = self._resumed.pop(_live_key(code), None)
        if remembered is not None:
            counter.resume(remembered[0], running=running)
        return counter

    def _go_on(self, moment: Moment) -> None:
        """Counters that were published a moment ago, before a restart, need no register."""
        if not self._resumed or not self._exact or moment.utc is None:
            return
        if self._kamstrup and self._scale.trusted is None:
            return
        for code in self._integrals:
            value, time = self._resumed.get(_live_key(code), (None, None))
            if value is None or time is None or code in self._live:
                continue
            age = (moment.utc - time).total_seconds()
            if 0 <= age * _MILLI <= LONGEST_GAP:
                self._live[code] = self._make_counter(code, running=True)

    def _watt_hours(self, obj: Object) -> tuple[int, int] | None:
        """A register and its step in Wh; None while the scale is not known."""
        if self._kamstrup:
            scale = self._scale.trusted
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

    def _published(
        self, message: Message, local: datetime | None, moment: Moment
    ) -> Iterator[Object]:
        """The objects of the list: energies as far as their scale is known, clocks with zone."""
        for obj in message.objects:
            measure = obis.MEASURES.get(str(obj.id)) if self._kamstrup else None
            if measure is not None and measure.unit in push_lists.ENERGY_UNITS:
                scale = self._scale.trusted
                if scale is not None and isinstance(obj.raw, int):
                    self._scale.published = scale
                    exponent = push_lists.energy_measure(measure, scale).exponent
                    yield obj._replace(value=power(obj.raw, exponent), unit=measure.unit)
            elif obj.id in obis.CLOCKS:
                yield from self._clock_objects(obj, moment)
            else:
                yield obj

    def _clock_objects(self, obj: Object, moment: Moment) -> Iterator[Object]:
        local = _naive(obj.value)
        zoned = None if local is None else self._clock.utc(local)
        yield obj if zoned is None else obj._replace(value=zoned.isoformat())
        if local is not None and zoned is not None and moment.utc is not None:
            yield Object(obis.DRIFT, None, self._clock.drift(local, moment.utc), "s")

    def _counted(self, short: Mapping[str, Object]) -> Iterator[Object]:
        """The live counters of the powers in this list."""
        for code, counter in self._live.items():
            value = counter.value
            if _POWER_OF[code] in short and value is not None:
                unit = "kWh" if code in _ACTIVE else "kvarh"
                yield Object(f"{obis.LIVE}{code}", None, value, unit)

    def _check(self, short: Mapping[str, Object]) -> None:
        if not self._kamstrup or "21.7.0" not in short:
            return
        self._compared += 1
        wrong = consistency.check(
            {code: obj.raw for code, obj in short.items() if isinstance(obj.raw, int)}
        )
        if wrong is not None:
            self._inconsistent += 1
            level = WARNING if self._inconsistent == 1 else DEBUG
            self._log.append((level, f"consistency: {wrong}"))

    def _notes(self, now: int) -> Iterator[str]:
        progress = self._scale.progress(now) if self._kamstrup else None
        if progress is not None:
            yield progress
        for code, counter in self._live.items():
            if counter.error is not None:
                yield f"{_live_key(code)}: {counter.error:+f} against the last register"
        if self._gaps:
            yield (
                f"gaps: {self._gaps} that were not counted live,"
                f" the last of {self._last_gap // _MILLI} s"
            )
        if self._compared:
            yield f"consistency: {self._inconsistent} of {self._compared} lists do not add up"
        if self._anonymous >= _ANONYMOUS and self._meter is None:
            yield "the lists tell no serial number: set `serial`"


@lru_cache(maxsize=256)  # a meter says what it likes
def _short(source: object) -> str:
    """C.D.E of a code of the electricity tables: "1-1:1.7.0.255" is "1.7.0"; others as they are."""
    text = str(source)
    return text[4:-4] if text.startswith(("1-0:", "1-1:")) and text.endswith(".255") else text


def _live_key(code: str) -> str:
    return obis.KEYS[f"{obis.LIVE}{code}"]


def _is_count(obj: Object | None) -> bool:
    return obj is not None and isinstance(obj.raw, int)


def _milliwatts(obj: Object | None) -> int | None:
    if obj is None or not isinstance(obj.value, Decimal) or obj.unit not in _POWER_PREFIXES:
        return None
    power = int(obj.value.scaleb(_POWER_PREFIXES[obj.unit]))
    return power if abs(power) < MOST else None


def _local(message: Message) -> datetime | None:
    """What the meter's clock showed when it sent the list: its header tells, or an element."""
    local = _naive(message.header.get("meter_time"))
    if local is not None:
        return local
    told = (obj.value for obj in message.objects if obj.id in obis.CLOCKS)
    return next((local for local in map(_naive, told) if local is not None), None)


def _naive(value: object) -> datetime | None:
    """A time without zone, as meters tell it; None for everything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo is None else None
