"""The date-time of DLMS: twelve bytes.

    year(2) month day weekday hour minute second hundredths deviation(2) status
    weekday     1 = Monday .. 7 = Sunday; some meters send a wrong one
    hundredths  FF = unspecified: Kamstrup always
    deviation   minutes, signed; 8000 = unspecified: Kamstrup always, so the zone is unknown
    status      bit 0 invalid, 1 doubtful, 2 other clock base, 3 invalid status, 7 daylight saving;
                FF = no status

Source: DLMS UA Blue Book, 4.1.6.1; Kamstrup HAN-NVE interface description rev 3.1.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.protocols.base import Message

SIZE: Final = 12
_FIELDS = struct.Struct(">HBBBBBBBHB")
_INVALID = 0x01
_NO_STATUS = 0xFF
_NEVER_SET = 2000
"""A clock that was never set counts from 2000-01-01; no HAN port existed before 2015."""


class MeterClock(NamedTuple):
    """A meter's date-time.

    local            ISO 8601 without zone; None if the clock is not set or the bytes are no time
    weekday, status  as sent
    """

    local: str | None
    weekday: int
    status: int


def read(octets: bytes) -> MeterClock:
    """Decode the twelve bytes of a date-time."""
    year, month, day, weekday, hour, minute, second, _, _, status = _FIELDS.unpack(octets)
    local: str | None = None
    valid = status == _NO_STATUS or not status & _INVALID
    if valid and year != _NEVER_SET:
        try:
            # the frame does not say which zone
            moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
        except ValueError:
            local = None  # unspecified fields are FF
        else:
            local = moment.isoformat()
    return MeterClock(local, weekday, status)


def write(moment: datetime) -> bytes:
    """Encode a date-time as a Kamstrup meter sends it: without hundredths and deviation."""
    date = (moment.month, moment.day, moment.isoweekday())
    time = (moment.hour, moment.minute, moment.second, 0xFF)
    return moment.year.to_bytes(2, "big") + bytes((*date, *time, 0x80, 0x00, 0x00))


def meter_time(message: Message, clocks: Collection[SourceId]) -> datetime | None:
    """Return the meter's clock in a list, from the header or else from an object in `clocks`."""
    values = (obj.value for obj in message.objects if obj.id in clocks)
    times = map(parse_local, (message.header.get("meter_time"), *values))
    return next((time for time in times if time is not None), None)


def parse_local(value: object) -> datetime | None:
    """Return a time without zone. None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time is None or time.tzinfo is None else None
