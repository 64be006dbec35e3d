"""The physical limits of a meter: how fast its totals can rise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from kamstrup_mqtt.core import units
from kamstrup_mqtt.core.model import DIRECT, TRANSFORMERS
from kamstrup_mqtt.meters.model import MeterModel

MAX_POWER = 1_000_000
"""W of a heat meter, or of an electricity meter behind current transformers."""
MAX_POWER_DIRECT = 3 * 80 * 230
"""W of a directly connected electricity meter, 3×80 A."""
MAX_POWER_BY_CONNECTION: Mapping[str, int] = {DIRECT: MAX_POWER_DIRECT, TRANSFORMERS: MAX_POWER}
MAX_FLOW = 200
"""m³/h of a large heat or water meter."""

# unit without prefix -> its amount in one hour at 1 W (var, VA)
_PER_WATT_HOUR = {"Wh": 1, "varh": 1, "VAh": 1, "J": 3600, "cal": 861}
_MAX_TEMPERATURE = 200
"""°C of the hottest district heating water, for registers that add up volume × temperature."""
# unit without prefix -> its amount in one hour at 1 m³/h (t/h)
_PER_CUBIC_METRE = {"m³": 1, "t": 1, "m³×°C": _MAX_TEMPERATURE}
_TIME_COUNTERS = {
    "h": Decimal("1.05"),
    "min": Decimal("63"),
    "s": Decimal("3780"),
    "d": Decimal("0.044"),
}
"""Unit of time -> its amount in one hour; the clock of the meter may run a little fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterLimits:
    """The highest `power` in W (also var, VA) and `flow` in m³/h (also t/h) of a meter."""

    power: int
    flow: int

    def max_rise_per_hour(self, unit: str | None) -> Decimal | None:
        """Return how much a total in this unit can rise in an hour; None if that is not known."""
        for limit, amounts in ((self.power, _PER_WATT_HOUR), (self.flow, _PER_CUBIC_METRE)):
            for base, amount in amounts.items():
                exponent = units.factor(base, unit)
                if exponent is not None:
                    return units.shift(Decimal(limit * amount), exponent)
        return _TIME_COUNTERS.get(unit or "")


DEFAULT_LIMITS = MeterLimits(power=MAX_POWER, flow=MAX_FLOW)


def limits_for(
    model: MeterModel, max_power: int | None = None, max_flow: int | None = None
) -> MeterLimits:
    """Return the configured limits, else those of the model, else those of its medium."""
    by_medium = MAX_POWER_DIRECT if model.medium == "electricity" else MAX_POWER
    return MeterLimits(
        power=max_power or model.max_power or by_medium, flow=max_flow or model.max_flow or MAX_FLOW
    )
