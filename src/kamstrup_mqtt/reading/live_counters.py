"""Live counters: energy totals that continue between two values of a meter's register.

A HAN meter sends its registers once an hour, 5 to 60 s after the hour that they belong to, so the
energy of one hour would be counted in the next. The power, which it sends every 10 s, adds up to
the same energy within a few tenths of a percent. A live counter adds the integral of the power to
the last register value, and every new register value corrects it.

The counters are made of accepted values only, and never decrease. The meter does not know their
values, and the state file is written every 15 minutes at most, so the published value may be
higher than the stored one after a kill or a power failure. The broker then has the last published
value as a retained message, which `merge_retained` takes over. Where the broker lost it too, a
counter has no value until its meter sends the next register value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Final

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import Measurement
from kamstrup_mqtt.protocols.base import Timestamp
from kamstrup_mqtt.protocols.power_integral import (
    MAX_GAP,
    MAX_POWER,
    WATT_HOUR,
    PowerIntegral,
)
from kamstrup_mqtt.storage.state_schema import LastTotal

MaxIncrease = Callable[[str, float], Decimal | None]
"""(key, seconds) -> by how much the total can increase, in kWh or kvarh; None: without limit."""

_MILLISECONDS: Final = 1000
_KILO: Final = 3  # Wh to kWh


@dataclass(frozen=True, slots=True)
class CounterInputs:
    """The readings that a live counter is made of, with the base units of power and energy."""

    power: str
    register: str
    power_unit: str = "W"
    energy_unit: str = "Wh"


COUNTER_INPUTS: Final[Mapping[str, CounterInputs]] = MappingProxyType(
    {
        "energy_import_live": CounterInputs("power_import", "energy_import"),
        "energy_export_live": CounterInputs("power_export", "energy_export"),
        "reactive_energy_import_live": CounterInputs(
            "reactive_power_import", "reactive_energy_import", "var", "varh"
        ),
        "reactive_energy_export_live": CounterInputs(
            "reactive_power_export", "reactive_energy_export", "var", "varh"
        ),
    }
)
"""Key of a live counter -> its inputs."""


class MonotonicCounter:
    """One counter, in mW·ms. It never decreases: a counter that is ahead of its register pauses
    until the register has caught up.

    integral  the energy that the power has made since the counter exists
    error     how far the counter was from the last register value, in kWh; positive: ahead
    """

    __slots__ = ("_holds_minimum", "_minimum", "_offset", "error", "integral")

    def __init__(self) -> None:
        self.integral = PowerIntegral()
        self.error: Decimal | None = None
        self._offset: int | None = None  # counter minus integral; None: not running
        self._minimum: int | None = None  # the highest value so far
        self._holds_minimum = False  # shows it, although the counter does not run yet

    def raise_minimum(self, kwh: Decimal, *, hold: bool) -> Decimal:
        """Do not fall below a value that was published before, and return the minimum in kWh.

        `hold`: it is the last published value, so the counter shows it until it exceeds it.
        """
        watt_hours = int(kwh.scaleb(_KILO).to_integral_value(ROUND_CEILING))
        self._minimum = max(watt_hours * WATT_HOUR, self._minimum or 0)
        self._holds_minimum = self._holds_minimum or hold
        return _kwh(self._minimum)

    def resume(self) -> None:
        """Continue from the minimum at once, without waiting for a register value."""
        if self._offset is None and self._minimum is not None:
            self._offset = self._minimum - self.integral.total

    def correct(self, register: int, step: int, at: int) -> None:
        """Apply a register value in Wh, read at `at` ms. The register counts in steps of `step`
        Wh, so the true energy lies between this value and the next step."""
        low, high = register * WATT_HOUR, (register + step) * WATT_HOUR - 1
        integral = self.integral.value_at(at)
        if self._offset is None:
            self._offset = low - integral
            return
        counted = self._offset + integral
        true_value = min(max(counted, low), high)
        self._offset += true_value - counted
        self.error = _kwh(abs(counted - true_value)).copy_sign(counted - true_value)

    def pause(self) -> None:
        """Wait for the next register value. The minimum stays."""
        self._offset = None
        self._holds_minimum = False
        self.error = None

    def restart(self) -> None:
        """Wait for the next register value, which may be less than the minimum."""
        self.pause()
        self._minimum = None

    @property
    def is_running(self) -> bool:
        """Whether it has counted on from a register value or from a published value."""
        return self._offset is not None

    @property
    def holds_minimum(self) -> bool:
        """Whether it shows the value that was published before."""
        return self._holds_minimum

    @property
    def minimum(self) -> Decimal | None:
        """The highest value so far in kWh."""
        return None if self._minimum is None else _kwh(self._minimum)

    @property
    def value(self) -> Decimal | None:
        """The counter in kWh, in whole Wh; None before the first register value."""
        if self._offset is not None:
            counted = self._offset + self.integral.total
            if self._minimum is None or counted > self._minimum:
                self._minimum = counted
                self._holds_minimum = False
        elif not self._holds_minimum:
            return None
        assert self._minimum is not None
        return _kwh(self._minimum)


class LiveCounters:
    """The live counters of one meter.

    keys    the counters that the meter's plan publishes
    totals  the last published values, kept in the state file by the plausibility filter
    exact   whether these totals are what was published last; if not, later values may have been
    """

    __slots__ = ("_counters", "_gaps", "_keys", "_last_gap", "_rejects_retained", "_resumable")

    def __init__(
        self, keys: Iterable[str], totals: Mapping[str, LastTotal], *, exact: bool
    ) -> None:
        self._keys = tuple(key for key in COUNTER_INPUTS if key in frozenset(keys))
        self._counters: dict[str, MonotonicCounter] = {}
        self._resumable: dict[str, datetime] = {}  # key -> when its total was published
        self._gaps = 0
        self._last_gap = 0  # milliseconds
        self._rejects_retained = False
        for key in self._keys:
            total = totals.get(key)
            kwh = None if total is None else _in_kilo(key, total.value, total.unit)
            if total is None or kwh is None:
                continue
            self._counter(key).raise_minimum(kwh, hold=exact)
            if exact and total.time is not None:
                self._resumable[key] = total.time

    @property
    def inputs(self) -> frozenset[str]:
        """The keys of the readings that the counters are made of."""
        return frozenset(key for live in self._keys for key in _input_keys(COUNTER_INPUTS[live]))

    def update(
        self,
        values: Mapping[str, Measurement],
        received_at: Timestamp,
        *,
        register_age: float = 0.0,
        scale_trusted: bool = True,
    ) -> dict[str, Measurement]:
        """Count on with the accepted values of one message and return the counters by key.

        `register_age`: seconds since the moment that the registers among the values belong to.
        `scale_trusted` False: nobody knows what a count of the registers is worth, so counters
        that run are paused. Counters whose power is not among the values are left out.
        """
        now = round(received_at.monotonic * _MILLISECONDS)
        self._integrate(values, now)
        if scale_trusted:
            self._resume(received_at.utc)
            self._correct(values, now - round(register_age * _MILLISECONDS))
        else:
            for counter in self._counters.values():
                if counter.is_running:
                    counter.pause()
        found = {}
        for key, counter in self._counters.items():
            value = counter.value
            if value is not None and (COUNTER_INPUTS[key].power in values or counter.holds_minimum):
                found[key] = Measurement(value, "k" + COUNTER_INPUTS[key].energy_unit)
        return found

    def merge_retained(
        self,
        values: Mapping[str, Measurement],
        until: datetime | None,
        totals: Mapping[str, LastTotal],
        max_increase: MaxIncrease,
    ) -> dict[str, Decimal]:
        """Take over values that the broker retained, and return the counters by key, each in the
        unit of its retained value.

        A value is ignored if it exceeds the last total by more than the meter can have counted
        since then; `until` is the time of the retained message, None if it is not known.
        """
        merged: dict[str, Decimal] = {}
        for key in self._keys if not self._rejects_retained else ():
            retained = values.get(key)
            kwh = None if retained is None else _in_kilo(key, retained.value, retained.unit)
            if retained is None or kwh is None:
                continue
            counter = self._counter(key)
            if counter.minimum is not None:
                allowed = max_increase(key, _seconds_between(totals.get(key), until))
                if allowed is not None and kwh - counter.minimum > allowed:
                    continue
            minimum = counter.raise_minimum(kwh, hold=True)
            factor = units.factor("k" + COUNTER_INPUTS[key].energy_unit, retained.unit)
            merged[key] = units.shift(minimum, factor or 0)
        return merged

    def restart(self) -> None:
        """Start again from the next register values, which may be lower, by the user's word."""
        self._resumable.clear()
        for counter in self._counters.values():
            counter.restart()

    def replace_meter(self) -> None:
        """Start again for another meter; what the broker retained is of the previous one."""
        self._counters.clear()
        self._resumable.clear()
        self._gaps = self._last_gap = 0
        self._rejects_retained = True

    def notes(self) -> Iterator[str]:
        """Describe the accuracy, for the diagnostics."""
        for key, counter in self._counters.items():
            if counter.error is not None:
                yield f"{key}: {counter.error:+f} against the last register"
        if self._gaps:
            yield (
                f"gaps: {self._gaps} that were not counted live,"
                f" the last of {self._last_gap // _MILLISECONDS} s"
            )

    def _counter(self, key: str) -> MonotonicCounter:
        return self._counters.setdefault(key, MonotonicCounter())

    def _integrate(self, values: Mapping[str, Measurement], now: int) -> None:
        gap = 0
        for key in self._keys:
            power = _milliwatts(values.get(COUNTER_INPUTS[key].power), key)
            if power is not None:
                gap = max(gap, self._counter(key).integral.add(power, now))
        if gap:
            self._gaps += 1
            self._last_gap = gap

    def _resume(self, now: datetime | None) -> None:
        """Continue counters that were published a moment ago, before a short restart."""
        if not self._resumable or now is None:
            return
        for key, time in self._resumable.items():
            counter = self._counters[key]
            if counter.integral.is_empty:
                continue
            if 0 <= (now - time).total_seconds() * _MILLISECONDS <= MAX_GAP:
                counter.resume()

    def _correct(self, values: Mapping[str, Measurement], at: int) -> None:
        for key, counter in self._counters.items():
            if counter.integral.is_empty:
                continue
            register = _watt_hours(values.get(COUNTER_INPUTS[key].register), key)
            if register is not None:
                counter.correct(*register, at)


