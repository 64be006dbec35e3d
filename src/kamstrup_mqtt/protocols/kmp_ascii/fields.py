"""Fields of the answers of the 685-382, and their public keys.

Offsets count the bytes of data behind the two bytes of the command. Source: KMP382-driver,
MeterProtocolKMP382.cs and README (kmp.md 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.core.units import power

HELLO = bytes.fromhex("FE00")
MEMORY = bytes.fromhex("FE01")
ENERGY = bytes.fromhex("FE90")
TARIFFS = bytes.fromhex("FE95")

IDENTITY_RANGE = (0x0001, 0x002C)
"""First and last address of the block with type, meter id and customer number."""


@dataclass(frozen=True, slots=True)
class Field:
    """A value: its position in the answer to `command`, and its kind.

    text    ASCII        number  an identification number: published as text
    count   an integer   total   an integer of 1/100, see `high_res`
    """

    id: str
    key: str
    command: bytes
    offset: int
    size: int
    order: Literal["big", "little"] = "big"
    form: Literal["text", "number", "count", "total"] = "count"
    unit: str | None = None


# FE 01 0001 002C -> 44 bytes, offset 0 = address 1
#
#     0..9  type, ASCII     29..32  meter id, little-endian    33..36  customer number, likewise
#
# FE 90 -> 36 bytes, big-endian
#
#     0 total kWh | 4 unknown | 8 hours | 12 total 0.01 kWh | 16 peak W | 20 customer number
#     24 unknown, 8 bytes | 32 production number
#
# FE 95 00 -> 13 bytes, big-endian
#
#     0 unknown, 01 | 1 total kWh | 5 tariff 1 | 9 tariff 2
FIELDS: tuple[Field, ...] = (
    Field("FE01.meter_type", "meter_type", MEMORY, 0, 10, form="text"),
    Field("FE01.meter_id", "meter_id", MEMORY, 29, 4, "little", "number"),
    Field("FE01.customer_number", "customer_number", MEMORY, 33, 4, "little", "number"),
    Field("FE90.energy", "energy_import", ENERGY, 0, 4, unit="kWh"),
    # 0 in every sample; ENERGY_LOAD_WH is a guess of the driver's author
    Field("FE90.field1", "register_fe90_1", ENERGY, 4, 4),
    Field("FE90.operating_hours", "operating_hours", ENERGY, 8, 4, unit="h"),
    Field(
        "FE90.energy_high_res", "energy_import_high_res", ENERGY, 12, 4, form="total", unit="kWh"
    ),
    Field("FE90.peak_power", "peak_power", ENERGY, 16, 4, unit="W"),
    Field("FE90.customer_number", "customer_number_2", ENERGY, 20, 4, form="number"),
    Field("FE90.production_number", "production_number", ENERGY, 32, 4, form="number"),
    Field("FE95.energy", "energy_import_2", TARIFFS, 1, 4, unit="kWh"),
    Field("FE95.tariff_1", "energy_import_tariff_1", TARIFFS, 5, 4, unit="kWh"),
    Field("FE95.tariff_2", "energy_import_tariff_2", TARIFFS, 9, 4, unit="kWh"),
)

DATA_LENGTH: Mapping[bytes, int] = MappingProxyType({MEMORY: 44, ENERGY: 36, TARIFFS: 13})
"""Command -> bytes of data in its answer."""

_BY_COMMAND: Mapping[bytes, tuple[Field, ...]] = MappingProxyType(
    {command: tuple(f for f in FIELDS if f.command == command) for command in DATA_LENGTH}
)
_BY_ID: Mapping[SourceId, Field] = MappingProxyType({field.id: field for field in FIELDS})


def command_of(source: SourceId) -> bytes | None:
    """Return the command whose answer contains `source`. None if there is none."""
    field = _BY_ID.get(source)
    return field.command if field else None


def read_fields(command: bytes, data: bytes) -> tuple[DecodedValue, ...]:
    """Decode the answer to `command`. `data` must have the length in DATA_LENGTH."""
    fields = _BY_COMMAND[command]
    numbers = {f.id: int.from_bytes(_part(f, data), f.order) for f in fields}
    return tuple(
        _text(field, _part(field, data))
        if field.form == "text"
        else DecodedValue(field.id, numbers[field.id], _value(field, numbers), field.unit)
        for field in fields
    )


def _part(field: Field, data: bytes) -> bytes:
    return data[field.offset : field.offset + field.size]


def _text(field: Field, part: bytes) -> DecodedValue:
    text = part.rstrip(b"\x00 ").decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        text = part.hex().upper()  # never written, or another meter's memory
    return DecodedValue(field.id, text, text)


def _value(field: Field, numbers: Mapping[str, int]) -> Scalar:
    number = numbers[field.id]
    if field.form == "number":
        return str(number)
    if field.form == "total":
        return high_res(number, numbers["FE90.energy"])
    return Decimal(number)


def high_res(hundredths: int, whole: int) -> Decimal | None:
    """Return the total in kWh from hundredths. None if it does not match the register's kWh.

    The driver calls this field RESET_COUNTER. Two samples (9032 and 903233) show that it is the
    total, so every answer has to confirm it.
    """
    if hundredths // 100 != whole:
        return None
    return power(hundredths, -2)


def key_of(source: SourceId) -> str | None:
    """Return the public key of a source. None if it has none."""
    field = _BY_ID.get(source)
    return field.key if field else None


def parse_source(text: str) -> SourceId:
    """Return the source that a text names, in any case: `FE90.energy`, or its key `energy_import`.

    Raises ValueError with a list of all sources.
    """
    word = text.strip().lower()
    for field in FIELDS:
        if word in (field.id.lower(), field.key):
            return field.id
    known = ", ".join(field.id for field in FIELDS)
    raise ValueError(f"{text}: the 685-382 has no such value; choose from {known}")


def fallback_key(source: SourceId) -> str:
    """Return the key of a source without a public one."""
    slug = "".join(c if c.isascii() and c.isalnum() else "_" for c in str(source).lower())
    return f"register_{slug}"
