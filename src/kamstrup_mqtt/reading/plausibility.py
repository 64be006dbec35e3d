"""Plausibility of totals, judged before they are published: pure.

A total T at t is plausible after the last accepted T0 at t0 if

    T0 <= T <= T0 + Pmax·(t - t0) + 2 counts

where Pmax is what the meter can physically do and a count the last digit that it sends. Zero is
judged like any other value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_FLOOR, Context, Decimal

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.model import Measured
from kamstrup_mqtt.meters.limits import Bounds
from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.plan import Plan
from kamstrup_mqtt.storage.state_schema import MeterMemory, StoredTotal

COUNTS = 2
"""Last digits by which a total may be more than the power explains."""
STRONG, WEAK = 2, 3
"""Agreeing readings that replace the last accepted total: of protocols with a CRC-16, and of those
with an LRC or a 7-bit BCC."""
WRAP_DIGITS = 6
"""A register with fewer digits than that does not wrap: 99 -> 0 is a fault."""
_HOUR = Decimal(3600)
_WIDE = Context(prec=120)
"""Totals have up to 39 digits; differences of them must not be rounded."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A total that was believed, in its frozen unit. `monotonic` None: remembered from another
    run of the program."""

    value: Decimal
    time: datetime | None
    monotonic: float | None


@dataclass(slots=True)
class Doubted:
    """A total that is held back, and how many readings in a row agree on it."""

    last: Accepted
    unit: str | None
    agreeing: int
    why: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The values that go on (a held back total is a Measured(None)); key -> why it is held."""

    values: Mapping[str, Measured]
    held: Mapping[str, str] = field(default_factory=dict)


