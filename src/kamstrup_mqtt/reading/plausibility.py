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
from kamstrup_mqtt.core.model import Measurement
from kamstrup_mqtt.meters.limits import MeterLimits
from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.storage.state_schema import LastTotal, MeterState

TOLERATED_COUNTS = 2
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
class AcceptedTotal:
    """A total that was believed, in its frozen unit. `monotonic` None: remembered from another
    run of the program."""

    value: Decimal
    time: datetime | None
    monotonic: float | None


@dataclass(slots=True)
class PendingTotal:
    """A total that is held back, and how many readings in a row agree on it."""

    last: AcceptedTotal
    unit: str | None
    agreeing: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The values that go on (a held back total is a Measured(None)); key -> why it is held."""

    values: Mapping[str, Measurement]
    held_back: Mapping[str, str] = field(default_factory=dict)


class PlausibilityFilter:
    """Judges the totals of one meter. `has_weak_checksum`: its protocol has an LRC or a 7-bit BCC
    only."""

    def __init__(
        self,
        plan: ReadingPlan,
        meter_state: MeterState,
        limits: MeterLimits,
        *,
        has_weak_checksum: bool,
    ) -> None:
        self._plan = plan
        self._meter_state = meter_state
        self._limits = limits
        self._has_weak_checksum = has_weak_checksum
        # of its own: the publisher's side forgets the memory when another meter answers, later
        # than we hear of it
        self._accepted = {
            key: AcceptedTotal(total.value, total.time, None)
            for key, total in meter_state.totals.items()
            if isinstance(total.value, Decimal)
        }
        self._pending: dict[str, PendingTotal] = {}

    @property
    def held_back(self) -> Mapping[str, str]:
        """Key -> why it is held back now."""
        return {key: doubted.reason for key, doubted in self._pending.items()}

    def judge(
        self, values: Mapping[str, Measurement], time: datetime | None, monotonic: float
    ) -> Verdict:
        """One group of readings, received at `time` (None: the clock is not right)."""
        held: dict[str, str] = {}
        for key, measured in values.items():
            if not self._plan.is_total(key):
                continue
            reason = self._judge_total(key, measured, time, monotonic)
            if reason is not None:
                held[key] = reason
        if not held:
            return Verdict(values)
        passed = {k: Measurement(None, m.unit) if k in held else m for k, m in values.items()}
        return Verdict(passed, held)

    def accept_held(self) -> tuple[str, ...]:
        """Believe what is held back now: its keys."""
        keys = tuple(self._pending)
        for key, doubted in list(self._pending.items()):
            self._accept(key, doubted.last)
        return keys

    def limit_power(self, power: int) -> None:
        """It was found out what the meter can do at most, in W."""
        self._limits = replace(self._limits, power=power)

    def forget(self, keys: Iterable[str] | None = None) -> None:
        """Another meter answers, or these totals of it count differently from now on."""
        for key in [*self._accepted, *self._pending] if keys is None else keys:
            self._accepted.pop(key, None)
            self._pending.pop(key, None)

    def _judge_total(
        self, key: str, measured: Measurement, time: datetime | None, monotonic: float
    ) -> str | None:
        """Of a total. None: it goes on; else why not."""
        quantity = self._plan.quantity(key)
        unit = self._meter_state.units.get(key, measured.unit)
        try:
            value = units.convert(measured.value, measured.unit, unit)
        except ValueError:
            return None  # another unit: the picture holds that back, and says so
        if not isinstance(value, Decimal):
            return None
        now = AcceptedTotal(value, time, monotonic)
        before = self._accepted.get(key)
        if before is not None:
            reason = self._implausible(before, now, unit, quantity.catch_up_seconds)
            if reason is None:
                self._accept(key, now)
                return None
        elif not self._has_weak_checksum:
            self._accept(key, now)
            return None
        else:
            reason = "the first value: waiting for a second that agrees with it"
        return self._hold_back(quantity, now, unit, reason, first=before is None)

    def _accept(self, key: str, total: AcceptedTotal) -> None:
        self._pending.pop(key, None)
        self._accepted[key] = total
        self._meter_state.totals[key] = LastTotal(total.value, total.time)

    def _hold_back(
        self, quantity: Quantity, now: AcceptedTotal, unit: str | None, reason: str, *, first: bool
    ) -> str | None:
        key, catches_up = quantity.key, quantity.catch_up_seconds
        last = self._pending.get(key)
        # a value that nobody believed yet has not run over: 999999 and 0 are two wild ones
        agrees = last is not None and not self._implausible(
            last.last, now, unit, catches_up, wraps=False
        )
        agreeing = last.agreeing + 1 if last is not None and agrees else 1
        if agreeing >= (STRONG if first or not self._has_weak_checksum else WEAK):
            self._accept(key, now)
            return None
        self._pending[key] = PendingTotal(now, unit, agreeing, reason)
        return reason

    def _implausible(
        self,
        before: AcceptedTotal,
        now: AcceptedTotal,
        unit: str | None,
        catches_up: float,
        *,
        wraps: bool = True,
    ) -> str | None:
        count = _last_digit(before.value, now.value)
        least = before.value
        if count > _last_digit(before.value):  # it shows fewer digits than before: 12.34 -> 12.3
            least = least.quantize(count, rounding=ROUND_FLOOR, context=_WIDE)
        value = now.value
        if value < least and wraps:
            value = _unwrap(before.value, value, count)
        if value < least:
            return (
                f"{_format_value(now.value, unit)} is less than the last accepted"
                f" {_describe_accepted(before, unit)}"
            )
        rate = self._limits.max_rise_per_hour(unit)
        if rate is None:
            return None
        seconds = max(_elapsed(before, now), catches_up)
        risen = _WIDE.subtract(value, before.value)
        most = _WIDE.add(
            _WIDE.divide(_WIDE.multiply(rate, Decimal(seconds)), _HOUR),
            _WIDE.multiply(Decimal(TOLERATED_COUNTS), count),
        )
        if risen <= most:
            return None
        return (
            f"{_format_value(now.value, unit)} is more than the meter can have counted in"
            f" {seconds:.0f} s since the last accepted {_describe_accepted(before, unit)}"
        )


def _last_digit(*values: Decimal) -> Decimal:
    """The last digit of the coarsest of the values: 12.34 -> 0.01."""
    return Decimal((0, (1,), max(_exponent(value) for value in values)))


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return exponent


def _unwrap(before: Decimal, now: Decimal, count: Decimal) -> Decimal:
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


def _elapsed(before: AcceptedTotal, now: AcceptedTotal) -> float:
    """Seconds between the two: across runs by the host's clock, within one run by whichever clock
    tells more - one may be set back, the other stands while the host sleeps; 0 where neither tells,
    which is the strictest."""
    known = [0.0]
    if before.monotonic is not None and now.monotonic is not None:
        known.append(now.monotonic - before.monotonic)
    if before.time is not None and now.time is not None:
        known.append((now.time - before.time).total_seconds())
    return max(known)


def _format_value(value: Decimal, unit: str | None) -> str:
    return f"{value:f} {unit}" if unit else f"{value:f}"


def _describe_accepted(total: AcceptedTotal, unit: str | None) -> str:
    time = rfc3339(total.time)
    return _format_value(total.value, unit) + (f" of {time}" if time else "")
