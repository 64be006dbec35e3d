"""amshan 2.1.1: HDLC reader and Kamstrup decoder."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from han import kamstrup
from han.hdlc import HdlcFrameReader

from bench.worker import Values, serve

_PHASES = {"l1": 0, "l2": 20, "l3": 40}
_TOTALS = {
    "active_power_import": ("1.7.0", "W"),
    "active_power_export": ("2.7.0", "W"),
    "reactive_power_import": ("3.7.0", "var"),
    "reactive_power_export": ("4.7.0", "var"),
    "active_power_import_total": ("1.8.0", "kWh"),
    "active_power_export_total": ("2.8.0", "kWh"),
    "reactive_power_import_total": ("3.8.0", "kvarh"),
    "reactive_power_export_total": ("4.8.0", "kvarh"),
}

reader = HdlcFrameReader()


def decode(data: bytes) -> dict[str, Any]:
    """Its own dictionary: named values, scaled, without units."""
    (frame,) = reader.read(data)
    if not frame.is_valid:
        raise ValueError("checksum")
    return kamstrup.decode_frame_content(frame.payload)


def show(found: dict[str, Any]) -> Values:
    """By OBIS code; its energies are in Wh, ours in kWh."""
    values: dict[str, tuple[Any, str | None]] = {}
    for name, value in found.items():
        number = Decimal(str(round(value, 6))) if isinstance(value, float | int) else value
        if name in _TOTALS:
            code, unit = _TOTALS[name]
            values[f"1-1:{code}.255"] = (number / (1000 if "h" in unit else 1), unit)
        elif name.startswith(("current_", "voltage_")) and isinstance(value, float | int):
            group = (31 if name.startswith("current") else 32) + _PHASES[name[-2:]]
            unit = "A" if name.startswith("current") else "V"
            values[f"1-1:{group}.7.0.255"] = (number, unit)
    return values


if __name__ == "__main__":
    serve(decode, show)
