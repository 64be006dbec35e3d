"""The contents of an HDLC frame from a HAN port: LLC header and DLMS APDU.

    E6 E7 00 | 0F | long-invoke-id-and-priority(4) | date-time | body
    E6 E7 00 | DB 08 <system title(8)> ...                        encrypted (`cipher`)

The date-time has three forms: `0C` + 12 bytes (a length without a tag, as in the standard),
`09 0C` + 12 bytes (with a tag: Kamstrup's firmware of 2017, Kaifa) and `00` (none: Aidon).
Source: Kamstrup HAN-NVE interface description rev 3.1; DLMS UA Green Book, data-notification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import Json, LinkState
from kamstrup_mqtt.protocols.han import axdr, datetimes
from kamstrup_mqtt.protocols.han.axdr import AxdrError, Element
from kamstrup_mqtt.protocols.han.cipher import GENERAL_GLO_CIPHERING
from kamstrup_mqtt.protocols.han.datetimes import MeterClock

LLC: Final = b"\xe6\xe7\x00"
DATA_NOTIFICATION: Final = 0x0F
_INVOKE_ID = bytes(4)
_CLOCK_AT = 5

DateHeader: TypeAlias = Literal["untagged", "tagged", "absent"]


@dataclass(frozen=True, slots=True)
class Notification:
    """A data-notification.

    clock  when it was sent, on the meter's clock; None if it has no date header
    body   the list
    """

    date_header: DateHeader
    clock: MeterClock | None
    body: Element


def message(information: bytes) -> bytes:
    """Return the APDU in an information field. Raises MeterError if there is none."""
    if not information.startswith(LLC):
        raise MeterError(
            LinkState.BYTES_NO_FRAMES,
            f"no DLMS in this frame: it begins {information[:3].hex(' ').upper() or 'empty'},"
            " not E6 E7 00",
        )
    return information[len(LLC) :]


def is_encrypted(apdu: bytes) -> bool:
    """Whether the message must be decrypted before it is read."""
    return apdu.startswith(bytes([GENERAL_GLO_CIPHERING]))


def read(apdu: bytes) -> Notification:
    """Decode an unencrypted message. Raises MeterError if it is no data-notification."""
    tag = apdu[0] if apdu else None
    if tag != DATA_NOTIFICATION:
        found = "nothing" if tag is None else f"{tag:02X}"
        raise MeterError(
            LinkState.BYTES_NO_FRAMES, f"not a list: the message begins with {found}, not 0F"
        )
    try:
        return _read_notification(apdu)
    except AxdrError as error:
        raise MeterError(
            LinkState.BYTES_NO_FRAMES, f"the list cannot be read: {error} of the message"
        ) from error


def _read_notification(apdu: bytes) -> Notification:
    date_header, octets, position = _read_date(apdu)
    body, end = axdr.read(apdu, position)
    if end != len(apdu):
        raise AxdrError(f"{len(apdu) - end} bytes too many at byte {end}")
    return Notification(date_header, datetimes.read(octets) if octets else None, body)


def body_at(apdu: bytes) -> int:
    """Return the position of the list in a data-notification. Raises AxdrError."""
    return _read_date(apdu)[2]


def header(clock: MeterClock | None) -> dict[str, Json]:
    """Return the header fields for the clock of a notification."""
    local, weekday, status = clock if clock is not None else (None, None, None)
    return {"meter_time": local, "weekday": weekday, "clock_status": status}


def _read_date(apdu: bytes) -> tuple[DateHeader, bytes, int]:
    form: DateHeader
    if apdu.startswith(b"\x09\x0c", _CLOCK_AT):
        form, start = "tagged", _CLOCK_AT + 2
    elif apdu.startswith(b"\x0c", _CLOCK_AT):
        form, start = "untagged", _CLOCK_AT + 1
    elif apdu.startswith(b"\x00", _CLOCK_AT):
        return "absent", b"", _CLOCK_AT + 1
    else:
        raise AxdrError(f"no date header at byte {_CLOCK_AT}")
    end = start + datetimes.SIZE
    if len(apdu) < end:
        raise AxdrError(f"the date header at byte {_CLOCK_AT} is cut")
    return form, apdu[start:end], end


def write(
    clock: bytes,
    body: Element,
    date_header: DateHeader = "untagged",
    invoke_id: bytes = _INVOKE_ID,
) -> bytes:
    """Encode a data-notification. `clock` is left out if the date header is absent."""
    date = {"untagged": b"\x0c" + clock, "tagged": b"\x09\x0c" + clock, "absent": b"\x00"}
    return bytes([DATA_NOTIFICATION]) + invoke_id + date[date_header] + axdr.write(body)
