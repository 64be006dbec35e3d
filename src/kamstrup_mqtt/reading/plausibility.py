"""Plausibility of totals, judged before they are published or used. Pure.

A total T at t is plausible after the last accepted T0 at t0 if

    T0 <= T <= T0 + Pmax·(t - t0) + 2 counts

where Pmax is what the meter can physically do and a count is the last digit that it sends. Zero is
judged like any other value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_FLOOR, Context, Decimal
from enum import Enum, auto

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import Measurement
from kamstrup_mqtt.meters.limits import MeterLimits
from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.storage.state_schema import LastTotal, ReaderState

TOLERATED_COUNTS = 2
"""Last digits by which a total may exceed what the power explains."""
STRONG, WEAK = 2, 3
"""Agreeing readings that replace the last accepted total: for protocols with a CRC-16, and for
those with an LRC or a 7-bit BCC."""
WRAP_DIGITS = 6
"""A register with fewer digits does not wrap: 99 -> 0 is a fault."""
_HOUR = Decimal(3600)
_WIDE = Context(prec=120)
"""Totals have up to 39 digits; differences between them must not be rounded."""


class RejectionReason(Enum):
    """Why a total is rejected."""

    UNCONFIRMED = auto()  # the first value after a weak checksum waits for a second one
    DECREASED = auto()
    INCREASED_TOO_FAST = auto()


@dataclass(frozen=True, slots=True)
class AcceptedTotal:
    """An accepted total in its stored unit. `monotonic` None: it is of another run."""

    value: Decimal
    time: datetime | None
    monotonic: float | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected total, the total accepted before it, and the seconds between the two."""

    reason: RejectionReason
    value: Decimal
    unit: str | None
    accepted: AcceptedTotal | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class PendingTotal:
    """A total that is rejected now, and how many readings in a row agree on it."""

    last: AcceptedTotal
    agreeing: int
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class Verdict:
    """The values with rejected totals as Measurement(None), and key -> why it is rejected."""

    values: Mapping[str, Measurement]
    rejected: Mapping[str, Rejection] = field(default_factory=dict)


