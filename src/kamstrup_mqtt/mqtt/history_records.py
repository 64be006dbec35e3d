"""One reading as a record of the history (docs/topics.md, History)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.model import LoggedReading, Reading, Scalar
from kamstrup_mqtt.devices.device import Device

PUSHED_KINDS = ("live", "hourly")


class Records:
    """Numbers the records: `seq` ascends by one for each meter from 1 in each run (`boot`)."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._seq: dict[str, int] = {}

    def of(self, reading: Reading, picture: Device) -> str:
        """The record of a reading that the picture has taken: with the values as published."""
        kind = reading.group if reading.group in PUSHED_KINDS else "values"
        at = reading.measured_at or belongs_to(kind, reading.time)
        values = picture.meter_state.readings[reading.group].values
        return self._record(picture, kind, reading.time, at, values)

    def logged(self, record: LoggedReading, picture: Device) -> str:
        """The record of one in the meter's own log."""
        return self._record(
            picture, "backfill", record.time, record.measured_at, picture.logged_values(record)
        )

    def _record(
        self,
        picture: Device,
        kind: str,
        time: datetime | None,
        at: datetime | None,
        values: Mapping[str, Scalar],
    ) -> str:
        meter = picture.config.id
        seq = self._seq[meter] = self._seq.get(meter, 0) + 1
        return decimal_json.dumps(
            {
                "meter": meter,
                "serial": picture.serial_text,
                "boot": self._boot,
                "seq": seq,
                "kind": kind,
                "time": rfc3339(time),
                "at": rfc3339(at),
                "readings": dict(values),
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
