"""Lists of a layout that was met before, read without walking them.

Learned from a list that `lists` has read: its numbers and clocks may change, all else - header,
codes, texts, scalers - is constant. Whatever differs is read the plain way, and learned anew. What
comes out is the same (tests/protocols/han/test_known.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from kamstrup_mqtt.core.model import Json, Scalar
from kamstrup_mqtt.core.units import EXACT, power
from kamstrup_mqtt.protocols.base import Message
from kamstrup_mqtt.protocols.fast_path.layout import (
    MAX_SHARED,
    MessageTemplate,
    ObjectTemplate,
    TemplateCache,
    make_message,
)
from kamstrup_mqtt.protocols.han import apdu, axdr, datetimes, obis, push_lists
from kamstrup_mqtt.protocols.han.apdu import Notification
from kamstrup_mqtt.protocols.han.obis import Measure
from kamstrup_mqtt.protocols.han.push_lists import Maker, Pair, Walked
from kamstrup_mqtt.protocols.han.scales import VOLTAGES, CurrentScale, Scales

_FORMATS: Final = {axdr.INT32: "i", axdr.UINT32: "I", axdr.INT16: "h", axdr.UINT16: "H"}
"""Numbers that change. Scalers and units are of other types, and so constant."""
_CLOCK: Final = f"{datetimes.SIZE}s"
_INVOKE_ID: Final = "4s"


class HanListCache:
    """The layouts of one meter. `current` is the codec's own."""

    def __init__(self, energy_scale: int | None, current: CurrentScale) -> None:
        self._energy_scale = energy_scale
        self._current = current
        self._by_size: TemplateCache[_ListTemplate] = TemplateCache()

    def decode(self, payload: bytes) -> Message | None:
        """The list in a frame's payload; None when its layout is not known."""
        known = self._by_size.get(len(payload))
        return known.decode(payload) if known is not None else None

    def learn(
        self,
        payload: bytes,
        message: bytes,
        notification: Notification,
        walked: Walked,
        decoded: Message,
    ) -> None:
        """Learn from a list in clear that was read the plain way: `message` is the APDU, `read`
        what came out of it."""
        spots = _fields(len(payload) - len(message), message, notification, walked)
        if sum(isinstance(spot.pair.value.value, int) for spot in spots if spot.pair) < 2:
            return  # not worth while
        known = _ListTemplate(
            MessageTemplate(payload, [(spot.at, spot.form) for spot in spots]),
            [spot.pair for spot in spots],
            walked,
            decoded,
            self._energy_scale,
            self._current,
        )
        self._by_size.store(len(payload), known)


class _Field(NamedTuple):
    """What changes from list to list: of `pair`, or of the header (None)."""

    at: int
    form: str
    pair: Pair | None


def _fields(start: int, message: bytes, notification: Notification, walked: Walked) -> list[_Field]:
    """In the order sent; `start`: where the message begins. The first is the invoke id, the
    second the clock of the header if there is one."""
    body = apdu.body_at(message)
    spots = [_Field(start + 1, _INVOKE_ID, None)]
    if notification.clock is not None:
        spots.append(_Field(start + body - datetimes.SIZE, _CLOCK, None))
    pairs = {id(pair.value): pair for pair in walked.pairs}
    for element, at in axdr.places(notification.body, message, body):
        pair = pairs.get(id(element))
        if pair is not None and (form := _form(pair)) is not None:
            spots.append(_Field(start + at, form, pair))
    return spots


def _form(pair: Pair) -> str | None:
    value = pair.value.value
    if isinstance(value, bytes) and obis.KEYS.get(pair.id) == "meter_time":
        return _CLOCK if len(value) == datetimes.SIZE else None
    return _FORMATS.get(pair.value.tag) if isinstance(value, int) else None


class _CountField(NamedTuple):
    """A number of a list: its spot, code, and the measure that is sent with it."""

    spot: int
    code: str
    measure: Measure | None


