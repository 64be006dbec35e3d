"""An electricity meter that pushes the lists of Kamstrup, Aidon or Kaifa, encrypted or not.

Its values are those of the meter in seed 003, and its registers count its power. Like a real
meter it sends the hourly list right after the hour, and single-phase meters send nulls for the
phases they lack, or leave them out. `fault` adds a fault of the meter or the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators import han_lists
from kamstrup_mqtt.emulators.han_lists import CURRENTS, POWERS, REGISTERS, VOLTAGES, Values
from kamstrup_mqtt.emulators.parity_fault import misread_as_8e1
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import ListDetection
from kamstrup_mqtt.protocols.han import SPEC
from kamstrup_mqtt.protocols.han.apdu import LLC
from kamstrup_mqtt.protocols.han.cipher import KEY_SIZE, Keys, seal
from kamstrup_mqtt.protocols.han.framing import encode_frame

_DEFAULTS: Final = {  # seed 003: the hourly list of 01:00, its meter id as in the seed's program
    "meter_id": "1111111111111111",
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
    "hourly": "auto",
    "fault": "none",
}
_KAMSTRUP: Final = {
    "list": "nve",
    "list_id": "Kamstrup_V0001",
    "meter_type": "6841121BN243101040",
    "meter_number": "11111111",
    "energy_scale": "10",
    "current_scale": "0.01",
    "voltage_scale": "1",
    "date_header": "untagged",
    "encryption_key": "",
    "authentication_key": "",
    "security": "30",
    "system_title": "4B414D4500000001",
    "frame_counter": "1",
}
_AIDON: Final = {"list_id": "AIDON_V0001", "meter_type": "6534", "current_l1": "15.0"} | {
    "current_l2": "9.1",
    "current_l3": "10.5",
}
_KAIFA: Final = {"list_id": "KFM_001", "meter_type": "MA304H4"}
_BY_MAKER: Final[Mapping[str, Mapping[str, str]]] = {
    "kamstrup": _KAMSTRUP,
    "aidon": _AIDON,
    "kaifa": _KAIFA,
}
_ONE_PHASE: Final[Mapping[str, Mapping[str, str]]] = {
    "kamstrup": {"meter_type": "6861111BN242101040", "current_l1": "19.12"},
    "aidon": {"meter_type": "6515", "current_l1": "19.1"},
    "kaifa": {"meter_type": "MA105H2E", "current_l1": "19.12"},
}
_COUNTS: Final = {  # counts per ampere, per volt, Wh per count
    "aidon": (10, 10, 10),
    "kaifa": (1000, 10, 1),
}
_COUNTS_SWEDISH: Final = (10, 10, 1)
_ADDRESSES: Final = {  # destination, source, control
    "kamstrup": (b"\x2b", b"\x21", 0x13),
    "encrypted": (b"\x41", b"\x03", 0x13),
    "aidon": (b"\x41", b"\x08\x83", 0x13),
    "kaifa": (b"\x01", b"\x02\x01", 0x10),
}
FAULTS: Final = ("none", "fcs", "tag", "replay", "noise", "lost_byte", "segments", "parity")
_CHOICES: Final = {
    "list": ("nve", "push1"),
    "energy_scale": ("10", "1"),
    "current_scale": ("0.01", "0.001"),
    "voltage_scale": ("1", "0.01"),
    "date_header": ("untagged", "tagged"),
    "security": ("30", "20"),
    "hourly": ("auto", "always", "never"),
    "fault": FAULTS,
}
INTERVAL: Final = 10.0
"""Seconds between two lists."""
_NOISE = bytes.fromhex("00 7E A1 55 FF 7E 00")
_SECOND = timedelta(seconds=1)
INSTALLED = datetime(2026, 1, 1)  # noqa: DTZ001 - the meter's own time has no zone

_MICROSECOND = timedelta(microseconds=1)
_UNIT_HOUR: Final = 3_600_000_000
"""Watt-microseconds in one Wh."""


def make(model_id: str, settings: Mapping[str, str]) -> HanEmulator:
    """Make an emulated meter. Raises ValueError for an unknown setting.

    Settings are the keys of readings (`power_import=1234`, `energy_import=44228.00`,
    `meter_id=0x0101...` for octets), `hourly=auto|always|never` and `fault=...`. For Kamstrup also
    `list=nve|push1`, the scales, `date_header`, the keys and the other fields of encrypted lists.
    """
    profile = registry.all_models()[model_id].profiles[SPEC.name]
    rule = profile.detection
    if not isinstance(rule, ListDetection):  # auto
        rule = ListDetection(maker="kamstrup", phases=3, list_ids=("Kamstrup",))
    defaults = {**_DEFAULTS, **_BY_MAKER[rule.maker]}
    if rule.phases == 1:
        defaults.update(_ONE_PHASE[rule.maker])
        absent = ("current_l2", "current_l3", "voltage_l2", "voltage_l3")
        defaults = {key: text for key, text in defaults.items() if key not in absent}
    for key, text in settings.items():
        if key not in defaults:
            raise ValueError(f"{key} cannot be set; choose from {', '.join(sorted(defaults))}")
        if text not in (allowed := _CHOICES.get(key, (text,))):
            raise ValueError(f"{key}={text}: write {' or '.join(allowed)}")
    serial = profile.serial or SPEC.serial
    # the meter has counted since it was installed, so that its totals do not decrease when the
    # emulator is restarted; a register that is set starts with its setting
    since = None if set(settings) & set(REGISTERS) else INSTALLED
    return HanEmulator(rule, _state(rule, {**defaults, **settings}, since), serial)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The values of the meter, without those of phases that it lacks.

    counts     live values as sent
    registers  energy in watt-microseconds
    """

    texts: Mapping[str, bytes]
    meter_number: int
    counts: Mapping[str, int]
    registers: Mapping[str, int]
    energy_scale: int
    settings: Mapping[str, str]
    keys: Keys
    system_title: bytes
    frame_counter: int
    since: datetime | None
    """The time from which the registers count, None for the first list."""


