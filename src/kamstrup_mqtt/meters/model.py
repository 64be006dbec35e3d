"""What a meter is: a family is one `MeterModel` (in `meters/models/`), a thing that can be measured
is one `Quantity` (in `quantities`), and what a model says in one protocol is a
`ProtocolProfile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kamstrup_mqtt.core.model import DIRECT, TRANSFORMERS, SerialParams, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One thing that can be measured, under its public key (the contract is docs/quantities.md).

    `unit` None: no unit, or, with `as_sent`, the unit that the meter sends. `device_class` and
    `state_class` are Home Assistant's. `enabled` False: announced, but switched off by default.
    """

    key: str
    name: str
    unit: str | None = None
    as_sent: bool = False
    device_class: str | None = None
    state_class: str | None = None
    precision: int | None = None
    icon: str | None = None
    category: Literal["diagnostic"] | None = None
    enabled: bool = True
    text: bool = False
    """The value is text (or an ISO date), never a number."""
    catch_up_seconds: float = 0.0
    """Seconds of counting that this total may make up for in one step: one that is counted here
    and put right by a register from time to time."""
    binary: bool = False
    """The value is ON or OFF: a binary sensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolProfile:
    """What one meter model says in one protocol.

    groups      reading group -> what is read by default, in the order asked
    more        what it can tell besides, read only when the configuration lists it
    identity    where the serial number comes from, the best first; () = the meter has none
    serial      the line, where it differs from the protocol's default
    periods     pushed groups: seconds from one list to the next
    overrides   source -> fields of its Quantity that differ on this meter
    precise     the register of high resolution that belongs to register 60: 266 or 155
    info        source of an info code -> the name of its table in `info_codes`
    logger      it has a log of hours, days, months and years, or may have one

    A group may also list what this program makes out of other sources (`derived.KEYS`).
    """

    groups: Mapping[str, tuple[SourceId, ...]]
    more: tuple[SourceId, ...] = ()
    identity: tuple[SourceId, ...] = ()
    serial: SerialParams | None = None
    periods: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[SourceId, Mapping[str, object]] = field(default_factory=dict)
    precise: SourceId | None = None
    info: Mapping[SourceId, str] = field(default_factory=dict)
    logger: bool = False


MAX_POWER = 1_000_000
"""W: a heat meter, or an electricity meter behind current transformers."""
MAX_POWER_DIRECT = 3 * 80 * 230
"""W: a directly connected electricity meter, 3×80 A."""
MAX_POWER_BY_CONNECTION: Mapping[str, int] = {DIRECT: MAX_POWER_DIRECT, TRANSFORMERS: MAX_POWER}
MAX_FLOW = 200
"""m³/h: a large heat or water meter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """One meter family: data only. Its id is the name of its file in `meters/`.

    `battery` decides the default interval (1 h instead of 60 s) and the warning below 60 s;
    `interval` is another default, in seconds; `longest`: from how many seconds on it sleeps.
    `max_power` (W; None: by medium) and `max_flow` (m³/h) are what it can measure at most.
    """

    name: str
    manufacturer: str = "Kamstrup"
    medium: Literal["heat", "water", "electricity", "any"]
    profiles: Mapping[str, ProtocolProfile]
    battery: bool = False
    max_power: int | None = None
    max_flow: int = MAX_FLOW
    interval: float | None = None
    longest: float | None = None
    note: str = ""

    @property
    def power_limit(self) -> int:
        """W that the meter can measure at most."""
        if self.max_power is not None:
            return self.max_power
        return MAX_POWER_DIRECT if self.medium == "electricity" else MAX_POWER
