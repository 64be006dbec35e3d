"""Addresses of data sets: their public keys, which are text, and the spelling of units.

The 685-382 and the MULTICAL 401 use addresses older than OBIS (EDIS: 1.20, 1.31, 6.8, 6.26); the
others are OBIS codes in short form (iec62056_21.md 7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from kamstrup_mqtt.core.model import SourceId

MANUFACTURER, IDENT = "manufacturer", "ident"
"""Sources of the manufacturer and the model in the identification line."""

_KEYS: Mapping[str, str] = MappingProxyType(
    {
        MANUFACTURER: "manufacturer",
        IDENT: "model",
        "0.0": "customer_number",
        "0.0.0": "customer_number",
        "C.1.0": "serial_number",
        "96.1.0": "serial_number",
        # 685-382, 382 [382 interface specification 040611]
        "1.20": "energy_import",
        "1.20.1": "energy_import_tariff_1",
        "1.20.2": "energy_import_tariff_2",
        "1.31": "operating_hours",
        "1.26": "pulse_input",
        "1.6": "peak_power",
        "1.6*1": "peak_power_last_month",
        # 382C, 684
        "0.128.1": "pulse_input",
        "96.8.0": "operating_hours",
        "1.6.0": "peak_power",
        "1.6.0*1": "peak_power_last_month",
        # MULTICAL 66, 401
        "6.8": "heat_energy",
        "6.26": "volume",
        "6.31": "operating_hours",
        # OBIS
        "1.8.0": "energy_import",
        "2.8.0": "energy_export",
        "3.8.0": "reactive_energy_import",
        "4.8.0": "reactive_energy_export",
        "1.7.0": "power_import",
        "2.7.0": "power_export",
        "3.7.0": "reactive_power_import",
        "4.7.0": "reactive_power_export",
        **{f"1.8.{tariff}": f"energy_import_tariff_{tariff}" for tariff in range(1, 9)},
    }
)

UNPRINTED_UNITS: Mapping[str, str] = MappingProxyType({"1.6": "kW", "1.6*1": "kW"})
"""Units that the 685-382 leaves out: it sends kW after 1.6, nothing after 1.6*1."""

_UNITS: Mapping[str, str] = MappingProxyType(
    {
        unit.lower(): unit
        for unit in (
            *("Wh", "kWh", "MWh", "GWh", "varh", "kvarh", "Mvarh", "VAh", "kVAh"),
            *("W", "kW", "var", "kvar", "VA", "kVA", "V", "A", "Hz", "h", "s", "min", "bar"),
            *("kJ", "MJ", "GJ", "Gcal", "Mcal", "L/h", "t", "kg", "K"),
        )
    }
    | {"m3": "m³", "m^3": "m³", "m3/h": "m³/h", "l": "L", "c": "°C", "grd c": "°C", "mw": "MW"}
)
# case carries meaning only in mW and MW; a meter for mW has not been seen

_OBIS_MEDIUM = re.compile(r"^\d{1,3}-\d{1,3}:")
_TEXT = re.compile(r"^(0\.0(\.\d+)?|C\.1(\.\d+)?|96\.1\.\d+|0\.9\.[12]|0\.1\.2)$")


def short_address(address: str) -> str:
    """Return the short form of an OBIS code: `1-0:1.8.0*255` -> `1.8.0`."""
    return _OBIS_MEDIUM.sub("", address).removesuffix("*255")


def is_text(address: str) -> bool:
    """Whether a value is text, whose leading zeros count: an identification, a date or a time."""
    return _TEXT.match(short_address(address)) is not None


def unit_of(address: str, printed: str) -> str | None:
    """Return the unit in Home Assistant's spelling. None if there is none."""
    text = printed.strip()
    if not text:
        return UNPRINTED_UNITS.get(address)
    return _UNITS.get(text.lower(), text)


def key_of(source: SourceId) -> str | None:
    """Return the public key of an address. None if it has none."""
    return _KEYS.get(short_address(str(source)))


def parse_source(text: str) -> SourceId:
    """Return the address that a text names. Raises ValueError if it is none."""
    address = text.strip()
    if not re.fullmatch(r"[0-9A-Za-z.:*&\-]{1,24}", address):
        raise ValueError(f"{text}: not an address; write it as the meter sends it, such as 1.20.1")
    return address


def fallback_key(source: SourceId) -> str:
    """Return the key of an address without a public one: `32.7.0` -> `obis_32_7_0`."""
    return "obis_" + re.sub(r"[^a-z0-9]", "_", str(source).lower())