def _is_swedish(rule: ListDetection) -> bool:
    return rule.maker == "aidon" and not rule.list_ids


def _state(rule: ListDetection, settings: Mapping[str, str], since: datetime | None) -> State:
    amperes, volts, energy = _scales(rule, settings)
    factors = dict.fromkeys(CURRENTS, amperes) | dict.fromkeys(VOLTAGES, volts)
    limits = dict.fromkeys(VOLTAGES, 2**16)
    if rule.maker == "aidon":
        limits |= dict.fromkeys(CURRENTS, 2**15)
    live = [key for key in (*POWERS, *CURRENTS, *VOLTAGES) if key in settings]
    registers = {key: _count(key, settings[key], 1000, 2**32 * energy) for key in REGISTERS}
    return State(
        texts={k: _octets(k, settings[k]) for k in ("list_id", "meter_id", "meter_type")},
        meter_number=_count("meter_number", settings.get("meter_number", "0"), 1, 2**32),
        counts={
            key: _count(key, settings[key], factors.get(key, 1), limits.get(key, 2**32))
            for key in live
        },
        registers={key: watt_hours * _UNIT_HOUR for key, watt_hours in registers.items()},
        energy_scale=energy,
        settings=settings,
        keys=_keys(settings),
        system_title=_octets("system_title", "0x" + settings.get("system_title", "00" * 8), size=8),
        frame_counter=_count("frame_counter", settings.get("frame_counter", "0"), 1, 2**31),
        since=since,
    )


