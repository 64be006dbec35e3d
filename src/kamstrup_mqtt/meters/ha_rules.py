"""Home Assistant's rules for states, units and classes of sensors.

Source: Home Assistant 2026.11, components/sensor/const.py. Spelling is exact: `m³`, not `m3`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType

from kamstrup_mqtt.meters.model import Quantity

STATE_CLASSES = ("measurement", "total", "total_increasing")
"""State classes of sensors, without measurement_angle, which is for directions."""

_TOTALS = frozenset({"total", "total_increasing"})
_MEASUREMENT = frozenset({"measurement"})
_ANY = frozenset(STATE_CLASSES)
_NONE: frozenset[str] = frozenset()
_TEMPERATURE: tuple[str | None, ...] = ("°C", "°F", "K")
_VOLUME: tuple[str | None, ...] = ("mL", "L", "m³", "ft³", "CCF", "MCF", "gal", "fl. oz.")

UNITS: Mapping[str, tuple[str | None, ...]] = MappingProxyType(
    {
        "energy": (
            "J",
            "kJ",
            "MJ",
            "GJ",
            "mWh",
            "Wh",
            "kWh",
            "MWh",
            "GWh",
            "TWh",
            "cal",
            "kcal",
            "Mcal",
            "Gcal",
            "thm",
        ),
        "power": ("mW", "W", "kW", "MW", "GW", "TW"),
        "apparent_power": ("mVA", "VA", "kVA"),
        "reactive_power": ("mvar", "var", "kvar"),
        "reactive_energy": ("varh", "kvarh"),
        "current": ("μA", "mA", "A"),
        "voltage": ("μV", "mV", "V", "kV", "MV"),
        "frequency": ("mHz", "Hz", "kHz", "MHz", "GHz"),
        "temperature": _TEMPERATURE,
        "temperature_delta": _TEMPERATURE,
        "volume": _VOLUME,
        "volume_storage": _VOLUME,
        "water": ("L", "m³", "ft³", "CCF", "MCF", "gal"),
        "gas": ("L", "m³", "ft³", "CCF", "MCF"),
        "volume_flow_rate": (
            "L/h",
            "L/min",
            "L/s",
            "mL/s",
            "m³/h",
            "m³/min",
            "m³/s",
            "ft³/min",
            "gal/h",
            "gal/min",
            "gal/d",
        ),
        "duration": ("d", "h", "min", "s", "ms", "μs"),
        "pressure": (
            "Pa",
            "hPa",
            "kPa",
            "mPa",
            "bar",
            "cbar",
            "mbar",
            "mmHg",
            "inHg",
            "inH₂O",
            "psi",
            "atm",
        ),
        "power_factor": (None, "%"),
        "timestamp": (None,),
        "date": (None,),
        "uptime": (None,),
        "enum": (None,),
        "signal_strength": ("dB", "dBm"),
        "battery": ("%",),
    }
)
"""Device class -> units, None for no unit."""

CLASSES_OF: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        device_class: (
            _TOTALS
            if device_class in ("energy", "reactive_energy", "volume", "water", "gas")
            else _NONE
            if device_class in ("timestamp", "date", "uptime", "enum")
            else _ANY
            if device_class == "duration"
            else _MEASUREMENT
        )
        for device_class in UNITS
    }
)
"""Device class -> allowed state classes, which may be none."""


def unit_error(device_class: str | None, unit: str | None) -> str | None:
    """Return why `unit` is not allowed for `device_class`, with the units that are; else None.

    `state_class_error` reports an unknown device class.
    """
    units = UNITS.get(device_class or "")
    if units is None or unit in units:
        return None
    names = ", ".join(name for name in units if name is not None)
    allowed = names if None not in units else f"none or {names}" if names else "none"
    return f"{unit or 'no unit'} does not go with device class {device_class}; allowed: {allowed}"


def state_class_error(device_class: str | None, state_class: str | None) -> str | None:
    """Return why the two classes do not go together, with those that do; else None."""
    if device_class is not None and device_class not in UNITS:
        return f"no such device class: {device_class}; allowed: {', '.join(UNITS)}"
    if state_class is not None and state_class not in STATE_CLASSES:
        return f"no such state class: {state_class}; allowed: {', '.join(STATE_CLASSES)}"
    if device_class is None or state_class is None or state_class in CLASSES_OF[device_class]:
        return None
    allowed = ", ".join(sorted(CLASSES_OF[device_class])) or "none"
    return f"{state_class} does not go with device class {device_class}; allowed: {allowed}"


def expects_number(quantity: Quantity, unit: str | None) -> bool:
    """Return True if Home Assistant expects a number, given unit, classes and precision."""
    return not quantity.is_text and bool(
        unit
        or quantity.state_class
        or quantity.precision is not None
        or quantity.device_class not in (None, "date", "timestamp", "enum")
    )


def validate_state(quantity: Quantity, value: Decimal | str, unit: str | None) -> None:
    """Raise ValueError if Home Assistant would reject the value.

    It rejects text where unit or classes promise a number, invalid dates, and times without zone.
    """
    if isinstance(value, Decimal):
        return
    if quantity.device_class == "date":
        date.fromisoformat(value)
    elif quantity.device_class == "timestamp":
        if datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(f"{value!r} is a time without zone")
    elif expects_number(quantity, unit):
        raise ValueError(f"{value!r} is not a number")