def _input_keys(inputs: CounterInputs) -> tuple[str, str]:
    return inputs.power, inputs.register


def _milliwatts(power: Measurement | None, key: str) -> int | None:
    if power is None or not isinstance(power.value, Decimal):
        return None
    exponent = units.factor(power.unit, COUNTER_INPUTS[key].power_unit)
    if exponent is None:
        return None
    milliwatts = int(power.value.scaleb(exponent + 3))
    return milliwatts if abs(milliwatts) < MAX_POWER else None


def _watt_hours(register: Measurement | None, key: str) -> tuple[int, int] | None:
    """Return a register value and its step in Wh; None if it cannot be counted on."""
    if register is None or not isinstance(register.value, Decimal):
        return None
    factor = units.factor(register.unit, COUNTER_INPUTS[key].energy_unit)
    sign, digits, exponent = register.value.as_tuple()
    if factor is None or sign or not isinstance(exponent, int):
        return None
    step = exponent + factor
    return int(Decimal((0, digits, step))), 10 ** max(step, 0)


def _in_kilo(key: str, value: object, unit: str | None) -> Decimal | None:
    """Return a stored total in kWh (kvarh); None for what is no such total."""
    kilo_unit = "k" + COUNTER_INPUTS[key].energy_unit
    exponent = units.factor(kilo_unit if unit is None else unit, kilo_unit)
    if exponent is None or not isinstance(value, Decimal):
        return None
    return units.shift(value, exponent)


def _seconds_between(total: LastTotal | None, until: datetime | None) -> float:
    if total is None or total.time is None or until is None:
        return 0.0
    return max((until - total.time).total_seconds(), 0.0)


def _kwh(energy: int) -> Decimal:
    return Decimal((0, tuple(map(int, str(energy // WATT_HOUR))), -_KILO))
