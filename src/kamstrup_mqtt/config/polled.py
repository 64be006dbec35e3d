"""Options of all meters that are polled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from kamstrup_mqtt.config.meter import Meter
from kamstrup_mqtt.config.section import (
    Fault,
    Interval,
    Limit,
    Offset,
    Section,
    suggestion,
    validation_error,
)
from kamstrup_mqtt.config.values import (
    ListedValue,
    normalise,
    option_faults,
    planned_values,
    sources_by_key,
)
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.meters.plan import PlannedValue
from kamstrup_mqtt.protocols.base import PollTimings, Wake

MAINS_INTERVAL = 60.0
BATTERY_INTERVAL = 3600.0
BATTERY_WARNING = 60.0
"""Seconds between two polls: the defaults, and the limit below which battery meters warn."""
SLOW = "slow"
"""The reading group of the values that are read less often."""


class Slow(Section):
    """Values that are read less often than the rest of the meter."""

    interval: Interval
    """Time from one reading of these values to the next, longer than that of the meter.

    Example: `interval: 1d`
    """
    values: tuple[ListedValue, ...]
    """The keys of the values.

    Example: `values: [operating_hours, error_hours]`
    """

    @field_validator("values", mode="before")
    @classmethod
    def _three_ways(cls, raw: Any) -> Any:
        return tuple(normalise(raw))


class Polled(Meter):
    """Options of meters that are polled: every protocol but `han`."""

    interval: Interval | None = None
    """Time from one poll to the next. Also spelled `update_interval`.

    Default: by model: `1h` on a battery, else `60s`; MULTICAL 402 `28m`
    Example: `interval: 1h`
    """
    align: bool = False
    """Poll when local time is a multiple of the interval.

    Example: `align: true`
    """
    offset: Offset = 0.0
    """Move aligned polls. Needs `align: true`.

    Default: `0s`
    Example: `offset: -60s`
    """
    slow: Slow | None = None
    """Values that are read less often than the rest.

    Example: `slow: {interval: 1d, values: [operating_hours]}`
    """
    energy_unit: Literal["kWh", "MWh", "GJ"] | None = None
    """Convert the energies that are published as sent.

    Default: the unit that the meter sends
    Example: `energy_unit: kWh`
    """

    @model_validator(mode="after")
    def _slow_is_slow(self) -> Polled:
        faults = list(self._slow_faults())
        if self.offset and not self.align:
            faults.append((("offset",), "has no effect without align: true"))
        elif abs(self.offset) >= self.interval_seconds:
            words = f"must be less than the interval {self.interval_seconds:g}"
            faults.append((("offset",), words))
        if faults:
            raise validation_error(faults)
        return self

    def _slow_faults(self) -> Iterator[Fault]:
        if self.slow is None:
            return
        if self.slow.interval <= self.interval_seconds:
            yield (
                ("slow", "interval"),
                f"must be longer than the interval {self.interval_seconds:g}",
            )
        known = sources_by_key(self.protocol_name, self.profile)
        own = {value.quantity.key for value in self._chosen()}
        for index, value in enumerate(self.slow.values):
            place = ("slow", "values", index)
            if value.key in known:
                source = known[value.key][0][0]
                quantity = registry.quantity_for(self.protocol_name, self.profile, source)
                for inner, text in option_faults(quantity, value):
                    yield (*place, *inner), text
            elif value.key not in own:
                words = suggestion(value.key, sorted({*known, *own}))
                yield (*place, "key"), f"no such value: {value.key}; {words}"
        if not {v.quantity.key for v in self._chosen()} - {v.key for v in self.slow.values}:
            yield (
                ("slow", "values"),
                "lists all values: leave at least one at the interval of the meter",
            )

    @model_validator(mode="before")
    @classmethod
    def _esphome_spelling(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "update_interval" not in raw:
            return raw
        if "interval" in raw:
            raise validation_error(
                [(("update_interval",), "means the same as interval; remove one")]
            )
        return {"interval" if k == "update_interval" else k: v for k, v in raw.items()}

    @property
    def interval_seconds(self) -> float:
        """Seconds from one poll to the next."""
        if self.interval is not None:
            return self.interval
        if self.meter_model.interval is not None:
            return self.meter_model.interval
        return BATTERY_INTERVAL if self.meter_model.has_battery else MAINS_INTERVAL

    def _planned(self) -> tuple[PlannedValue, ...]:
        """Return the chosen values, the slow ones in their group, energies in their unit."""
        slow = {value.key: value for value in self.slow.values} if self.slow else {}
        chosen = {value.source: value for value in self._chosen()}
        known = sources_by_key(self.protocol_name, self.profile)
        listed = [value for key, value in slow.items() if key in known]
        more = planned_values(self.protocol_name, self.profile, listed)
        chosen.update({value.source: value for value in more})
        return tuple(self._placed(value, value.quantity.key in slow) for value in chosen.values())

    def _placed(self, value: PlannedValue, slow: bool) -> PlannedValue:
        quantity = value.quantity
        if self.energy_unit and quantity.as_sent and quantity.device_class == "energy":
            quantity = dataclasses.replace(quantity, as_sent=False, unit=self.energy_unit)
        return PlannedValue(value.source, quantity, SLOW if slow else value.group)

    def _periods(self, values: tuple[PlannedValue, ...]) -> Mapping[str, float]:
        groups = dict.fromkeys((*self.profile.groups, *(v.group for v in values)))
        periods = dict.fromkeys(groups, self.interval_seconds)
        return {**periods, SLOW: self.slow.interval} if self.slow else periods

    def warnings(self) -> Iterator[Fault]:
        if self.interval is None:
            return
        sleeps_after = self.meter_model.sleeps_after
        if sleeps_after is not None and self.interval > sleeps_after:
            yield (
                ("interval",),
                f"the eye of a {self.meter_model.name} falls asleep {sleeps_after / 60:g} min after"
                " the last reading, and the next one fails unless a button is pressed or `wake` is"
                " set (interval: 28m keeps it awake)",
            )
        if self.meter_model.has_battery and self.interval < BATTERY_WARNING:
            meter = "battery meter" if self.model == AUTO else self.meter_model.name
            yield (
                ("interval",),
                f"{self.interval:g} s drains the battery of a {meter};"
                " its rated life assumes one reading an hour (interval: 1h)",
            )


class Timing(Section):
    """Time limits of one request, and how often it is tried."""

    first_byte: Limit
    """Seconds from the end of the request to the first byte of the answer.

    Example: `first_byte: 2.5`
    """
    between: Limit
    """Seconds from one byte of the answer to the next.

    Example: `between: 1.0`
    """
    total: Limit
    """Seconds for the whole answer.

    Example: `total: 8.0`
    """
    pause: Limit
    """Seconds between two tries.

    Example: `pause: 2.0`
    """
    tries: Annotated[int, Field(ge=1, le=10)]
    """How often a request is tried.

    Example: `tries: 2`
    """

    def poll_timings(self, wake: Wake | None = None) -> PollTimings:
        """Return these limits as the protocol's codec takes them."""
        return PollTimings(
            response_timeout=self.first_byte,
            inter_byte_timeout=self.between,
            total_timeout=self.total,
            pause=self.pause,
            tries=self.tries,
            wake=wake,
        )