class Guard:
    """Judges the totals of one meter. `weak`: its protocol has an LRC or a 7-bit BCC only."""

    def __init__(self, plan: Plan, memory: MeterMemory, bounds: Bounds, *, weak: bool) -> None:
        self._plan = plan
        self._memory = memory
        self._bounds = bounds
        self._weak = weak
        # of its own: the publisher's side forgets the memory when another meter answers, later
        # than we hear of it
        self._accepted = {
            key: Accepted(total.value, total.time, None)
            for key, total in memory.totals.items()
            if isinstance(total.value, Decimal)
        }
        self._doubted: dict[str, Doubted] = {}

    @property
    def held(self) -> Mapping[str, str]:
        """Key -> why it is held back now."""
        return {key: doubted.why for key, doubted in self._doubted.items()}

    def judge(
        self, values: Mapping[str, Measured], time: datetime | None, monotonic: float
    ) -> Judged:
        """One group of readings, received at `time` (None: the clock is not right)."""
        held: dict[str, str] = {}
        for key, measured in values.items():
            if not self._plan.is_total(key):
                continue
            why = self._judge(key, measured, time, monotonic)
            if why is not None:
                held[key] = why
        if not held:
            return Judged(values)
        passed = {k: Measured(None, m.unit) if k in held else m for k, m in values.items()}
        return Judged(passed, held)

    def accept(self) -> tuple[str, ...]:
        """Believe what is held back now: its keys."""
        keys = tuple(self._doubted)
        for key, doubted in list(self._doubted.items()):
            self._believe(key, doubted.last)
        return keys

    def bound(self, power: int) -> None:
        """It was found out what the meter can do at most, in W."""
        self._bounds = replace(self._bounds, power=power)

    def forget(self, keys: Iterable[str] | None = None) -> None:
        """Another meter answers, or these totals of it count differently from now on."""
        for key in [*self._accepted, *self._doubted] if keys is None else keys:
            self._accepted.pop(key, None)
            self._doubted.pop(key, None)

    def _judge(
        self, key: str, measured: Measured, time: datetime | None, monotonic: float
    ) -> str | None:
        """Of a total. None: it goes on; else why not."""
        quantity = self._plan.quantity(key)
        unit = self._memory.units.get(key, measured.unit)
        try:
            value = units.convert(measured.value, measured.unit, unit)
        except ValueError:
            return None  # another unit: the picture holds that back, and says so
        if not isinstance(value, Decimal):
            return None
        now = Accepted(value, time, monotonic)
        before = self._accepted.get(key)
        if before is not None:
            why = self._implausible(before, now, unit, quantity.catches_up)
            if why is None:
                self._believe(key, now)
                return None
        elif not self._weak:
            self._believe(key, now)
            return None
        else:
            why = "the first value: waiting for a second that agrees with it"
        return self._doubt(quantity, now, unit, why, first=before is None)

    def _believe(self, key: str, total: Accepted) -> None:
        self._doubted.pop(key, None)
        self._accepted[key] = total
        self._memory.totals[key] = StoredTotal(total.value, total.time)

    def _doubt(
        self, quantity: Quantity, now: Accepted, unit: str | None, why: str, *, first: bool
    ) -> str | None:
        key, catches_up = quantity.key, quantity.catches_up
        last = self._doubted.get(key)
        # a value that nobody believed yet has not run over: 999999 and 0 are two wild ones
        agrees = last is not None and not self._implausible(
            last.last, now, unit, catches_up, wraps=False
        )
        agreeing = last.agreeing + 1 if last is not None and agrees else 1
        if agreeing >= (STRONG if first or not self._weak else WEAK):
            self._believe(key, now)
            return None
        self._doubted[key] = Doubted(now, unit, agreeing, why)
        return why

    def _implausible(
        self,
        before: Accepted,
        now: Accepted,
        unit: str | None,
        catches_up: float,
        *,
        wraps: bool = True,
    ) -> str | None:
        count = _count(before.value, now.value)
        least = before.value
        if count > _count(before.value):  # it shows fewer digits than before: 12.34 -> 12.3
            least = least.quantize(count, rounding=ROUND_FLOOR, context=_WIDE)
        value = now.value
        if value < least and wraps:
            value = _unwrapped(before.value, value, count)
        if value < least:
            return f"{_text(now.value, unit)} is less than the last accepted {_since(before, unit)}"
        rate = self._bounds.per_hour(unit)
        if rate is None:
            return None
        seconds = max(_elapsed(before, now), catches_up)
        risen = _WIDE.subtract(value, before.value)
        most = _WIDE.add(
            _WIDE.divide(_WIDE.multiply(rate, Decimal(seconds)), _HOUR),
            _WIDE.multiply(Decimal(COUNTS), count),
        )
        if risen <= most:
            return None
        return (
            f"{_text(now.value, unit)} is more than the meter can have counted in {seconds:.0f} s"
            f" since the last accepted {_since(before, unit)}"
        )


def _count(*values: Decimal) -> Decimal:
    """The last digit of the coarsest of the values: 12.34 -> 0.01."""
    return Decimal((0, (1,), max(_exponent(value) for value in values)))


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return exponent


def _unwrapped(before: Decimal, now: Decimal, count: Decimal) -> Decimal:
    """`now`, plus the register's capacity where it ran over: `before` in the top 1 % of its
    digits, `now` in the lowest 1 %."""
    mantissa = int(_WIDE.divide_int(before, count))
    digits = len(str(mantissa))
    capacity = 10**digits
    if digits < WRAP_DIGITS or mantissa * 100 < capacity * 99 or now < 0:
        return now
    if int(_WIDE.divide_int(now, count)) * 100 > capacity:
        return now
    return _WIDE.add(now, _WIDE.multiply(Decimal(capacity), count))


def _elapsed(before: Accepted, now: Accepted) -> float:
    """Seconds between the two: across runs by the host's clock, within one run by whichever clock
    tells more - one may be set back, the other stands while the host sleeps; 0 where neither tells,
    which is the strictest."""
    known = [0.0]
    if before.monotonic is not None and now.monotonic is not None:
        known.append(now.monotonic - before.monotonic)
    if before.time is not None and now.time is not None:
        known.append((now.time - before.time).total_seconds())
    return max(known)


def _text(value: Decimal, unit: str | None) -> str:
    return f"{value:f} {unit}" if unit else f"{value:f}"


def _since(total: Accepted, unit: str | None) -> str:
    time = rfc3339(total.time)
    return _text(total.value, unit) + (f" of {time}" if time else "")