class _Counts:
    """The numbers of one layout: what each counts. Of all meters that send such lists."""

    def __init__(
        self,
        counted: tuple[_CountField, ...],
        unknown: tuple[int, ...],
        maker: Maker | None,
        energy_scale: int | None,
    ) -> None:
        self.extract: Callable[[tuple[Any, ...]], tuple[int, ...]]
        self.extract = itemgetter(*(number.spot for number in counted))
        self.codes = tuple(push_lists.short_code(number.code) for number in counted)
        last = {code: n for n, code in enumerate(self.codes)}
        self.voltages = tuple(n for code, n in last.items() if code in VOLTAGES)
        self.maker = maker
        self._counted = counted
        self._unknown = unknown
        self._energy_scale = energy_scale
        self._steps: dict[Scales | None, tuple[Decimal, ...]] = {}

    def scale(self, numbers: tuple[int, ...], scales: Scales | None) -> list[Scalar]:
        """What the numbers mean."""
        values: list[Scalar] = [
            *map(EXACT.multiply, numbers, self._steps.get(scales) or self._learn_steps(scales))
        ]
        for number in self._unknown:
            values[number] = None
        return values

    def _learn_steps(self, scales: Scales | None) -> tuple[Decimal, ...]:
        """What a count of 1 means, of each number."""
        measures = [
            push_lists.measure(number.code, number.measure, self.maker, self._energy_scale, scales)
            for number in self._counted
        ]
        steps = tuple(power(1, measure.exponent if measure else 0) for measure in measures)
        self._steps[scales] = steps
        return steps


_shared_counts = lru_cache(maxsize=MAX_SHARED)(_Counts)


@lru_cache(maxsize=MAX_SHARED)
def _shared_header(items: tuple[tuple[str, Json], ...]) -> Mapping[str, Json]:
    """A header: those of many meters are the same."""
    return dict(items)


class _ListTemplate:
    """One layout. `pairs`: of each spot, None for those of the header."""

    __slots__ = (
        *("_clocks", "_current", "_has_clock", "_header", "_layout"),
        *("_meter_type", "_numbers", "_rows", "_scale_is_final"),
    )

    def __init__(
        self,
        layout: MessageTemplate,
        pairs: list[Pair | None],
        walked: Walked,
        decoded: Message,
        energy_scale: int | None,
        current: CurrentScale,
    ) -> None:
        self._layout = layout
        self._has_clock = pairs[1] is None
        header = {**decoded.header, **apdu.header(None)} if self._has_clock else decoded.header
        self._header = _shared_header(tuple(header.items()))
        self._current = current
        self._meter_type = push_lists.meter_type(walked)
        place = {id(pair): number for number, pair in enumerate(walked.pairs)}
        changing = [(spot, pair, place[id(pair)]) for spot, pair in enumerate(pairs) if pair]
        numbers = [(s, p, n) for s, p, n in changing if isinstance(p.value.value, int)]
        clocks = [(s, p, n) for s, p, n in changing if isinstance(p.value.value, bytes)]
        self._rows = ObjectTemplate(decoded.objects, [n for _, _, n in (*numbers, *clocks)])
        self._clocks = tuple(spot for spot, _, _ in clocks)
        self._numbers = _shared_counts(
            tuple(_CountField(spot, pair.id, pair.measure) for spot, pair, _ in numbers),
            tuple(i for i, (_, _, n) in enumerate(numbers) if decoded.objects[n].value is None),
            walked.maker,
            energy_scale,
        )
        self._scale_is_final = False  # no list can change the scale of the currents any more

    def decode(self, payload: bytes) -> Message | None:
        found = self._layout.values(payload)
        if found is None:
            return None
        header = self._header
        if self._has_clock:
            local, weekday, status = datetimes.read(found[1])
            header = {**header, "meter_time": local, "weekday": weekday, "clock_status": status}
        numbers = self._numbers.extract(found)
        values = self._numbers.scale(numbers, self._scales(numbers))
        if not self._clocks:
            return make_message((header, self._rows.objects(numbers, values)))
        octets = [found[spot] for spot in self._clocks]
        raws = (*numbers, *(clock.hex() for clock in octets))
        values += [datetimes.read(clock).local for clock in octets]
        return make_message((header, self._rows.objects(raws, values)))

    def _scales(self, numbers: tuple[int, ...]) -> Scales | None:
        if self._numbers.maker != "kamstrup":
            return None
        if self._scale_is_final:
            return self._current.final_scales([numbers[place] for place in self._numbers.voltages])
        counts = dict(zip(self._numbers.codes, numbers, strict=True))
        scales = self._current.scales_for(counts, self._meter_type)
        self._scale_is_final = self._current.is_final(self._meter_type)
        return scales
