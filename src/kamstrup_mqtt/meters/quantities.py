"""All quantities: key, name, unit, and the device and state class in Home Assistant.

The keys are a public contract (docs/quantities.md): they are JSON keys, part of unique ids and of
users' statistics, and change only with a major version. A model file may override single fields,
such as the device class `water` for the volume of a water meter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from kamstrup_mqtt.meters.info_codes import PROBLEMS
from kamstrup_mqtt.meters.model import Quantity

_TOTAL = "total_increasing"  # not `total`: it survives an exchanged meter
_DIAGNOSTIC: Mapping[str, Any] = {"category": "diagnostic"}
_RARE: Mapping[str, Any] = {"enabled": False}
_TEXT: Mapping[str, Any] = {"is_text": True, **_DIAGNOSTIC}


def _counter(key: str, name: str, unit: str, device_class: str, **more: Any) -> Quantity:
    return Quantity(
        key=key, name=name, unit=unit, device_class=device_class, state_class=_TOTAL, **more
    )


def _as_sent_counter(key: str, name: str, device_class: str | None = None, **more: Any) -> Quantity:
    return Quantity(
        key=key, name=name, as_sent=True, device_class=device_class, state_class=_TOTAL, **more
    )


def _gauge(
    key: str, name: str, unit: str | None, device_class: str | None, **more: Any
) -> Quantity:
    return Quantity(
        key=key, name=name, unit=unit, device_class=device_class, state_class="measurement", **more
    )


def _as_sent_gauge(key: str, name: str, device_class: str, **more: Any) -> Quantity:
    return _gauge(key, name, None, device_class, as_sent=True, **more)


def _phases(make: Any, key: str, name: str, *args: Any, **more: Any) -> list[Quantity]:
    return [make(f"{key}_l{n}", f"{name} L{n}", *args, **more) for n in (1, 2, 3)]


def _electricity() -> Iterable[Quantity]:
    for way in ("import", "export"):
        yield _gauge(f"power_{way}", f"Power {way}", "W", "power", precision=0)
        yield _gauge(
            f"reactive_power_{way}", f"Reactive power {way}", "var", "reactive_power", precision=0
        )
        yield from _phases(_gauge, f"power_{way}", f"Power {way}", "W", "power", precision=0)
        yield _counter(f"energy_{way}", f"Energy {way}", "kWh", "energy", precision=2)
        yield _counter(
            f"reactive_energy_{way}",
            f"Reactive energy {way}",
            "kvarh",
            "reactive_energy",
            precision=2,
        )
        yield from _phases(
            _counter, f"energy_{way}", f"Energy {way}", "kWh", "energy", precision=2, **_RARE
        )
        # the registers of a HAN meter, interpolated between two of their values; they may catch
        # up an hour and a late list in one step
        live: Mapping[str, Any] = {"precision": 3, "catch_up_seconds": 3660.0}
        key, name = f"energy_{way}_live", f"Energy {way} live"
        yield _counter(key, name, "kWh", "energy", **live)
        key, name = f"reactive_energy_{way}_live", f"Reactive energy {way} live"
        yield _counter(key, name, "kvarh", "reactive_energy", **live)
    yield from _phases(_gauge, "current", "Current", "A", "current", precision=2)
    yield from _phases(_gauge, "voltage", "Voltage", "V", "voltage", precision=0)
    yield _gauge("power_factor", "Power factor", None, "power_factor", precision=2)
    yield from _phases(
        _gauge, "power_factor", "Power factor", None, "power_factor", precision=2, **_RARE
    )
    for tariff in range(1, 9):
        key, name = f"energy_import_tariff_{tariff}", f"Energy import tariff {tariff}"
        yield _counter(key, name, "kWh", "energy", **({} if tariff < 3 else _RARE))
    yield _counter(
        "energy_import_high_res", "Energy import high resolution", "kWh", "energy", precision=2
    )
    yield _counter("energy_import_2", "Energy import 2", "kWh", "energy", **_RARE)
    yield _as_sent_gauge("peak_power", "Peak power", "power", **_DIAGNOSTIC)
    yield _as_sent_gauge(
        "peak_power_last_month", "Peak power last month", "power", **_DIAGNOSTIC, **_RARE
    )
    yield Quantity(key="pulse_input", name="Pulse input", state_class=_TOTAL, enabled=False)
    # the second field of FE 90: 0 in every sample; its meaning is a guess
    yield Quantity(
        key="register_fe90_1", name="FE 90 field 1 (unconfirmed)", **_DIAGNOSTIC, **_RARE
    )


def _heat_and_water() -> Iterable[Quantity]:
    yield _as_sent_counter("heat_energy", "Heat energy", "energy")
    yield _as_sent_counter("cooling_energy", "Cooling energy", "energy")
    yield _counter("heat_energy_precise", "Heat energy precise", "kWh", "energy", precision=2)
    for key, name in (
        ("control_energy", "Control energy"),
        ("inlet_energy", "Inlet energy"),
        ("outlet_energy", "Outlet energy"),
        ("tap_water_energy", "Tap water energy"),
        ("heat_energy_y", "Heat energy Y"),
    ):
        yield _as_sent_counter(key, name, "energy", **_RARE)
    for n in (1, 2):
        yield Quantity(
            key=f"volume_temp{n}",
            name=f"Volume × temperature {n}",
            unit="m³×°C",
            state_class=_TOTAL,
            enabled=False,
        )
    yield _counter("volume", "Volume", "m³", "volume", precision=3)
    yield _counter("volume_2", "Volume 2", "m³", "volume", precision=3, **_RARE)
    yield Quantity(key="mass", name="Mass", unit="t", state_class=_TOTAL, enabled=False)
    yield Quantity(key="mass_2", name="Mass 2", unit="t", state_class=_TOTAL, enabled=False)
    yield _as_sent_gauge("flow", "Flow", "volume_flow_rate")
    yield _as_sent_gauge("flow_2", "Flow 2", "volume_flow_rate", **_RARE)
    yield _as_sent_gauge("power", "Power", "power")
    for n in (1, 2):
        yield _gauge(f"temp{n}", ("Inlet", "Outlet")[n - 1] + " temperature", "°C", "temperature")
    for n in (3, 4):
        yield _gauge(f"temp{n}", f"Temperature {n}", "°C", "temperature", **_RARE)
    yield _gauge("temp_diff", "Temperature difference", "K", "temperature_delta")
    yield _gauge("pressure_1", "Pressure 1", "bar", "pressure", **_RARE)
    yield _gauge("pressure_2", "Pressure 2", "bar", "pressure", **_RARE)
    yield _as_sent_counter("pulse_input_a", "Pulse input A", **_RARE)
    yield _as_sent_counter("pulse_input_b", "Pulse input B", **_RARE)
    for n in (2, 3, 4):
        yield _as_sent_counter(f"tariff_{n}", f"Tariff register {n}", **_RARE)
    yield Quantity(key="info_code", name="Info code", **_DIAGNOSTIC)
    yield Quantity(key="info_text", name="Info", **_TEXT)
    yield Quantity(key="info_bits_text", name="Info bits in words (unconfirmed)", **_TEXT, **_RARE)
    for problem, name in PROBLEMS.items():
        yield Quantity(
            key=f"problem_{problem}",
            name=name,
            device_class="problem",
            is_binary=True,
            is_text=True,
        )
    yield Quantity(key="info_events", name="Info events", state_class=_TOTAL, **_DIAGNOSTIC)
    yield from _extremes()


def _extremes() -> Iterable[Quantity]:
    for span in ("year", "month"):
        for what, device_class in (("flow", "volume_flow_rate"), ("power", "power")):
            for bound, word in (("max", "Highest"), ("min", "Lowest")):
                key, name = f"{bound}_{what}_{span}", f"{word} {what} this {span}"
                yield _as_sent_gauge(key, name, device_class, **_DIAGNOSTIC, **_RARE)
                yield Quantity(
                    key=f"{key}_date",
                    name=f"{name}, date",
                    device_class="date",
                    **_TEXT,
                    **_RARE,
                )
        for n in (1, 2):
            name = f"Average {('inlet', 'outlet')[n - 1]} temperature this {span}"
            yield _gauge(f"avg_temp{n}_{span}", name, "°C", "temperature", **_DIAGNOSTIC, **_RARE)


def _identity() -> Iterable[Quantity]:
    for key, name in (
        ("serial_number", "Serial number"),
        ("customer_number", "Customer number"),
        ("customer_number_2", "Customer number 2"),
        ("production_number", "Production number"),
        ("meter_id", "Meter id"),
        ("meter_type", "Meter type"),
        ("list_id", "List id"),
        ("manufacturer", "Manufacturer"),
        ("model", "Model"),
        ("program_number", "Program number"),
        ("config_number", "Configuration number"),
        ("software_version", "Software version"),
    ):
        rare = key not in ("serial_number", "meter_id", "meter_type", "customer_number")
        yield Quantity(key=key, name=name, **_TEXT, enabled=not rare)
    for key, name in (
        ("meter_time", "Meter time"),
        ("meter_date", "Meter date"),
        ("meter_clock", "Meter clock"),
    ):
        yield Quantity(key=key, name=name, **_TEXT, **_RARE)
    yield _gauge("meter_clock_drift", "Meter clock drift", "s", "duration", **_DIAGNOSTIC, **_RARE)
    yield _counter("operating_hours", "Operating hours", "h", "duration", **_DIAGNOSTIC)
    yield _counter("error_hours", "Error hours", "h", "duration", **_DIAGNOSTIC)


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {q.key: q for q in (*_electricity(), *_heat_and_water(), *_identity())}
)
"""Every quantity by its public key."""


def generic_quantity(key: str) -> Quantity:
    """Return the quantity of a source without a key: `register_371`, `obis_1_1_99_8_0_255`.

    It is published as sent, without classes, and disabled: it may or may not be a total.
    """
    kind, _, rest = key.partition("_")
    name = f"Register {rest}" if kind == "register" else f"{kind.upper()} {rest.replace('_', '.')}"
    return Quantity(key=key, name=name, as_sent=True, category="diagnostic", enabled=False)
