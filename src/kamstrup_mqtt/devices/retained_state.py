"""Reads a state that this program published once and the broker retained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation

from kamstrup_mqtt.core.clock import parse_rfc3339
from kamstrup_mqtt.core.model import Scalar
from kamstrup_mqtt.core.text import MAX_LENGTH, sanitize
from kamstrup_mqtt.storage.state_schema import LastReading, check_magnitude


def parse_state(payload: str, known: Mapping[str, Scalar]) -> LastReading | None:
    """Return the retained values of the keys in `known`, as numbers where those are numbers.

    None if this program cannot have published the payload.
    """
    try:
        state = json.loads(payload, parse_float=Decimal)
        time = parse_rfc3339(state["time"])
        values = {key: _like(known[key], state[key]) for key in known if key in state}
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None
    return LastReading(time, values)


def is_newer(one: datetime | None, other: datetime | None) -> bool:
    """Return whether `one` is known to be later than `other`."""
    return one is not None and (other is None or one > other)


def _like(known: Scalar, retained: object) -> Scalar:
    """Return a retained value with the type of the known one.

    Raises ValueError for what this program cannot have published.
    """
    if retained is None:
        return None
    if isinstance(retained, bool) or not isinstance(retained, int | str | Decimal):
        raise ValueError(f"{retained!r} is no value")
    if isinstance(retained, str) and not isinstance(known, Decimal):
        retained.encode()  # raises for half a character, which cannot be published
        if sanitize(retained) != retained:
            raise ValueError(f"{retained[:MAX_LENGTH]!r} is no published text")
        return retained
    try:
        return check_magnitude(Decimal(retained))
    except InvalidOperation as error:
        raise ValueError(f"{retained!r} is no number") from error
