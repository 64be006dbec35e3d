"""A Kamstrup electricity meter that pushes its lists: the list of 10 s, and the hourly one.

Its values are those of seed 003's meter, and its registers rise with its power. Like a real
meter it sends the hourly list right after the hour, and single-phase meters send nulls for the
phases they lack. Source: Kamstrup HAN-NVE interface description rev 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from kamstrup_mqtt.model import SerialParams
from kamstrup_mqtt.protocols.han import SPEC, encode
from kamstrup_mqtt.protocols.han.apdu import DateHeader
from kamstrup_mqtt.protocols.han.axdr import OCTETS, TEXT, UINT16, UINT32, Element
from kamstrup_mqtt.protocols.han.datetimes import write as clock
from kamstrup_mqtt.protocols.han.obis import CLOCK

SINGLE_PHASE: Final = "kamstrup_han_1phase"

_TEXTS: Final = {"meter_id": "1-1:0.0.5.255", "meter_type": "1-1:96.1.1.255"}
_LIVE: Final = {  # key -> code, type, counts per unit
    "power_import": ("1-1:1.7.0.255", UINT32, 1),
    "power_export": ("1-1:2.7.0.255", UINT32, 1),
    "reactive_power_import": ("1-1:3.7.0.255", UINT32, 1),
    "reactive_power_export": ("1-1:4.7.0.255", UINT32, 1),
    "current_l1": ("1-1:31.7.0.255", UINT32, 100),
    "current_l2": ("1-1:51.7.0.255", UINT32, 100),
    "current_l3": ("1-1:71.7.0.255", UINT32, 100),
    "voltage_l1": ("1-1:32.7.0.255", UINT16, 1),
    "voltage_l2": ("1-1:52.7.0.255", UINT16, 1),
    "voltage_l3": ("1-1:72.7.0.255", UINT16, 1),
}
_REGISTERS: Final = {  # key -> code, the power it counts
    "energy_import": ("1-1:1.8.0.255", "power_import"),
    "energy_export": ("1-1:2.8.0.255", "power_export"),
    "reactive_energy_import": ("1-1:3.8.0.255", "reactive_power_import"),
    "reactive_energy_export": ("1-1:4.8.0.255", "reactive_power_export"),
}
_DEFAULTS: Final = {  # seed 003: the hourly list of 01:00, its meter id as in the seed's program
    "list_id": "Kamstrup_V0001",
    "meter_id": "1111111111111111",
    "meter_type": "6841121BN243101040",
    "power_import": "4187",
    "power_export": "0",
    "reactive_power_import": "376",
    "reactive_power_export": "0",
    "current_l1": "14.96",
    "current_l2": "9.06",
    "current_l3": "10.45",
    "voltage_l1": "219",
    "voltage_l2": "219",
    "voltage_l3": "223",
    "energy_import": "44228.00",
    "energy_export": "0.00",
    "reactive_energy_import": "6691.66",
    "reactive_energy_export": "769.40",
    "energy_scale": "10",
    "date_header": "untagged",
    "hourly": "auto",
}
_SINGLE_PHASE_DEFAULTS: Final = {"meter_type": "6861111BN242101040", "current_l1": "19.12"}
_ABSENT = ("_l2", "_l3")
_CHOICES: Final = {
    "energy_scale": ("10", "1"),
    "date_header": ("untagged", "tagged"),
    "hourly": ("auto", "always", "never"),
}
INTERVAL: Final = 10.0
"""Seconds from one list to the next."""
_SECOND = timedelta(seconds=1)
INSTALLED = datetime(2026, 1, 1)  # noqa: DTZ001 - the meter's own time has no zone

_MICROSECOND = timedelta(microseconds=1)
_UNIT_HOUR: Final = 3_600_000_000
"""Watt-microseconds in one Wh."""


def make(model_id: str, settings: Mapping[str, str]) -> HanEmulator:
    """The emulated meter. Settings by the keys of the readings (`power_import=1234`,
    `energy_import=44228.00`, `meter_id=0x0101...` for octets), and `hourly=auto|always|never`,
    `energy_scale=10|1`, `date_header=untagged|tagged` (2017). Raises ValueError."""
    single = model_id == SINGLE_PHASE
    defaults = _DEFAULTS | (_SINGLE_PHASE_DEFAULTS if single else {})
    if single:
        defaults = {key: text for key, text in defaults.items() if not key.endswith(_ABSENT)}
    for key, text in settings.items():
        if key not in defaults:
            raise ValueError(f"{key} cannot be set; choose from {', '.join(sorted(defaults))}")
        if text not in (allowed := _CHOICES.get(key, (text,))):
            raise ValueError(f"{key}={text}: write {' or '.join(allowed)}")
    # left to itself the meter has counted since it was installed, so that one that is started anew
    # does not fall behind what it told before; a register that is set begins there
    since = None if set(settings) & set(_REGISTERS) else INSTALLED
    return HanEmulator(_state({**defaults, **settings}, since))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the meter sends. `counts`: of the live values, as they are sent; `registers`: energy
    in watt-microseconds. Values of phases that the meter lacks are missing."""

    texts: Mapping[str, bytes]
    counts: Mapping[str, int]
    registers: Mapping[str, int]
    energy_scale: int
    date_header: DateHeader
    hourly: str
    since: datetime | None
    """From when the registers count; None: from the first list."""


