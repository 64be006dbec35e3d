"""Encodes the lists of each maker; `protocols.han` decodes them.

Source: Kamstrup HAN-NVE interface description rev 3.1; OMNIPOWER HAN interface specification
5512-2584 B1 (DLMS push 1); "OBIS List Information" of Aidon; "Kaifa HAN OBIS codes KFM_001".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kamstrup_mqtt.protocols.han import apdu, datetimes, obis
from kamstrup_mqtt.protocols.han.apdu import DateHeader
from kamstrup_mqtt.protocols.han.axdr import (
    ARRAY,
    ENUM,
    INT8,
    INT16,
    OCTETS,
    STRUCTURE,
    TEXT,
    UINT16,
    UINT32,
    Element,
)
from kamstrup_mqtt.protocols.han.codec import kamstrup_body

POWERS: Final = {
    "power_import": "1.7.0",
    "power_export": "2.7.0",
    "reactive_power_import": "3.7.0",
    "reactive_power_export": "4.7.0",
}
CURRENTS: Final = {"current_l1": "31.7.0", "current_l2": "51.7.0", "current_l3": "71.7.0"}
VOLTAGES: Final = {"voltage_l1": "32.7.0", "voltage_l2": "52.7.0", "voltage_l3": "72.7.0"}
REGISTERS: Final = {
    "energy_import": "1.8.0",
    "energy_export": "2.8.0",
    "reactive_energy_import": "3.8.0",
    "reactive_energy_export": "4.8.0",
}
_UNITS: Final = {"W": 0x1B, "var": 0x1D, "Wh": 0x1E, "varh": 0x20, "A": 0x21, "V": 0x23}
_ANOTHER_INVOKE_ID = bytes.fromhex("40000000")


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a meter at one time, as counts in its lists. Values that it lacks are missing.

    texts             list_id, meter_id and meter_type
    live, registers   key -> count
    """

    texts: Mapping[str, bytes]
    meter_number: int
    live: Mapping[str, int]
    registers: Mapping[str, int]
    clock: datetime

    @property
    def phases(self) -> tuple[int, ...]:
        return tuple(n for n in (1, 2, 3) if f"voltage_l{n}" in self.live)

    def shared(self, key: str) -> dict[int, int]:
        """Distribute a total among the phases, exactly."""
        total = self.registers[key] if key in self.registers else self.live[key]
        part, rest = divmod(total, len(self.phases))
        return {phase: part + (rest if phase == 1 else 0) for phase in self.phases}


def kamstrup_nve(values: Values, *, hourly: bool, date_header: DateHeader) -> bytes:
    """Encode the list of 10 s, or the hourly list."""

    def pairs() -> Iterator[tuple[str, Element] | None]:
        yield "1-1:0.0.5.255", Element(TEXT, values.texts["meter_id"])
        yield "1-1:96.1.1.255", Element(TEXT, values.texts["meter_type"])
        for key, code in POWERS.items():
            yield f"1-1:{code}.255", Element(UINT32, values.live[key])
        for key, code in (*CURRENTS.items(), *VOLTAGES.items()):
            count = values.live.get(key)
            type_ = UINT32 if key in CURRENTS else UINT16
            yield None if count is None else (f"1-1:{code}.255", Element(type_, count))
        if hourly:
            yield obis.CLOCK, Element(OCTETS, datetimes.write(values.clock))
            for key, code in REGISTERS.items():
                yield f"1-1:{code}.255", Element(UINT32, values.registers[key])

    body = kamstrup_body(values.texts["list_id"], pairs())
    return apdu.write(datetimes.write(values.clock), body, date_header)


def kamstrup_push1(values: Values) -> bytes:
    """Encode "DLMS push 1": registers every 10 s, phases, a number instead of texts."""

    def pairs() -> Iterator[tuple[str, Element]]:
        for key, code in REGISTERS.items():
            yield code, Element(UINT32, values.registers[key])
        yield "0.0.1", Element(UINT32, values.meter_number)
        for key, code in POWERS.items():
            yield code, Element(UINT32, values.live[key])
        yield "clock", Element(OCTETS, datetimes.write(values.clock))
        for codes, type_ in ((VOLTAGES, UINT16), (CURRENTS, UINT32)):
            for key, code in codes.items():
                if key in values.live:
                    yield code, Element(type_, values.live[key])
        yield from _of_phases(values, 21, "7.0", "power_import")
        for phase in values.phases:
            yield f"{13 + 20 * phase}.7.0", Element(UINT16, 100)
        yield "13.7.0", Element(UINT16, 100)
        yield from _of_phases(values, 22, "7.0", "power_export")
        yield from _of_phases(values, 22, "8.0", "energy_export")
        yield from _of_phases(values, 21, "8.0", "energy_import")

    coded = (
        (obis.CLOCK if code == "clock" else f"1-1:{code}.255", element) for code, element in pairs()
    )
    body = kamstrup_body(values.texts["list_id"], coded)
    return apdu.write(datetimes.write(values.clock), body)


