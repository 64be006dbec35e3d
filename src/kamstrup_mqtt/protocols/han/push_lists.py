"""The lists that HAN ports push: OBIS codes and values in turn.

    Kamstrup  02 n | 0A list identifier | 09 06 <code> <value> | 09 06 <code> <value> ...
    Aidon     01 n | 02 3 | 09 06 <code> <value> 02 02 0F <scaler> 16 <unit> | ...
    Kaifa     02 n | values without codes (`kaifa`)

The number of elements does not identify a list: the same list has 15, 25, 35, 37 or 65. A
single-phase meter sends null for both the code and the value of the phases it lacks. Kamstrup's
lists carry no scalers (`obis.MEASURES`, `scales`). Source: Kamstrup HAN-NVE interface description
rev 3.1; OMNIPOWER HAN interface specification 5512-2584 B1; "OBIS List Information" of Kamstrup,
Aidon and Kaifa.
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
"""Prefix of the list identifier, maker. EMBRIQ (Landis+Gyr) sends lists like those of Aidon."""
_LIST_IDS = tuple(code for code, key in obis.KEYS.items() if key == obis.LIST_ID)
ENERGY_UNITS: Final = ("kWh", "kvarh")


class Pair(NamedTuple):
    """An entry of a list.

    id       its OBIS code as text
    measure  the scaler and unit sent with it, None if it has none
    """

    id: str
    value: Element
    measure: Measure | None = None


class PushList(NamedTuple):
    """A list, split into its pairs.

    list_id   its identifier, None if it has none
    maker     the maker of the meter, None if unknown
    elements  the number of elements of the list
    """

    list_id: str | None
    maker: Maker | None
    elements: int
    pairs: tuple[Pair, ...]


def split(body: Element) -> PushList:
    """Split a list into pairs, in the order sent. Raises MeterError if it is damaged."""
    if not isinstance(body.value, tuple):
        raise _unreadable("it is a single value, not a list")
    if _is_positional(body.value):
        pairs = tuple(map(Pair, kaifa.LAYOUTS[len(body.value)], body.value))
        maker: Maker | None = "kaifa"
    else:
        pairs = tuple(_pairs(body.value))
        maker = _maker(pairs)
    return PushList(_text_of(pairs, *_LIST_IDS), maker, len(body.value), pairs)


def objects(
    push_list: PushList, energy_scale: int | None, current: CurrentScale
) -> tuple[DecodedValue, ...]:
    """Return the decoded values of a list.

    energy_scale  Wh per count of a Kamstrup meter's energies; None if unknown: they get no value
    current       the scale of the meter's currents
    """
    assumed = None
    if push_list.maker == "kamstrup":
        assumed = current.scales_for(_counts(push_list.pairs), meter_type(push_list))
    maker = push_list.maker
    return tuple(
        _object(pair, measure(pair.id, pair.measure, maker, energy_scale, assumed))
        for pair in push_list.pairs
    )


def meter_type(push_list: PushList) -> str | None:
    """Return the type number in a Kamstrup list. None if it has none."""
    return _text_of(push_list.pairs, "1-1:96.1.1.255")


def _maker(pairs: tuple[Pair, ...]) -> Maker | None:
    list_id = _text_of(pairs, *_LIST_IDS) or ""
    for prefix, maker in _MAKERS:
        if list_id.startswith(prefix):
            return maker
    if any(pair.measure for pair in pairs):
        return "aidon"  # its first and its Swedish list have no identifier
    # B = 1 is Kamstrup's alone: its lists have it throughout
    known = any(p.id.startswith("1-1:") and p.id in obis.KEYS for p in pairs)
    return "kamstrup" if known else None


def _is_positional(elements: tuple[Element, ...]) -> bool:
    """Whether these are Kaifa's values without codes.

    Then their number is that of a layout, each has the type of its position or is null, and the
    first is not null.
    """
    layout = kaifa.LAYOUTS.get(len(elements), ())
    return bool(layout and elements[0].value is not None) and all(
        element.value is None
        or isinstance(element.value, bytes if obis.MEASURES.get(code) is None else int)
        for code, element in zip(layout, elements, strict=True)
    )


def _counts(pairs: Iterable[Pair]) -> Mapping[str, int]:
    """Return the numbers of a list by C.D.E of their codes, as `scales` needs them."""
    return {
        short_code(pair.id): pair.value.value for pair in pairs if isinstance(pair.value.value, int)
    }


def short_code(code: str) -> str:
    """Return C.D.E of a code: "1-1:31.7.0.255" -> "31.7.0"."""
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
    """Yield the pairs of a list: codes and values in turn, or a structure for each pair.

    An element without a code is named after its position.
    """
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
    """Return the scaler and unit in an element. Raises MeterError if it is something else."""
    match element.value:
        case (Element(axdr.INT8, int(exponent)), Element(axdr.ENUM, int(unit))):
            return Measure(exponent, _UNITS.get(unit, f"DLMS unit {unit}"))
    raise _unreadable("something else than a scaler and a unit follows a value")


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
    """Return the scale and unit of a count. None if it has a unit, but its scale is unknown.

    code    OBIS code of the value
    sent    its scaler and unit in the frame, if it has them
    scales  the scales of voltage and current in this frame
    """
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
    """Return the scale and unit of an energy register that counts `energy_scale` Wh (10 or 1)."""
    return known._replace(exponent=-2 if energy_scale == 10 else -3)


def _octets(pair: Pair, value: bytes) -> tuple[str, Scalar]:
    """Return raw and value of a string: text or else hex, a clock as local ISO time."""
    key = obis.KEYS.get(pair.id)
    if key == "meter_time" and len(value) == datetimes.SIZE:
        return value.hex(), datetimes.read(value).local
    if pair.value.tag == axdr.TEXT or key in obis.TEXT_KEYS:
        shown = text(value)
        return shown, shown or None  # a text of NULs is no value
    return value.hex(), value.hex()


def text(value: bytes) -> str:
    """Return a text without NULs, or hex if it is not printable ASCII."""
    stripped = value.replace(b"\x00", b"")
    printable = all(0x20 <= byte < 0x7F for byte in stripped)
    return stripped.decode("ascii") if printable else value.hex()
