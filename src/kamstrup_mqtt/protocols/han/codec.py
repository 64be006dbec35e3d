"""Decodes the lists of a HAN port, and builds lists for emulated meters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.protocols.base import Frame, Message, PushedReading, SessionUpdate, Timestamp
from kamstrup_mqtt.protocols.fast_path import han as templates
from kamstrup_mqtt.protocols.fast_path.layout import TemplateDecoder
from kamstrup_mqtt.protocols.han import apdu, axdr, cipher, obis, push_lists
from kamstrup_mqtt.protocols.han.axdr import Element
from kamstrup_mqtt.protocols.han.cipher import CounterGuard, Keys
from kamstrup_mqtt.protocols.han.framing import HdlcFramer, header_end
from kamstrup_mqtt.protocols.han.meter_session import WARNING, HanSession
from kamstrup_mqtt.protocols.han.meter_type import DetectModel, no_model
from kamstrup_mqtt.protocols.han.scales import CurrentScale


class HanCodec:
    """Decodes the lists that one meter pushes.

    energy_scale        Wh per count of a Kamstrup meter's energies: 10 or 1; None to learn it from
                        the power (`process`), because the lists do not say it
    encryption_key      16 bytes (GPK60), or None
    authentication_key  16 bytes (GPK61), or None
    learned             `SessionUpdate.learned` of an earlier run
    fast_path           False to use the reference parser alone
    detect_model        finds the model of the meter by its maker, phases and list identifier
    """

    def __init__(
        self,
        *,
        energy_scale: int | None = None,
        encryption_key: bytes | None = None,
        authentication_key: bytes | None = None,
        learned: Mapping[str, str] | None = None,
        fast_path: bool = True,
        detect_model: DetectModel = no_model,
    ) -> None:
        if energy_scale not in (10, 1, None):
            raise ValueError(f"energy_scale is 10 or 1, not {energy_scale}")
        self.energy_scale = energy_scale
        self._keys = Keys(encryption_key, authentication_key)
        self._counters = CounterGuard()
        self._current = CurrentScale()
        self._fast_path = fast_path
        self._decode = self._parse
        if fast_path:
            make = partial(
                templates.make_template, energy_scale=energy_scale, current=self._current
            )
            self._decode = TemplateDecoder(self._parse, make).decode
        self._log: list[tuple[int, str]] = []
        self._session = HanSession(energy_scale, learned or {}, detect_model)

    def framer(self) -> HdlcFramer:
        """Return a framer for a newly opened link."""
        return HdlcFramer(fast_path=self._fast_path)

    def decode(self, frame: Frame) -> Message:
        """Decode the list in a frame.

        Raises MeterError if there is none, or if it cannot be read, and ReplayError for an
        encrypted list that is older than the last.
        """
        return self._decode(frame)

    def _parse(self, frame: Frame) -> Message:
        """Decode the list in a frame element by element: the reference parser."""
        addresses, information = _split(frame.payload)
        apdu_, cipher = self._decrypt(apdu.message(information))
        notification = apdu.read(apdu_)
        push_list = push_lists.split(notification.body)
        header: dict[str, Json] = {
            "direction": frame.direction,
            **addresses,
            "length": len(frame.payload) + 2,
            "list_id": push_list.list_id,
            "maker": push_list.maker,
            **apdu.header(notification.clock),
            "elements": push_list.elements,
            "date_header": notification.date_header,
            **cipher,
        }
        return Message(header, push_lists.objects(push_list, self.energy_scale, self._current))

    def _decrypt(self, message: bytes) -> tuple[bytes, dict[str, Json]]:
        """Return the plaintext of a message, and the header fields of its envelope."""
        if not apdu.is_encrypted(message):
            return message, {}
        envelope = cipher.unwrap(message)
        plain = self._keys.open(envelope)
        if not envelope.tag:
            _check_untagged(plain)
        warning = self._counters.check(envelope.system_title, envelope.counter)
        if warning is not None:
            self._log.append((WARNING, warning))
        return plain, {
            "system_title": envelope.system_title.hex().upper(),
            "security": f"{envelope.security:02X}",
            "frame_counter": envelope.counter,
        }

    def accept_held(self) -> tuple[str | None, Mapping[str, str]]:
        """Accept the totals that are held back; see `protocols.base.PushedCodec`."""
        accepted = self._session.accept_held()
        return accepted, self._session.learned_state()

    def process(self, message: Message, received_at: Timestamp) -> PushedReading:
        """Return what to publish of a message; see `protocols.base.PushedCodec`."""
        return self._session.process(message, received_at)

    def learn(self) -> SessionUpdate:
        """Learn from the message that was processed last; see `protocols.base.PushedCodec`."""
        followed = self._session.learn()
        if self._log:
            followed = replace(followed, log=(*self._log, *followed.log))
            self._log.clear()
        return followed


def _check_untagged(plain: bytes) -> None:
    """Raise MeterError if a plaintext without a tag is no list: then the key was wrong."""
    try:
        apdu.read(plain)
    except MeterError as error:
        raise cipher.wrong_key("the decrypted bytes are no list") from error


def _split(payload: bytes) -> tuple[dict[str, Json], bytes]:
    """Return the address fields in hex, and the information field."""
    end = header_end(payload, 0)
    assert end is not None, "the framer verified the header"
    first = next(at for at in range(2, end) if payload[at] & 1) + 1
    fields: dict[str, Json] = {
        "destination": payload[2:first].hex().upper(),
        "source": payload[first : end - 1].hex().upper(),
        "control": f"{payload[end - 1]:02X}",
    }
    return fields, payload[end + 2 :]


def kamstrup_body(list_id: bytes, values: Iterable[tuple[str, Element] | None]) -> Element:
    """Build a list as Kamstrup sends it (for emulated meters).

    values  OBIS codes in full with their elements, None for the two nulls of an absent phase
    """
    elements = [Element(axdr.TEXT, list_id)]
    for value in values:
        if value is None:
            elements += [Element(axdr.NULL, None)] * 2
        else:
            elements += [Element(axdr.OCTETS, obis.read(value[0])), value[1]]
    return Element(axdr.STRUCTURE, tuple(elements))
