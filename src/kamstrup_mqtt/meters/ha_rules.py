"""What Home Assistant takes as a value: numbers where it expects them, dates, printable text."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal

from kamstrup_mqtt.meters.model import Quantity

MAX_TEXT = 255
"""Home Assistant's longest state."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def validate_state(quantity: Quantity, value: Decimal | str, unit: str | None) -> None:
    """Raises ValueError when Home Assistant would refuse the value: text where its unit or class
    promise a number, a date that is none, a time without zone."""
    if isinstance(value, Decimal):
        return
    if quantity.device_class == "date":
        date.fromisoformat(value)
    elif quantity.device_class == "timestamp":
        if datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(f"{value!r} is a time without zone")
    elif expects_number(quantity, unit):
        raise ValueError(f"{value!r} is not a number")


def expects_number(quantity: Quantity, unit: str | None) -> bool:
    """Whether Home Assistant expects a number: by unit, state class, precision or class."""
    return not quantity.text and bool(
        unit
        or quantity.state_class
        or quantity.precision is not None
        or quantity.device_class not in (None, "date", "timestamp", "enum")
    )


def sanitize(text: str) -> str:
    r"""Text from a meter, fit for logs and states: control characters escaped as \x00, and not
    longer than Home Assistant takes."""
    if text.isprintable():
        return text[:MAX_TEXT]
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)[:MAX_TEXT]
