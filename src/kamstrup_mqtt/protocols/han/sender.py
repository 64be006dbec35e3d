"""The meter that sent a list, by its serial number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kamstrup_mqtt.core.model import DecodedValue, SourceId
from kamstrup_mqtt.protocols.base import Message
from kamstrup_mqtt.protocols.han import meter_type

SERIAL_KEY: Final = "energy_scale_meter"
"""Name under which the serial number is remembered."""

_SERIAL_CODES: Final = ("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255")
_SENDER_CODES: Final = (*_SERIAL_CODES, *meter_type.TYPE_CODES)
_MAX_LISTS_WITHOUT_SERIAL: Final = 6


class Sender:
    """The meter on one line.

    serial  OBIS code and value of its serial number, None while it is not known

    Some lists have no serial number, and some meters send none at all.
    """

    def __init__(self, serial: str | None) -> None:
        self.serial = serial
        self._last: tuple[object, ...] | None = None  # what identified the sender of the last list
        self._lists_without_serial = 0

    @property
    def is_anonymous(self) -> bool:
        """Whether several lists had no serial number."""
        return self.serial is None and self._lists_without_serial >= _MAX_LISTS_WITHOUT_SERIAL

    def is_same(self, message: Message, by_id: Mapping[SourceId, DecodedValue]) -> bool:
        """Whether a list has the same sender as the last one."""
        return self.serial is not None and _identity(message, by_id) == self._last

    def is_replaced(self, by_id: Mapping[SourceId, DecodedValue]) -> bool:
        """Whether a list has another serial number than the lists before it."""
        code = (self.serial or "").partition(" ")[0]
        return any(
            serial != self.serial for serial in _serials(by_id) if serial.partition(" ")[0] == code
        )

    def update(self, message: Message, by_id: Mapping[SourceId, DecodedValue]) -> None:
        """Remember the sender of a list."""
        serials = _serials(by_id)
        if serials:
            self.serial = self.serial or serials[0]
        elif message.header.get("elements", 0) != 1:
            self._lists_without_serial += 1
        self._last = _identity(message, by_id)


def _identity(message: Message, by_id: Mapping[SourceId, DecodedValue]) -> tuple[object, ...]:
    return (message.header.get("maker"), *(by_id[id_] for id_ in _SENDER_CODES if id_ in by_id))


def _serials(by_id: Mapping[SourceId, DecodedValue]) -> list[str]:
    values = [(id_, by_id[id_].value) for id_ in _SERIAL_CODES if id_ in by_id]
    return [f"{id_} {value}" for id_, value in values if value is not None]
