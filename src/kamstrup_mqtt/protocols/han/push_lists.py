"""The lists that HAN ports push, walked element by element: OBIS code, value, OBIS code, value ...

    Kamstrup  02 n | 0A list identifier | 09 06 <code> <value> | 09 06 <code> <value> ...
    Aidon     01 n | 02 3 | 09 06 <code> <value> 02 02 0F <scaler> 16 <unit> | ...
    Kaifa     02 n | values without codes (`kaifa`)

How many elements there are says nothing: the same list has 15, 25, 35, 37 or 65. A single-phase
meter sends null for both the code and the value of the phases it lacks. Kamstrup's lists carry no
scalers (`obis.MEASURES`, `scales`). Source: Kamstrup HAN-NVE interface description rev 3.1;
OMNIPOWER HAN interface specification 5512-2584 B1; "OBIS List Information" of Kamstrup, Aidon and
Kaifa.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, Scalar
from kamstrup_mqtt.core.units import power
from kamstrup_mqtt.protocols.han import axdr, datetimes, kaifa, obis
from kamstrup_mqtt.protocols.han.axdr import Element
from kamstrup_mqtt.protocols.han.obis import Measure
from kamstrup_mqtt.protocols.han.scales import CurrentScale, Scales

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
Maker: TypeAlias = Literal["kamstrup", "aidon", "kaifa"]

_MAKERS: Final[tuple[tuple[str, Maker], ...]] = (
    ("Kamstrup", "kamstrup"),
    ("AIDON", "aidon"),
    ("EMBRIQ", "aidon"),
    (kaifa.LIST_PREFIX, "kaifa"),
)
"""How a list identifier begins, and whose list it is; EMBRIQ (Landis+Gyr) is as Aidon's."""
_LIST_IDS = tuple(code for code, key in obis.KEYS.items() if key == obis.LIST_ID)
ENERGY_UNITS: Final = ("kWh", "kvarh")


class Pair(NamedTuple):
    """One entry of a list. `id` is the code as text; `measure` what the frame says about it."""

    id: str
    value: Element
    measure: Measure | None = None


class Walked(NamedTuple):
    """A list taken apart: `list_id` its identifier (None: it tells none), `maker` whose list it is
    (None: nobody knows), `elements` their number."""

    list_id: str | None
    maker: Maker | None
    elements: int
    pairs: tuple[Pair, ...]


def walk(body: Element) -> Walked:
    """Every pair of a list, in the order sent. Raises MeterError for a damaged list."""
    if not isinstance(body.value, tuple):
        raise _unreadable("it is a single value, not a list")
    if _is_positional(body.value):
        pairs = tuple(map(Pair, kaifa.LAYOUTS[len(body.value)], body.value))
        maker: Maker | None = "kaifa"
    else:
        pairs = tuple(_pairs(body.value))
        maker = _maker(pairs)
    return Walked(_text_of(pairs, *_LIST_IDS), maker, len(body.value), pairs)


def objects(
    walked: Walked, energy_scale: int | None, current: CurrentScale
) -> tuple[DecodedValue, ...]:
    """Every object of a list. `energy_scale`: Wh per count of the energies of a Kamstrup meter;
    None: not known, they have no value."""
    assumed = None
    if walked.maker == "kamstrup":
        assumed = current.scales_for(_counts(walked.pairs), meter_type(walked))
    maker = walked.maker
    return tuple(
        _object(pair, measure(pair.id, pair.measure, maker, energy_scale, assumed))
        for pair in walked.pairs
    )


def meter_type(walked: Walked) -> str | None:
    """The type number in a Kamstrup list."""
    return _text_of(walked.pairs, "1-1:96.1.1.255")


def _maker(pairs: tuple[Pair, ...]) -> Maker | None:
    list_id = _text_of(pairs, *_LIST_IDS) or ""
    for prefix, maker in _MAKERS:
        if list_id.startswith(prefix):
            return maker
    if any(pair.measure for pair in pairs):
        return "aidon"  # its first and its Swedish list tell no identifier
    # B = 1 is Kamstrup's alone: its lists have it throughout
    known = any(p.id.startswith("1-1:") and p.id in obis.KEYS for p in pairs)
    return "kamstrup" if known else None


def _is_positional(elements: tuple[Element, ...]) -> bool:
    """Whether these are Kaifa's values without codes: so many, and each of the right sort, or
    null; the first is always told."""
    layout = kaifa.LAYOUTS.get(len(elements), ())
    return bool(layout and elements[0].value is not None) and all(
        element.value is None
        or isinstance(element.value, bytes if obis.MEASURES.get(code) is None else int)
        for code, element in zip(layout, elements, strict=True)
    )


def _counts(pairs: Iterable[Pair]) -> Mapping[str, int]:
    """What `scales` needs: the numbers, by C, D and E of their code."""
    return {
        short_code(pair.id): pair.value.value for pair in pairs if isinstance(pair.value.value, int)
    }


def short_code(code: str) -> str:
    """C, D and E of a code: "1-1:31.7.0.255" is "31.7.0"."""
    return code.partition(":")[2].removesuffix(".255")


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


def _text_of(pairs: Iterable[Pair], *codes: str) -> str | None:
    found = next((p.value.value for p in pairs if p.id in codes), None)
    return text(found) if isinstance(found, bytes) else None


def _object(pair: Pair, measure: Measure | None) -> DecodedValue:
    value = pair.value.value
    if value is None:
        return DecodedValue(pair.id, None, None)
    if isinstance(value, tuple):
        octets = axdr.write(pair.value).hex()
        return DecodedValue(pair.id, octets, octets)
    if isinstance(value, bytes):
        raw, shown = _octets(pair, value)
        return DecodedValue(pair.id, raw, shown)
    if measure is None:
        return DecodedValue(pair.id, value, None)
    return DecodedValue(pair.id, value, power(value, measure.exponent), measure.unit)


def measure(
    code: str,
    sent: Measure | None,
    maker: Maker | None,
    energy_scale: int | None,
    scales: Scales | None,
) -> Measure | None:
    """What the count of a pair is worth: `code` and `sent` are its id and measure, `scales` of this
    frame. None: its quantity has a unit, but nothing tells the scale."""
    if sent is not None:
        return sent
    known = obis.MEASURES.get(code)
    if known is None:
        return Measure(0, None)
    if known.unit is None:
        return known
    if maker == "kaifa":
        return Measure(kaifa.EXPONENTS[known.unit], known.unit)
    if scales is None:
        return None
    if known.unit in ENERGY_UNITS:
        return None if energy_scale is None else energy_measure(known, energy_scale)
    exponents = {"V": scales.voltage, "A": scales.current}
    return known._replace(exponent=exponents.get(known.unit, known.exponent))


def energy_measure(known: Measure, energy_scale: int) -> Measure:
    """The measure of an energy that counts `energy_scale` Wh (10 or 1)."""
    return known._replace(exponent=-2 if energy_scale == 10 else -3)


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
