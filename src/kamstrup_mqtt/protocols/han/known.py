"""Lists of a layout that was met before, read without walking them.

Learned from a list that `lists` has read: its numbers and clocks may change, all else - header,
codes, texts, scalers - is constant. Whatever differs is read the plain way, and learned anew. What
comes out is the same (tests/protocols/han/test_known.py).
"""

from __future__ import annotations

from decimal import Decimal
from itertools import repeat
from operator import itemgetter
from typing import Final, NamedTuple

from kamstrup_mqtt.model import Object
from kamstrup_mqtt.protocols.base import Message
from kamstrup_mqtt.protocols.han import apdu, axdr, datetimes, lists, obis
from kamstrup_mqtt.protocols.han.apdu import Notification
from kamstrup_mqtt.protocols.han.lists import Pair, Walked
from kamstrup_mqtt.protocols.han.scales import VOLTAGES, CurrentScale, Scales
from kamstrup_mqtt.protocols.layout import Layout
from kamstrup_mqtt.units import EXACT

MAX_LISTS: Final = 8
"""Layouts of one meter that are kept; real meters have up to four."""

_FORMATS: Final = {axdr.INT32: "i", axdr.UINT32: "I", axdr.INT16: "h", axdr.UINT16: "H"}
"""Numbers that change. Scalers and units are of other types, and so constant."""
_CLOCK: Final = f"{datetimes.SIZE}s"
_INVOKE_ID: Final = "4s"


_new = tuple.__new__
"""Object(*row), but without a call of Python's for each."""


class KnownLists:
    """The layouts of one meter. `current` is the codec's own."""

    def __init__(self, energy_scale: int | None, current: CurrentScale) -> None:
        self._energy_scale = energy_scale
        self._current = current
        self._by_size: dict[int, _KnownList] = {}

    def read(self, payload: bytes) -> Message | None:
        """The list in a frame's payload; None when its layout is not known."""
        known = self._by_size.get(len(payload))
        return known.read(payload) if known is not None else None

    def learn(
        self,
        payload: bytes,
        message: bytes,
        notification: Notification,
        walked: Walked,
        read: Message,
    ) -> None:
        """Learn from a list in clear that was read the plain way: `message` is the APDU, `read`
        what came out of it."""
        spots = _spots(len(payload) - len(message), message, notification, walked)
        if sum(isinstance(spot.pair.value.value, int) for spot in spots if spot.pair) < 2:
            return  # not worth while
        if len(self._by_size) >= MAX_LISTS:
            self._by_size.clear()
        self._by_size[len(payload)] = _KnownList(
            Layout(payload, [(spot.at, spot.form) for spot in spots]),
            [spot.pair for spot in spots],
            walked,
            read,
            self._energy_scale,
            self._current,
        )


class _Spot(NamedTuple):
    """What changes from list to list: of `pair`, or of the header (None)."""

    at: int
    form: str
    pair: Pair | None


def _spots(start: int, message: bytes, notification: Notification, walked: Walked) -> list[_Spot]:
    """In the order sent; `start`: where the message begins. The first is the invoke id, the
    second the clock of the header if there is one."""
    body = apdu.body_at(message)
    spots = [_Spot(start + 1, _INVOKE_ID, None)]
    if notification.clock is not None:
        spots.append(_Spot(start + body - datetimes.SIZE, _CLOCK, None))
    pairs = {id(pair.value): pair for pair in walked.pairs}
    for element, at in axdr.places(notification.body, message, body):
        pair = pairs.get(id(element))
        if pair is not None and (form := _form(pair)) is not None:
            spots.append(_Spot(start + at, form, pair))
    return spots


def _form(pair: Pair) -> str | None:
    value = pair.value.value
    if isinstance(value, bytes) and obis.KEYS.get(pair.id) == "meter_time":
        return _CLOCK if len(value) == datetimes.SIZE else None
    return _FORMATS.get(pair.value.tag) if isinstance(value, int) else None


class _Columns(NamedTuple):
    """What the numbers of a list are worth. `exponents`: of those that have one that is not 0, by
    their place; `unknown`: which of them have no value."""

    exponents: tuple[tuple[int, int], ...]
    units: tuple[str | None, ...]
    unknown: tuple[int, ...]


class _KnownList:
    """One layout. `pairs`: of each spot, None for those of the header."""

    def __init__(
        self,
        layout: Layout,
        pairs: list[Pair | None],
        walked: Walked,
        read: Message,
        energy_scale: int | None,
        current: CurrentScale,
    ) -> None:
        self._layout = layout
        self._header = read.header
        self._objects = read.objects
        self._energy_scale = energy_scale
        self._current = current
        self._maker = walked.maker
        self._meter_type = lists.meter_type(walked)
        place = {id(pair): number for number, pair in enumerate(walked.pairs)}
        changing = [(spot, pair, place[id(pair)]) for spot, pair in enumerate(pairs) if pair]
        self._clocks = [(s, n, p.id) for s, p, n in changing if isinstance(p.value.value, bytes)]
        numbers = [(s, p, n) for s, p, n in changing if isinstance(p.value.value, int)]
        self._numbers = itemgetter(*(spot for spot, _, _ in numbers))
        self._pairs = [pair for _, pair, _ in numbers]
        self._places = [number for _, _, number in numbers]
        self._ids = [pair.id for pair in self._pairs]
        self._codes = [lists.short(id_) for id_ in self._ids]
        last = {code: n for n, code in enumerate(self._codes)}
        self._voltages = [n for code, n in last.items() if code in VOLTAGES]
        self._has_clock = pairs[1] is None
        self._columns: dict[Scales | None, _Columns] = {}

    def read(self, payload: bytes) -> Message | None:
        values = self._layout.values(payload)
        if values is None:
            return None
        header = dict(self._header)
        if self._has_clock:
            clock = datetimes.read(values[1])
            header["meter_time"], header["weekday"], header["clock_status"] = clock
        objects = list(self._objects)
        for spot, place, id_ in self._clocks:
            octets = values[spot]
            objects[place] = Object(id_, octets.hex(), datetimes.read(octets).local)
        for place, obj in zip(self._places, self._measured(self._numbers(values)), strict=False):
            objects[place] = obj
        return Message(header, tuple(objects))

    def _measured(self, numbers: tuple[int, ...]) -> list[Object]:
        """The objects of the numbers, scaled."""
        scales = self._scales(numbers)
        columns = self._columns.get(scales) or self._worth(scales)
        values = list(map(Decimal, numbers))
        for number, exponent in columns.exponents:
            values[number] = values[number].scaleb(exponent, EXACT)
        rows = zip(self._ids, numbers, values, columns.units, repeat(False))
        objects = list(map(_new, repeat(Object), rows))
        for number in columns.unknown:
            objects[number] = Object(self._ids[number], numbers[number], None)
        return objects

    def _scales(self, numbers: tuple[int, ...]) -> Scales | None:
        if self._maker != "kamstrup":
            return None
        if self._current.is_settled(self._meter_type):
            return self._current.settled(*[numbers[place] for place in self._voltages])
        counts = dict(zip(self._codes, numbers, strict=True))
        return self._current.of(counts, self._meter_type)

    def _worth(self, scales: Scales | None) -> _Columns:
        measures = [
            lists.measure(pair, self._maker, self._energy_scale, scales) for pair in self._pairs
        ]
        columns = self._columns[scales] = _Columns(
            tuple((n, m.exponent) for n, m in enumerate(measures) if m and m.exponent),
            tuple(measure.unit if measure else None for measure in measures),
            tuple(number for number, measure in enumerate(measures) if measure is None),
        )
        return columns
