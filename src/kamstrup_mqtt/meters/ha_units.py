"""What Home Assistant takes: the units and state classes of each sensor device class.

Source: Home Assistant 2026.11, components/sensor/const.py. Spelling is exact: `m³`, not `m3`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STATE_CLASSES = ("measurement", "total", "total_increasing")
"""State classes of sensors (measurement_angle, for directions, is left out)."""

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
"""Device class -> units, the usual first where one is; None stands for no unit."""

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
"""Device class -> the state classes that it can have; empty: it can have none."""


def unit_error(device_class: str | None, unit: str | None) -> str | None:
    """Why Home Assistant refuses `unit` with `device_class`, and what it takes; None: it takes it.

    A device class that Home Assistant does not know is a fault of its own (`state_class_error`).
    """
    units = UNITS.get(device_class or "")
    if units is None or unit in units:
        return None
    listed = ", ".join(name for name in units if name is not None)
    allowed = listed if None not in units else f"none or {listed}" if listed else "none"
    return f"{unit or 'no unit'} does not go with device class {device_class}; allowed: {allowed}"


def state_class_error(device_class: str | None, state_class: str | None) -> str | None:
    """Why Home Assistant refuses the two classes together, and what it takes; None: it does not."""
    if device_class is not None and device_class not in UNITS:
        return f"no such device class: {device_class}; allowed: {', '.join(UNITS)}"
    if state_class is not None and state_class not in STATE_CLASSES:
        return f"no such state class: {state_class}; allowed: {', '.join(STATE_CLASSES)}"
    if device_class is None or state_class is None or state_class in CLASSES_OF[device_class]:
        return None
    allowed = ", ".join(sorted(CLASSES_OF[device_class])) or "none"
    return f"{state_class} does not go with device class {device_class}; allowed: {allowed}"