def _of_phases(values: Values, first: int, rest: str, key: str) -> Iterator[tuple[str, Element]]:
    for phase, count in values.shared(key).items():
        yield f"{first + 20 * (phase - 1)}.{rest}", Element(UINT32, count)


def aidon(values: Values, *, hourly: bool, swedish: bool) -> bytes:
    """Encode Aidon's list 2 or 3, or the Swedish list: each value with its scaler and unit."""
    clock = _entry("0-0:1.0.0.255", Element(OCTETS, datetimes.write(values.clock)))
    entries = [*_aidon_numbers(values)]
    if swedish:
        registers = _aidon_registers(values, 0)
        entries = [clock, *entries, *_aidon_phases(values), *registers]
    else:
        ids = (
            _entry(code, Element(TEXT, values.texts[key]))
            for code, key in (
                ("1-1:0.2.129.255", "list_id"),
                ("0-0:96.1.0.255", "meter_id"),
                ("0-0:96.1.7.255", "meter_type"),
            )
        )
        registers = _aidon_registers(values, 1)
        entries = [*ids, *entries, *((clock, *registers) if hourly else ())]
    return apdu.write(b"", Element(ARRAY, tuple(entries)), "absent", _ANOTHER_INVOKE_ID)


def _aidon_numbers(values: Values) -> Iterator[Element]:
    for key, code in POWERS.items():
        yield _entry(f"1-0:{code}.255", Element(UINT32, values.live[key]), 0, _unit(key, ""))
    for codes, type_, unit in ((CURRENTS, INT16, "A"), (VOLTAGES, UINT16, "V")):
        for key, code in codes.items():
            if key in values.live:
                yield _entry(f"1-0:{code}.255", Element(type_, values.live[key]), -1, unit)


def _aidon_phases(values: Values) -> Iterator[Element]:
    """Yield the powers of each phase, for the Swedish list."""
    shares = {key: values.shared(key) for key in POWERS}
    for phase in values.phases:
        for n, key in enumerate(POWERS):
            count = Element(UINT32, shares[key][phase])
            yield _entry(f"1-0:{1 + n + 20 * phase}.7.0.255", count, 0, _unit(key, ""))


def _aidon_registers(values: Values, exponent: int) -> Iterator[Element]:
    for key, code in REGISTERS.items():
        count = Element(UINT32, values.registers[key])
        yield _entry(f"1-0:{code}.255", count, exponent, _unit(key, "h"))


def _unit(key: str, hours: str) -> str:
    return f"{'var' if 'reactive' in key else 'W'}{hours}"


def _entry(code: str, value: Element, exponent: int = 0, unit: str = "") -> Element:
    inside = [Element(OCTETS, obis.read(code)), value]
    if unit:
        measure = (Element(INT8, exponent), Element(ENUM, _UNITS[unit]))
        inside.append(Element(STRUCTURE, measure))
    return Element(STRUCTURE, tuple(inside))


def kaifa(values: Values, *, hourly: bool) -> bytes:
    """Encode Kaifa's list 2 or 3: values without codes."""
    texts = [values.texts[key] for key in ("list_id", "meter_id", "meter_type")]
    elements = [Element(OCTETS, octets) for octets in texts]
    for codes in (POWERS, CURRENTS, VOLTAGES):
        elements += [Element(UINT32, values.live[key]) for key in codes if key in values.live]
    clock = datetimes.write(values.clock)
    if hourly:
        elements.append(Element(OCTETS, clock))
        elements += [Element(UINT32, values.registers[key]) for key in REGISTERS]
    body = Element(STRUCTURE, tuple(elements))
    return apdu.write(clock, body, "tagged", _ANOTHER_INVOKE_ID)