def _state(settings: Mapping[str, str], since: datetime | None) -> State:
    registers = {key: _count(key, settings[key], 1000, 2**32 * 10) for key in _REGISTERS}
    return State(
        texts={key: _octets(key, settings[key]) for key in ("list_id", *_TEXTS)},
        counts={
            key: _count(key, settings[key], factor, 2 ** (16 if type_ == UINT16 else 32))
            for key, (_, type_, factor) in _LIVE.items()
            if key in settings
        },
        registers={key: watt_hours * _UNIT_HOUR for key, watt_hours in registers.items()},
        energy_scale=int(settings["energy_scale"]),
        date_header="tagged" if settings["date_header"] == "tagged" else "untagged",
        hourly=settings["hourly"],
        since=since,
    )


def _count(key: str, text: str, factor: int, limit: int) -> int:
    try:
        count = Decimal(text) * factor
        if count == int(count) and 0 <= count < limit:
            return int(count)
    except (InvalidOperation, OverflowError, ValueError):  # no number, infinite, not a number
        pass
    step = Decimal(1) / factor
    raise ValueError(
        f"{key}={text}: write a number from 0 to {(limit - 1) * step}, in steps of {step}"
    )


def _octets(key: str, text: str) -> bytes:
    try:
        octets = bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode("ascii")
    except ValueError:
        raise ValueError(f"{key}={text}: write ASCII text, or octets as 0x0102...") from None
    if not 1 <= len(octets) <= 64:
        raise ValueError(f"{key}={text}: write 1 to 64 characters")
    return octets


class HanEmulator:
    """A meter that pushes; see `emulators.base.PushingEmulator`."""

    serial: SerialParams = SPEC.serial
    interval: float = INTERVAL

    def __init__(self, state: State) -> None:
        self._state = state
        self._registers = dict(state.registers)
        self._last = state.since
        self._hour: datetime | None = None

    def push(self, now: datetime) -> bytes:
        """The list of 10 s, and behind it the hourly one when the hour is a second old."""
        now = now.replace(tzinfo=None)  # the meter's own time, without a zone
        self._integrate(now)
        live = self._list(now, hourly=False)
        return live + self._list(now, hourly=True) if self._hourly_due(now) else live

    def _integrate(self, now: datetime) -> None:
        elapsed = max(0, (now - (self._last or now)) // _MICROSECOND)
        self._last = now
        for key, (_, power) in _REGISTERS.items():
            self._registers[key] += self._state.counts[power] * elapsed

    def _hourly_due(self, now: datetime) -> bool:
        hour = (now - _SECOND).replace(minute=0, second=0, microsecond=0)
        before, self._hour = self._hour, hour
        if self._state.hourly == "auto":
            return before is not None and before != hour
        return self._state.hourly == "always"

    def _list(self, now: datetime, *, hourly: bool) -> bytes:
        values = [*self._live(), *(self._totals(now) if hourly else ())]
        state = self._state
        return encode(state.texts["list_id"], values, now, state.date_header)

    def _live(self) -> Iterator[tuple[str, Element] | None]:
        for key, code in _TEXTS.items():
            yield code, Element(TEXT, self._state.texts[key])
        for key, (code, type_, _) in _LIVE.items():
            count = self._state.counts.get(key)
            yield None if count is None else (code, Element(type_, count))

    def _totals(self, now: datetime) -> Iterator[tuple[str, Element]]:
        yield CLOCK, Element(OCTETS, clock(now))
        for key, (code, _) in _REGISTERS.items():
            count = self._registers[key] // (_UNIT_HOUR * self._state.energy_scale)
            yield code, Element(UINT32, count % 2**32)  # the register rolls over
