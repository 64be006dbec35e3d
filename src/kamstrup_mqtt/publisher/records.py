"""One reading as a record of the history (docs/topics.md, History)."""

from __future__ import annotations

from datetime import datetime

from kamstrup_mqtt import jsontext
from kamstrup_mqtt.clock import rfc3339
from kamstrup_mqtt.model import Reading
from kamstrup_mqtt.picture import Picture

PUSHED_KINDS = ("live", "hourly")


class Records:
    """Numbers the records: `seq` ascends by one for each meter from 1 in each run (`boot`)."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._seq: dict[str, int] = {}

    def of(self, reading: Reading, picture: Picture) -> str:
        """The record of a reading that the picture has taken: with the values as published."""
        seq = self._seq[reading.meter] = self._seq.get(reading.meter, 0) + 1
        kind = reading.group if reading.group in PUSHED_KINDS else "values"
        stored = picture.memory.readings[reading.group]
        return jsontext.dumps(
            {
                "meter": reading.meter,
                "serial": picture.serial_text,
                "boot": self._boot,
                "seq": seq,
                "kind": kind,
                "time": rfc3339(reading.time),
                "at": rfc3339(reading.belongs or belongs_to(kind, reading.time)),
                "readings": stored.values,
            }
        )


def belongs_to(kind: str, received: datetime | None) -> datetime | None:
    """The moment that values belong to whose meter has not told it; None where it is not known.

    The registers of an hourly list are those of the full hour, and the list comes within a minute
    after it; all other values are those of the moment.
    """
    if kind != "hourly" or received is None:
        return received
    if received.minute != 0:
        return None
    return received.replace(minute=0, second=0, microsecond=0)
