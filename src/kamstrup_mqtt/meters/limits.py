"""What a meter can count at most: how fast its totals can rise."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kamstrup_mqtt.core import units
from kamstrup_mqtt.meters.model import MAX_FLOW, MAX_POWER

# unit -> what one watt (var, VA) makes of it in an hour, in the unit of its family without prefix
_PER_WATT_HOUR = {"Wh": 1, "varh": 1, "VAh": 1, "J": 3600, "cal": 861}
_MAX_TEMPERATURE = 200
"""°C: the hottest water of a district heating, for registers that add up volume × temperature."""
_TIME_COUNTERS = {
    "h": Decimal("1.05"),
    "min": Decimal("63"),
    "s": Decimal("3780"),
    "d": Decimal("0.044"),
}
"""Counters of time, per hour; the meter's clock may run a little faster than ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterLimits:
    """What the meter can do at most. `power` in W (also var, VA), `flow` in m³/h (and t/h)."""

    power: int
    flow: int

    def max_rise_per_hour(self, unit: str | None) -> Decimal | None:
        """By how much a total in this unit can rise within an hour; None where nobody knows."""
        for base, factor in _PER_WATT_HOUR.items():
            if units.factor(base, unit) is not None:
                most = units.convert(Decimal(self.power * factor), base, unit)
                assert isinstance(most, Decimal)  # a number stays one
                return most
        for base, factor in (("m³", 1), ("t", 1), ("m³×°C", _MAX_TEMPERATURE)):
            if units.factor(base, unit) is not None:
                most = units.convert(Decimal(self.flow * factor), base, unit)
                assert isinstance(most, Decimal)
                return most
        return _TIME_COUNTERS.get(unit or "")


DEFAULT_LIMITS = MeterLimits(power=MAX_POWER, flow=MAX_FLOW)
