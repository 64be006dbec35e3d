"""What was told before this process: its live counters do not fall back behind it.

A live counter is made here, so no meter knows its last value; and memory is written every 15
minutes at most. After an end that was not clean (kill -9, a power cut) the newest value that was
published may be higher than the remembered one. What is certain then is what the broker retained:
it is taken over where it is newer than memory, before anything is published. Where the broker
forgot it too, a live counter has no value until its meter has told the next register, and is never
below what memory had.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation

from kamstrup_mqtt.core.clock import parse_rfc3339
from kamstrup_mqtt.core.model import Scalar
from kamstrup_mqtt.core.text import MAX_LENGTH, sanitize
from kamstrup_mqtt.storage.state_schema import LastReading, check_magnitude


class LiveCounters:
    """The live counters of one meter: what each of them told last.

    `keys` are theirs; `readings` are those of memory; `exact` False: they may be older than what
    was published, so that the counters in them have no value.
    """

    def __init__(
        self, keys: frozenset[str], readings: Mapping[str, LastReading], *, exact: bool
    ) -> None:
        self._keys = keys
        self._least: dict[str, Decimal] = {}
        self._standing: dict[str, str] = {}
        """Key -> group, of those that show their last value until a new one comes."""
        for group, reading in readings.items():
            for key, value in reading.values.items():
                if isinstance(value, Decimal) and key in keys:
                    self._stand(group, key, value)
                    if not exact:
                        del self._standing[key]
                        reading.values[key] = None

    def believable(
        self, values: Mapping[str, Scalar], most_risen: Mapping[str, Decimal]
    ) -> dict[str, Scalar]:
        """`values` without the live ones that are more above memory's than they can have risen:
        what is taken over is never given up again."""
        return {
            key: value
            for key, value in values.items()
            if key not in self._least
            or key not in most_risen
            or not isinstance(value, Decimal)
            or value - self._least[key] <= most_risen[key]
        }

    def recall(self, group: str, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The broker has these values of a group: what the live ones among them are now."""
        return {
            key: self._stand(group, key, value)
            for key, value in values.items()
            if isinstance(value, Decimal) and key in self._keys
        }

    def take(self, group: str, values: dict[str, Scalar]) -> None:
        """A reading of a group: let no live counter in it step back."""
        for key, home in self._standing.items():
            if home == group and values.get(key) is None:
                values[key] = self._least[key]
        for key in self._keys & values.keys():
            value = values[key]
            if isinstance(value, Decimal):
                least = self._least.get(key, value)
                if value > least:
                    self._standing.pop(key, None)
                values[key] = self._least[key] = max(value, least)

    def forget(self, keys: Iterable[str]) -> None:
        """These begin anew, by the user's word."""
        for key in keys:
            self._least.pop(key, None)
            self._standing.pop(key, None)

    def _stand(self, group: str, key: str, value: Decimal) -> Decimal:
        self._standing[key] = group
        self._least[key] = max(value, self._least.get(key, value))
        return self._least[key]


def parse_state(payload: str, known: Mapping[str, Scalar]) -> LastReading | None:
    """A state that we published once, as the broker retained it: its values of the keys in
    `known`, numbers where those are numbers. None for everything else."""
    try:
        state = json.loads(payload, parse_float=Decimal)
        time = parse_rfc3339(state["time"])
        values = {key: _like(known[key], state[key]) for key in known if key in state}
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None
    return LastReading(time, values)


def is_newer(one: datetime | None, other: datetime | None) -> bool:
    """Whether `one` is known to be the later."""
    return one is not None and (other is None or one > other)


def _like(known: Scalar, told: object) -> Scalar:
    """A value of a state as memory holds it. Raises ValueError for what we cannot have sent."""
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int | str | Decimal):
        raise ValueError(f"{told!r} is no value")
    if isinstance(told, str) and not isinstance(known, Decimal):
        told.encode()  # raises for half a character, which could not be published
        if sanitize(told) != told:
            raise ValueError(f"{told[:MAX_LENGTH]!r} is no text of ours")
        return told
    try:
        return check_magnitude(Decimal(told))
    except InvalidOperation as error:
        raise ValueError(f"{told!r} is no number") from error
