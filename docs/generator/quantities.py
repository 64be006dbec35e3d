"""The page docs/quantities.md, which is committed because it is a public contract."""

from __future__ import annotations

from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.quantities import QUANTITIES

HEAD = """\
# Keys of readings: the public contract

The same quantity has the same key on every meter. Keys appear in the state JSON, in the unique ids
of Home Assistant, and in the output of `decode --json` and `read --json`. They change only with a
major version. If the table gives a unit, a value in another unit of the same family is converted
exactly, by a power of ten. A KMP register without a key is published as `register_<number>`, an
OBIS object without one as `obis_<code>`, both as sent. *Disabled* means that Home Assistant creates
the entity, but does not enable it.

| key | name | unit | device class | state class | |
|---|---|---|---|---|---|
"""


def row(quantity: Quantity) -> str:
    """One line of the table."""
    unit = "as sent" if quantity.as_sent else quantity.unit or "text" * quantity.is_text
    marks = [quantity.category or "", "" if quantity.enabled else "disabled"]
    return (
        f"| `{quantity.key}` | {quantity.name} | {unit} | {quantity.device_class or ''}"
        f" | {quantity.state_class or ''} | {', '.join(filter(None, marks))} |"
    )


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(row(quantity) for quantity in QUANTITIES.values()) + "\n"
