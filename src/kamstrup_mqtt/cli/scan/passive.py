"""The passive part of `scan`: a meter that sends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, SerialParams, SourceId
from kamstrup_mqtt.links.address import PortAddress, SerialDevice
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import Event, Frame
from kamstrup_mqtt.reading.conversation import Listener
from kamstrup_mqtt.reading.counters import Counters

HAN = "han"
FIRST = 12.0
"""Seconds of silence after which a port is none of a meter that sends: it does so every 10 s."""
SHORTEST = 0.1
"""Seconds for which it is worth while to open a port."""

_log = logging.getLogger("kamstrup_mqtt.scan")


@dataclass(frozen=True, slots=True)
class Pushed:
    """A list that came. `encrypted`: what is in it cannot be read without the meter's keys."""

    params: SerialParams
    objects: dict[SourceId, DecodedValue] = field(default_factory=dict)
    encrypted: bool = False

    @property
    def serial(self) -> str | None:
        """The meter's number, if the list has it."""
        identity = registry.all_models()["auto"].profiles[HAN].identity
        found = (self.objects[source].value for source in identity if source in self.objects)
        return next((str(value) for value in found if value is not None), None)


class Ear:
    """Listens on a port for `seconds` in all."""

    def __init__(self, address: PortAddress, seconds: float, say: Callable[[str], None]) -> None:
        self._address = address
        self._left = seconds
        self._say = say
        self._bytes = False

    async def first(self) -> Pushed | None:
        """Before anything is asked: a moment, and all of the time if there are bytes."""
        found = await self._hear(self._plain, FIRST)
        if found is None and self._bytes:
            self._say("bytes come unasked; listening on ...")
            return await self.last()
        return found

    async def last(self) -> Pushed | None:
        """The rest of the time, with even parity in turn where the line is ours."""
        for params in self._in_turn():
            if self._left < SHORTEST:
                break
            found = await self._hear(params, 2 * FIRST)
            if found is not None:
                return found
        return None

    @property
    def _plain(self) -> SerialParams:
        return registry.all_protocols()[HAN].serial

    def _in_turn(self) -> Iterator[SerialParams]:
        while True:
            if isinstance(self._address, SerialDevice):  # a bridge's parity is its own
                yield replace(self._plain, parity="E")
            yield self._plain

    async def _hear(self, params: SerialParams, seconds: float) -> Pushed | None:
        seconds = min(seconds, self._left)
        if seconds < SHORTEST:
            return None
        self._left -= seconds
        self._say(f"listening for lists at {params}, up to {seconds:.0f} s ...")
        link = await open_link(self._address, params)
        codec = registry.all_protocols()[HAN].make_codec()
        listener = Listener(link, codec.framer(), Counters(), _log)
        began = listener.last_byte
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for event in listener.events():
                        found = self._read(event, params)
                        if found is not None:
                            return found
        finally:
            self._bytes = self._bytes or listener.last_byte > began
            await link.close()
        return None

    def _read(self, event: Event | None, params: SerialParams) -> Pushed | None:
        if not isinstance(event, Frame):
            return None
        codec = registry.all_protocols()[HAN].make_codec()
        try:
            objects = codec.decode(event).objects
        except MeterError as error:
            _log.debug("%s", error)
            return Pushed(params, {}, True) if error.state is LinkState.WRONG_KEY else None
        return Pushed(params, {obj.id: obj for obj in objects}) if objects else None
