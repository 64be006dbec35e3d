"""Templates for HAN lists: numbers and clocks change, everything else is constant.

header | LLC | 0F | invoke id | date-time | tag, code, tag | number | tag, code, tag | ...
constant ........ |           |           | constant ..... |        | constant ..... |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple

from kamstrup_mqtt.core.model import Scalar
from kamstrup_mqtt.core.units import EXACT, power
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.layout import MIN_VALUES, BinaryLayout, ObjectTemplate
from kamstrup_mqtt.protocols.han import apdu, axdr, datetimes, obis, push_lists
from kamstrup_mqtt.protocols.han.framing import header_end
from kamstrup_mqtt.protocols.han.push_lists import Pair, PushList
from kamstrup_mqtt.protocols.han.scales import VOLTAGES, CurrentScale, Scales

_FORMATS: Final = {axdr.INT32: "i", axdr.UINT32: "I", axdr.INT16: "h", axdr.UINT16: "H"}
"""Types of the numbers that change. Scalers and units have other types."""
_CLOCK: Final = f"{datetimes.SIZE}s"
_INVOKE_ID: Final = "4s"


def make_template(
    frame: Frame, message: Message, energy_scale: int | None, current: CurrentScale
) -> ListTemplate | None:
    """Return a template for a list, None if it is encrypted or has too few numbers.

    message       the result of the reference parser
    energy_scale  Wh per count, None if unknown
    current       the scale of the meter's currents, shared with the reference parser
    """
    end = header_end(frame.payload, 0)
    assert end is not None, "the framer verified the header"
    apdu_ = apdu.message(frame.payload[end + 2 :])
    if apdu.is_encrypted(apdu_):
        return None
    notification = apdu.read(apdu_)
    push_list = push_lists.split(notification.body)
    start = len(frame.payload) - len(apdu_)
    fields = list(_fields(start, apdu_, notification, push_list))
    if sum(field.is_number for field in fields) < MIN_VALUES:
        return None
    return ListTemplate(frame.payload, fields, push_list, message, energy_scale, current)


class _Field(NamedTuple):
    """Bytes of a list that change.

    position  of the first byte in the payload
    form      their `struct` format
    pair      whose value they are, and `place` its index in the list; None for the header
    """

    position: int
    form: str
    pair: Pair | None = None
    place: int = 0

    @property
    def is_number(self) -> bool:
        return self.pair is not None and isinstance(self.pair.value.value, int)


def _fields(
    start: int, message: bytes, notification: apdu.Notification, push_list: PushList
) -> Iterator[_Field]:
    """Yield the fields of a list in the order sent.

    The first is the invoke id, the second the clock of the header if there is one.

    start  position of the message in the payload
    """
    body = apdu.body_at(message)
    yield _Field(start + 1, _INVOKE_ID)
    if notification.clock is not None:
        yield _Field(start + body - datetimes.SIZE, _CLOCK)
    pairs = {id(pair.value): (index, pair) for index, pair in enumerate(push_list.pairs)}
    for element, position in axdr.leaf_positions(notification.body, message, body):
        index, pair = pairs.get(id(element), (0, None))
        if pair is not None and (form := _form(pair)) is not None:
            yield _Field(start + position, form, pair, index)


def _form(pair: Pair) -> str | None:
    """Return the `struct` format of a value that changes. None for a constant."""
    value = pair.value.value
    if isinstance(value, bytes) and obis.KEYS.get(pair.id) == "meter_time":
        return _CLOCK if len(value) == datetimes.SIZE else None
    return _FORMATS.get(pair.value.tag) if isinstance(value, int) else None


class _Scaling:
    """The values of the numbers of one layout.

    pairs     the numbers, in the order of the list
    unscaled  indices of those whose scale is unknown: they have no value
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        unscaled: Sequence[int],
        push_list: PushList,
        energy_scale: int | None,
        current: CurrentScale,
    ) -> None:
        self._pairs = pairs
        self._unscaled = unscaled
        self._is_kamstrup = push_list.maker == "kamstrup"
        self._maker = push_list.maker
        self._meter_type = push_lists.meter_type(push_list)
        self._energy_scale = energy_scale
        self._current = current
        self._codes = [push_lists.short_code(pair.id) for pair in pairs]
        last = {code: index for index, code in enumerate(self._codes)}
        self._voltages = [index for code, index in last.items() if code in VOLTAGES]
        self._steps: dict[Scales | None, list[Decimal]] = {}

    def values(self, counts: tuple[int, ...]) -> list[Scalar]:
        """Return the value of each count."""
        scales = self._scales(counts)
        steps = self._steps.get(scales)
        if steps is None:
            steps = self._steps[scales] = self._steps_of(scales)
        values: list[Scalar] = [*map(EXACT.multiply, counts, steps)]
        for index in self._unscaled:
            values[index] = None
        return values

    def _scales(self, counts: tuple[int, ...]) -> Scales | None:
        if not self._is_kamstrup:
            return None
        if self._current.is_final(self._meter_type):
            return self._current.final_scales([counts[index] for index in self._voltages])
        return self._current.scales_for(
            dict(zip(self._codes, counts, strict=True)), self._meter_type
        )

    def _steps_of(self, scales: Scales | None) -> list[Decimal]:
        """Return the value of a count of 1, for each number."""
        measures = (
            push_lists.measure(pair.id, pair.measure, self._maker, self._energy_scale, scales)
            for pair in self._pairs
        )
        return [power(1, measure.exponent if measure else 0) for measure in measures]


class ListTemplate:
    """Lists of one layout; see `MessageTemplate`."""

    def __init__(
        self,
        payload: bytes,
        fields: Sequence[_Field],
        push_list: PushList,
        learned: Message,
        energy_scale: int | None,
        current: CurrentScale,
    ) -> None:
        self._layout = BinaryLayout(payload, [(field.position, field.form) for field in fields])
        self._header = learned.header
        self._has_clock = fields[1].pair is None
        numbers = [n for n, field in enumerate(fields) if field.is_number]
        self._clocks = [n for n, field in enumerate(fields) if field.pair and not field.is_number]
        self._select_counts: Callable[[tuple[Any, ...]], tuple[int, ...]] = itemgetter(*numbers)
        changing = [fields[n].place for n in (*numbers, *self._clocks)]
        self._objects = ObjectTemplate(learned.objects, changing)
        unscaled = [n for n in range(len(numbers)) if learned.objects[changing[n]].value is None]
        pairs = [field.pair for field in fields if field.pair and field.is_number]
        self._scaling = _Scaling(pairs, unscaled, push_list, energy_scale, current)

    def read(self, frame: Frame) -> Message | None:
        """Return the message in a frame. None if it has another layout."""
        fields = self._layout.values(frame.payload)
        if fields is None:
            return None
        header, sent, local = self._header, None, None
        if self._has_clock:
            sent = fields[1]
            local, weekday, status = datetimes.read(sent)
            header = {**header, "meter_time": local, "weekday": weekday, "clock_status": status}
        counts = self._select_counts(fields)
        values = self._scaling.values(counts)
        if not self._clocks:
            return tuple.__new__(Message, (header, self._objects.build(counts, values)))
        clocks = [fields[n] for n in self._clocks]
        raws = (*counts, *(clock.hex() for clock in clocks))
        # the hourly list has the clock of its header once more
        values += [local if c == sent else datetimes.read(c).local for c in clocks]
        return tuple.__new__(Message, (header, self._objects.build(raws, values)))