class PlausibilityFilter:
    """Judges the totals of one meter.

    state              holds the last accepted totals, which this filter keeps up to date
    has_weak_checksum  the protocol has an LRC or a 7-bit BCC only
    """

    def __init__(
        self,
        plan: ReadingPlan,
        state: ReaderState,
        limits: MeterLimits,
        *,
        has_weak_checksum: bool,
    ) -> None:
        self._plan = plan
        self._state = state
        self._limits = limits
        self._has_weak_checksum = has_weak_checksum
        self._monotonic: dict[str, float] = {}  # when the totals of this run were accepted
        self._pending: dict[str, PendingTotal] = {}
        self._forget_other_units()

    @property
    def rejected(self) -> Mapping[str, Rejection]:
        """Key -> why its total is rejected now."""
        return {key: pending.rejection for key, pending in self._pending.items()}

    def judge(
        self, values: Mapping[str, Measurement], time: datetime | None, monotonic: float
    ) -> Verdict:
        """Judge the totals among the values received at `time` (None: the clock is not right)."""
        rejected: dict[str, Rejection] = {}
        for key, measured in values.items():
            if not self._plan.is_total(key):
                continue
            rejection = self._judge_total(key, measured, time, monotonic)
            if rejection is not None:
                rejected[key] = rejection
        if not rejected:
            return Verdict(values)
        passed = {k: Measurement(None, m.unit) if k in rejected else m for k, m in values.items()}
        return Verdict(passed, rejected)

    def accept_held(self) -> tuple[str, ...]:
        """Accept the totals that are rejected now, and return their keys."""
        keys = tuple(self._pending)
        for key, pending in list(self._pending.items()):
            self._accept(key, pending.last, pending.rejection.unit)
        return keys

    def limit_power(self, power: int) -> None:
        """Set the highest power that the meter can measure, in W."""
        self._limits = replace(self._limits, power=power)

    def max_rise(self, key: str, unit: str | None, seconds: float) -> Decimal | None:
        """Return by how much a total can rise in `seconds`; None if there is no limit."""
        rate = self._limits.max_rise_per_hour(unit)
        if rate is None:
            return None
        allowed = max(seconds, 0.0) + self._plan.quantity(key).catch_up_seconds
        return _WIDE.divide(_WIDE.multiply(rate, Decimal(allowed)), _HOUR)

    def forget(self, keys: Iterable[str] | None = None) -> None:
        """Forget these totals, None: all, because another meter answers or they count
        differently from now on."""
        for key in [*self._state.totals, *self._pending] if keys is None else keys:
            self._state.totals.pop(key, None)
            self._monotonic.pop(key, None)
            self._pending.pop(key, None)

    def _forget_other_units(self) -> None:
        """Forget totals whose unit the configuration has changed to one of another family."""
        for value in self._plan.values:
            quantity, total = value.quantity, self._state.totals.get(value.quantity.key)
            if total is None or total.unit is None or quantity.unit is None or quantity.as_sent:
                continue
            if units.factor(total.unit, quantity.unit) is None:
                del self._state.totals[quantity.key]

    def _judge_total(
        self, key: str, measured: Measurement, time: datetime | None, monotonic: float
    ) -> Rejection | None:
        last = self._state.totals.get(key)
        unit = measured.unit if last is None or last.unit is None else last.unit
        try:
            value = units.convert(measured.value, measured.unit, unit)
        except ValueError:
            return None  # a unit of another family: the device rejects it and logs why
        if not isinstance(value, Decimal):
            return None
        now = AcceptedTotal(value, time, monotonic)
        before = self._accepted(key)
        quantity = self._plan.quantity(key)
        if before is not None:
            rejection = self._implausible(before, now, unit, quantity.catch_up_seconds)
        elif self._has_weak_checksum:
            rejection = Rejection(RejectionReason.UNCONFIRMED, value, unit)
        else:
            rejection = None
        if rejection is None:
            self._accept(key, now, unit)
            return None
        return self._hold_back(quantity, now, rejection)

    def _accepted(self, key: str) -> AcceptedTotal | None:
        last = self._state.totals.get(key)
        if last is None or not isinstance(last.value, Decimal):
            return None
        return AcceptedTotal(last.value, last.time, self._monotonic.get(key))

    def _accept(self, key: str, total: AcceptedTotal, unit: str | None) -> None:
        self._pending.pop(key, None)
        self._state.totals[key] = LastTotal(total.value, total.time, unit)
        if total.monotonic is not None:
            self._monotonic[key] = total.monotonic

    def _hold_back(
        self, quantity: Quantity, now: AcceptedTotal, rejection: Rejection
    ) -> Rejection | None:
        """Reject the total until enough readings in a row agree on it."""
        key = quantity.key
        last = self._pending.get(key)
        # only accepted values can wrap: 999999 and 0 are two implausible values
        agrees = last is not None and not self._implausible(
            last.last, now, rejection.unit, quantity.catch_up_seconds, wraps=False
        )
        agreeing = last.agreeing + 1 if last is not None and agrees else 1
        is_first = rejection.reason is RejectionReason.UNCONFIRMED
        if agreeing >= (STRONG if is_first or not self._has_weak_checksum else WEAK):
            self._accept(key, now, rejection.unit)
            return None
        self._pending[key] = PendingTotal(now, agreeing, rejection)
        return rejection

    def _implausible(
        self,
        before: AcceptedTotal,
        now: AcceptedTotal,
        unit: str | None,
        catch_up_seconds: float,
        *,
        wraps: bool = True,
    ) -> Rejection | None:
        digit = _last_digit(before.value, now.value)
        minimum = before.value
        if digit > _last_digit(before.value):  # it shows fewer digits than before: 12.34 -> 12.3
            minimum = minimum.quantize(digit, rounding=ROUND_FLOOR, context=_WIDE)
        value = now.value
        if value < minimum and wraps:
            value = _unwrap(before.value, value, digit)
        if value < minimum:
            return Rejection(RejectionReason.DECREASED, now.value, unit, before)
        rate = self._limits.max_rise_per_hour(unit)
        if rate is None:
            return None
        seconds = max(_elapsed(before, now), catch_up_seconds)
        allowed = _WIDE.add(
            _WIDE.divide(_WIDE.multiply(rate, Decimal(seconds)), _HOUR),
            _WIDE.multiply(Decimal(TOLERATED_COUNTS), digit),
        )
        if _WIDE.subtract(value, before.value) <= allowed:
            return None
        reason = RejectionReason.INCREASED_TOO_FAST
        return Rejection(reason, now.value, unit, before, seconds)


def _last_digit(*values: Decimal) -> Decimal:
    """Return the last digit of the coarsest of the values: 12.34 -> 0.01."""
    return Decimal((0, (1,), max(_exponent(value) for value in values)))


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return exponent


def _unwrap(before: Decimal, now: Decimal, digit: Decimal) -> Decimal:
    """Return `now`, plus the register's capacity if the register wrapped: `before` in the top 1 %
    of its digits, `now` in the lowest 1 %."""
    mantissa = int(_WIDE.divide_int(before, digit))
    digits = len(str(mantissa))
    capacity = 10**digits
    if digits < WRAP_DIGITS or mantissa * 100 < capacity * 99 or now < 0:
        return now
    if int(_WIDE.divide_int(now, digit)) * 100 > capacity:
        return now
    return _WIDE.add(now, _WIDE.multiply(Decimal(capacity), digit))


def _elapsed(before: AcceptedTotal, now: AcceptedTotal) -> float:
    """Return the seconds between the two.

    Across runs the host's clock counts. Within one run the clock that advanced more counts: one
    may be set back, the other stands still while the host sleeps. Without either it is 0, which is
    the strictest.
    """
    known = [0.0]
    if before.monotonic is not None and now.monotonic is not None:
        known.append(now.monotonic - before.monotonic)
    if before.time is not None and now.time is not None:
        known.append((now.time - before.time).total_seconds())
    return max(known)
