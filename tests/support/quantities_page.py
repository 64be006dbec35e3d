"""Writes docs/quantities.md: `python -m tests.support.quantities_page > docs/quantities.md`."""

from __future__ import annotations

from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.quantities import QUANTITIES

HEAD = """\
# Keys of readings: the public contract

The same thing has the same key on every meter. Keys appear in the state JSON, in Home Assistant's
unique ids, and in `decode --json` and `read --json`; they change only with a major version. Where
a unit is given here, a value that comes in another unit of the same family is converted by a power
of ten, exactly. A KMP register without a key is `register_<number>`, an OBIS object without one
`obis_<code>`, both as sent.

| key | name | unit | device class | state class | |
|---|---|---|---|---|---|
"""


def row(quantity: Quantity) -> str:
    """One line of the table."""
    unit = "as sent" if quantity.as_sent else quantity.unit or "text" * quantity.text
    marks = [quantity.category or "", "" if quantity.enabled else "switched off"]
    return (
        f"| `{quantity.key}` | {quantity.name} | {unit} | {quantity.device_class or ''}"
        f" | {quantity.state_class or ''} | {', '.join(filter(None, marks))} |"
    )


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(row(quantity) for quantity in QUANTITIES.values()) + "\n"


if __name__ == "__main__":
    print(page(), end="")