def _scales(rule: ListDetection, settings: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the counts per ampere and per volt, and Wh per count."""
    if "current_scale" in settings:
        amperes, volts = (Decimal(settings[f"{what}_scale"]) for what in ("current", "voltage"))
        return int(1 / amperes), int(1 / volts), int(settings["energy_scale"])
    return _COUNTS_SWEDISH if _is_swedish(rule) else _COUNTS[rule.maker]


def _keys(settings: Mapping[str, str]) -> Keys:
    """Return the keys of the lists. Raises ValueError if only the authentication key is set."""
    keys = Keys(_secret("encryption_key", settings), _secret("authentication_key", settings))
    if keys.encryption is None and keys.authentication is not None:
        raise ValueError("authentication_key needs encryption_key, too")
    tagged = settings.get("security") == "30"
    if keys.encryption is not None and keys.authentication is None and tagged:
        raise ValueError(
            "encryption_key needs authentication_key, too, or security=20 (lists without a tag)"
        )
    return keys


def _secret(key: str, settings: Mapping[str, str]) -> bytes | None:
    text = settings.get(key, "")
    return _octets(key, f"0x{text}", size=KEY_SIZE) if text else None


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


def _octets(key: str, text: str, *, size: int | None = None) -> bytes:
    try:
        octets = bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode("ascii")
    except ValueError:
        octets = b""
        if size is None:
            raise ValueError(f"{key}={text}: write ASCII text, or octets as 0x0102...") from None
    if size is not None and len(octets) != size:
        raise ValueError(f"{key}: write {2 * size} hex digits")
    if not 1 <= len(octets) <= 64:
        raise ValueError(f"{key}={text}: write 1 to 64 characters")
    return octets


class HanEmulator:
    """An emulated meter that pushes; see `emulators.base.PushingEmulator`."""

    interval: float = INTERVAL

    def __init__(self, rule: ListDetection, state: State, serial: SerialParams) -> None:
        self.serial = serial
        self._maker = rule.maker
        self._is_swedish = _is_swedish(rule)
        self._state = state
        self._registers = dict(state.registers)
        self._counter = state.frame_counter
        self._last = state.since
        self._hour: datetime | None = None

    def push(self, now: datetime) -> bytes:
        """Return the list of 10 s, and the hourly one if it is due."""
        now = now.replace(tzinfo=None)  # lists have no zone
        self._integrate(now)
        wire = self._send(self._list(now, hourly=False))
        if self._hourly_due(now) and self._has_hourly:
            wire += self._send(self._list(now, hourly=True))
        return self._damaged(wire)

    @property
    def _has_hourly(self) -> bool:
        """Whether there is an hourly list: push 1 and the Swedish list always have registers."""
        return not self._is_swedish and self._state.settings.get("list") != "push1"

    def _integrate(self, now: datetime) -> None:
        elapsed = max(0, (now - (self._last or now)) // _MICROSECOND)
        self._last = now
        for key, power in zip(REGISTERS, POWERS, strict=True):
            self._registers[key] += self._state.counts[power] * elapsed

    def _hourly_due(self, now: datetime) -> bool:
        hour = (now - _SECOND).replace(minute=0, second=0, microsecond=0)
        before, self._hour = self._hour, hour
        if self._state.settings["hourly"] == "auto":
            return before is not None and before != hour
        return self._state.settings["hourly"] == "always"

    def _list(self, now: datetime, *, hourly: bool) -> bytes:
        """Return the unencrypted message of a list."""
        state = self._state
        step = _UNIT_HOUR * state.energy_scale
        registers = {k: self._registers[k] // step % 2**32 for k in REGISTERS}  # they roll over
        values = Values(state.texts, state.meter_number, state.counts, registers, now)
        if self._maker == "aidon":
            return han_lists.aidon(values, hourly=hourly, swedish=self._is_swedish)
        if self._maker == "kaifa":
            return han_lists.kaifa(values, hourly=hourly)
        if state.settings["list"] == "push1":
            return han_lists.kamstrup_push1(values)
        tagged = state.settings["date_header"] == "tagged"
        return han_lists.kamstrup_nve(
            values, hourly=hourly, date_header="tagged" if tagged else "untagged"
        )

    def _send(self, message: bytes) -> bytes:
        """Return the frames of a message, encrypted if the meter has a key."""
        fault, addresses = self._state.settings["fault"], _ADDRESSES[self._maker]
        if self._state.keys.encryption is not None:
            addresses = _ADDRESSES["encrypted"]
            security = int(self._state.settings["security"], 16)
            title, counter = self._state.system_title, self._counter
            message = seal(message, title, counter, self._state.keys, security)
            self._counter += 0 if fault == "replay" else 1
            if fault == "tag":
                message = message[:-1] + bytes([message[-1] ^ 1])
        information = LLC + message
        if fault == "segments":
            half = len(information) // 2
            first = encode_frame(information[:half], *addresses, segmented=True)
            return first + encode_frame(information[half:], *addresses)
        return encode_frame(information, *addresses)

    def _damaged(self, wire: bytes) -> bytes:
        match self._state.settings["fault"]:
            case "fcs":
                return wire[:-3] + bytes([wire[-3] ^ 1]) + wire[-2:]
            case "noise":
                return _NOISE + wire + _NOISE
            case "lost_byte":
                return wire[: len(wire) // 2] + wire[len(wire) // 2 + 1 :]
            case "parity":
                return misread_as_8e1(wire)
        return wire
