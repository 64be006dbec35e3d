"""The lists that HAN ports push, walked element by element: OBIS code, value, OBIS code, value ...

    Kamstrup  02 n | 0A list identifier | 09 06 <code> <value> | 09 06 <code> <value> ...
    Aidon     01 n | 02 3 | 09 06 <code> <value> 02 02 0F <scaler> 16 <unit> | ...
    Kaifa     02 n | values without codes

How many elements there are says nothing: the same list has 15, 25 or 35. A single-phase meter
sends null for both the code and the value of the phases it lacks. Kamstrup's lists carry no
scalers (`obis.MEASURES`). Source: Kamstrup HAN-NVE interface description rev 3.1; OMNIPOWER HAN
interface specification 5512-2584 B1; "OBIS List Information" of Kamstrup, Aidon and Kaifa.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from kamstrup_mqtt.errors import MeterError
from kamstrup_mqtt.model import LinkState, Object, Scalar
from kamstrup_mqtt.protocols.han import axdr, datetimes, obis
from kamstrup_mqtt.protocols.han.axdr import Element
from kamstrup_mqtt.protocols.han.obis import Measure

_CODE_SIZE = 6
_UNITS = {  # DLMS UA Blue Book, table of units
    0x1B: "W",
    0x1C: "VA",
    0x1D: "var",
    0x1E: "Wh",
    0x1F: "VAh",
    0x20: "varh",
    0x21: "A",
    0x23: "V",
    0x2C: "Hz",
}
_HIGHEST_VOLTS: Final = 1000
"""No low-voltage meter has more: a voltage above is counted in 0.01 V, as some Danish and Swedish
meters do since 2024."""
_KAMSTRUP = "Kamstrup"
_KAIFA = "KFM_"


class Pair(NamedTuple):
    """One entry of a list. `id` is the code as text; `measure` what the frame says about it."""

    id: str
    value: Element
    measure: Measure | None = None


class PushedList(NamedTuple):
    """A list as sent: `list_id` its identifier (None: it tells none), `elements` their number."""

    list_id: str | None
    elements: int
    objects: tuple[Object, ...]


def read(body: Element, energy_scale: int) -> PushedList:
    """Every object of a list, in the order sent. `energy_scale`: Wh per count of the energies of
    a Kamstrup meter. Raises MeterError for a list that cannot be told apart safely."""
    if not isinstance(body.value, tuple):
        raise _unreadable("it is a single value, not a list")
    pairs = tuple(_pairs(body.value))
    list_id = _identifier(pairs)
    if (list_id or "").startswith(_KAIFA) or not any(obis.KEYS.get(p.id) for p in pairs):
        # positions are all that tells values apart here, and their scales differ by model
        name = "a list without OBIS codes" if list_id is None else f"list {list_id}"
        raise _unreadable(f"{name} is not supported yet (Kaifa?); please report it")
    kamstrup = (list_id or "").startswith(_KAMSTRUP)
    objects = tuple(_object(pair, energy_scale, kamstrup) for pair in pairs)
    return PushedList(list_id, len(body.value), objects)


def _unreadable(why: str) -> MeterError:
    return MeterError(LinkState.BYTES_NO_FRAMES, f"the list cannot be read: {why}")


def _is_code(element: Element) -> bool:
    value = element.value
    return element.tag == axdr.OCTETS and isinstance(value, bytes) and len(value) == _CODE_SIZE


def _code(element: Element) -> str:
    assert isinstance(element.value, bytes)
    return obis.write(element.value)


def _pairs(elements: tuple[Element, ...]) -> Iterator[Pair]:
    """Codes and values in turn, or each pair in a structure of its own; what stands without a
    code keeps its place as its name."""
    numbered = iter(enumerate(elements, 1))
    for number, element in numbered:
        inner = element.value
        if inner is None:
            continue
        if number == 1 and element.tag == axdr.TEXT:
            yield Pair(obis.LIST_ID, element)
        elif _is_code(element):
            _, value = next(numbered, (0, None))
            if value is None:
                raise _unreadable(f"no value follows its last code {_code(element)}")
            yield Pair(_code(element), value)
        elif isinstance(inner, tuple) and len(inner) in (2, 3) and _is_code(inner[0]):
            yield Pair(_code(inner[0]), inner[1], _measure(inner[2]) if inner[2:] else None)
        else:
            yield Pair(f"element_{number}", element)


def _measure(element: Element) -> Measure:
    """Scaler and unit as the frame has them."""
    match element.value:
        case (Element(axdr.INT8, int(exponent)), Element(axdr.ENUM, int(unit))):
            return Measure(exponent, _UNITS.get(unit, f"DLMS unit {unit}"))
    raise _unreadable("a value has something else behind it than scaler and unit")


def _identifier(pairs: Iterable[Pair]) -> str | None:
    found = next((p.value for p in pairs if obis.KEYS.get(p.id) == obis.LIST_ID), None)
    return text(found.value) if found and isinstance(found.value, bytes) else None


def _object(pair: Pair, energy_scale: int, kamstrup: bool) -> Object:
    value = pair.value.value
    if value is None:
        return Object(pair.id, None, None)
    if isinstance(value, tuple):
        octets = axdr.write(pair.value).hex()
        return Object(pair.id, octets, octets)
    if isinstance(value, bytes):
        raw, shown = _octets(pair, value)
        return Object(pair.id, raw, shown)
    measure = pair.measure or _assumed(pair.id, value, energy_scale, kamstrup)
    if measure is None:
        return Object(pair.id, value, None)
    return Object(pair.id, value, scaled(value, measure.exponent), measure.unit)


def _assumed(code: str, raw: int, energy_scale: int, kamstrup: bool) -> Measure | None:
    """What a count without scaler is worth. None: its quantity has a unit, but only another
    maker's documents could tell the scale."""
    known = obis.MEASURES.get(code)
    if known is None:
        return Measure(0, None)
    if not kamstrup and not code.startswith("1-1:"):
        return None
    if known.unit in ("kWh", "kvarh") and energy_scale == 1:
        return known._replace(exponent=-3)
    if known.unit == "V" and raw > _HIGHEST_VOLTS:
        return known._replace(exponent=-2)
    return known


def scaled(count: int, exponent: int) -> Decimal:
    """count × 10^exponent, every digit kept: 4422800 × 10^-2 is 44228.00."""
    sign = 1 if count < 0 else 0
    return Decimal((sign, tuple(map(int, str(abs(count)))), exponent))


def _octets(pair: Pair, value: bytes) -> tuple[str, Scalar]:
    """Raw and value of a string: text where it is text, else hex; a clock as local ISO time."""
    key = obis.KEYS.get(pair.id)
    if key == "meter_time" and len(value) == datetimes.SIZE:
        return value.hex(), datetimes.read(value).local
    if pair.value.tag == axdr.TEXT or key in obis.TEXT_KEYS:
        shown = text(value)
        return shown, shown or None  # a text of NULs alone says nothing
    return value.hex(), value.hex()


def text(value: bytes) -> str:
    """A text without its NULs; hex when it is not printable ASCII."""
    stripped = value.replace(b"\x00", b"")
    printable = all(0x20 <= byte < 0x7F for byte in stripped)
    return stripped.decode("ascii") if printable else value.hex()
