"""What a HAN port says: frames into lists, and values into frames (for emulated meters)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from kamstrup_mqtt.errors import MeterError
from kamstrup_mqtt.model import Json, LinkState
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.han import apdu, axdr, datetimes, lists, obis
from kamstrup_mqtt.protocols.han.apdu import DateHeader, Notification
from kamstrup_mqtt.protocols.han.axdr import Element
from kamstrup_mqtt.protocols.han.framing import HdlcFramer, header_end, wrap

CLIENT = b"\x2b"
SERVER = b"\x21"
"""The addresses of a Kamstrup meter's plain lists: client 21, server 16."""
UNNUMBERED_INFORMATION = 0x13


class HanCodec:
    """Reads the lists that one meter pushes.

    `energy_scale`: Wh per count of the energies, 10 or 1. The lists do not tell it.
    """

    def __init__(self, *, energy_scale: int = 10, learned: Mapping[str, str] | None = None) -> None:
        if energy_scale not in (10, 1):
            raise ValueError(f"energy_scale is 10 or 1, not {energy_scale}")
        self.energy_scale = energy_scale
        self.learned = dict(learned or {})

    def framer(self) -> HdlcFramer:
        """A framer for one opened link."""
        return HdlcFramer()

    def decode(self, frame: Frame) -> Message:
        """The list in a frame. Raises MeterError for what is no list, or cannot be read."""
        if frame.kind == "segment":
            raise MeterError(
                LinkState.BYTES_NO_FRAMES,
                "the list comes in several frames (segmentation), which is not supported yet;"
                " please report it",
            )
        addresses, information = _split(frame.payload)
        notification = apdu.read(information)
        pushed = lists.read(notification.body, self.energy_scale)
        header: dict[str, Json] = {
            "direction": frame.direction,
            **addresses,
            "length": len(frame.payload) + 2,
            "list_id": pushed.list_id,
            **_clock(notification),
            "elements": pushed.elements,
            "date_header": notification.date_header,
        }
        return Message(header, pushed.objects)


def _split(payload: bytes) -> tuple[dict[str, Json], bytes]:
    """The address fields in hex, and the information field."""
    end = header_end(payload, 0)
    assert end is not None, "the framer verified the header"
    first = next(at for at in range(2, end) if payload[at] & 1) + 1
    fields: dict[str, Json] = {
        "destination": payload[2:first].hex().upper(),
        "source": payload[first : end - 1].hex().upper(),
        "control": f"{payload[end - 1]:02X}",
    }
    return fields, payload[end + 2 :]


def _clock(notification: Notification) -> dict[str, Json]:
    clock = notification.clock
    return {
        "meter_time": clock.local if clock else None,
        "weekday": clock.weekday if clock else None,
        "clock_status": clock.status if clock else None,
    }


def encode(
    list_id: bytes,
    values: Iterable[tuple[str, Element] | None],
    moment: datetime,
    date_header: DateHeader = "untagged",
) -> bytes:
    """The frame in which a Kamstrup meter pushes a list: `values` are OBIS codes in full with
    their elements, None for the pair of nulls that stands for an absent phase."""
    elements = [Element(axdr.TEXT, list_id)]
    for value in values:
        if value is None:
            elements += [Element(axdr.NULL, None)] * 2
        else:
            elements += [Element(axdr.OCTETS, obis.read(value[0])), value[1]]
    body = Element(axdr.STRUCTURE, tuple(elements))
    information = apdu.write(datetimes.write(moment), body, date_header)
    return wrap(information, CLIENT, SERVER, UNNUMBERED_INFORMATION)
