"""The part of a scan that sends nothing: waits for the lists of a meter that sends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, SerialParams
from kamstrup_mqtt.links.address import PortAddress, SerialDevice
from kamstrup_mqtt.links.base import Opener
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.protocols.base import Event, Frame
from kamstrup_mqtt.reading.commissioning.scan_finding import (
    HAN,
    ScanFinding,
    ScanProgress,
    ScanStep,
    first_text,
)
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.frame_listener import FrameListener

FIRST_SECONDS = 12.0
"""Seconds without a byte after which there is no pushing meter: they send every 10 s."""
MIN_SECONDS = 0.1
"""Shortest time for which a port is opened."""

_log = logging.getLogger("kamstrup_mqtt.scan")


class PassiveListener:
    """Listens on a port for `seconds` in all.

    `first_seconds` of them are spent before a polled protocol is tried, the rest only if bytes
    arrive, or if no polled meter answers.
    """

    def __init__(
        self,
        address: PortAddress,
        seconds: float,
        report: Callable[[ScanProgress], None],
        *,
        first_seconds: float = FIRST_SECONDS,
        opener: Opener = open_link,
    ) -> None:
        self._address = address
        self._seconds_left = seconds
        self._report = report
        self._first_seconds = first_seconds
        self._opener = opener
        self._spec = registry.find_protocol(HAN)
        self._has_bytes = False

    async def listen_first(self) -> ScanFinding | None:
        """Listen for a moment, and for the rest of the time if bytes arrive."""
        finding = await self._listen(self._spec.serial, self._first_seconds)
        if finding is None and self._has_bytes:
            self._report(
                ScanProgress(ScanStep.LISTEN, "bytes arrive unasked; continuing to listen ...")
            )
            return await self.listen_to_the_end()
        return finding

    async def listen_to_the_end(self) -> ScanFinding | None:
        """Listen for the rest of the time. A local port alternates between even and no parity."""
        for params in self._alternating_params():
            if self._seconds_left < MIN_SECONDS:
                break
            finding = await self._listen(params, 2 * self._first_seconds)
            if finding is not None:
                return finding
        return None

    def _alternating_params(self) -> Iterator[SerialParams]:
        while True:
            if isinstance(self._address, SerialDevice):  # a bridge has a fixed parity
                yield replace(self._spec.serial, parity="E")
            yield self._spec.serial

    async def _listen(self, params: SerialParams, seconds: float) -> ScanFinding | None:
        seconds = min(seconds, self._seconds_left)
        if seconds < MIN_SECONDS:
            return None
        self._seconds_left -= seconds
        message = f"listening for lists at {params}, up to {seconds:.0f} s ..."
        self._report(ScanProgress(ScanStep.LISTEN, message))
        link = await self._opener(self._address, params, open_timeout=OPEN_TIMEOUT)
        listener = FrameListener(link, self._spec.make_codec().framer(), Counters(), _log)
        start = listener.last_byte
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for event in listener.events():
                        finding = self._decode(event, params)
                        if finding is not None:
                            return finding
        finally:
            self._has_bytes = self._has_bytes or listener.last_byte > start
            await link.close()
        return None

    def _decode(self, event: Event | None, params: SerialParams) -> ScanFinding | None:
        if not isinstance(event, Frame):
            return None
        try:
            objects = self._spec.make_codec().decode(event).objects
        except MeterError as error:
            _log.debug("%s", error)
            if error.state is not LinkState.WRONG_KEY:
                return None
            return _finding(params, (), is_encrypted=True)
        return _finding(params, objects) if objects else None


def _finding(
    params: SerialParams, objects: tuple[DecodedValue, ...], *, is_encrypted: bool = False
) -> ScanFinding:
    by_id = {obj.id: obj for obj in objects}
    identity = registry.all_models()[AUTO].profiles[HAN].identity
    serial = first_text(by_id, identity)
    return ScanFinding(HAN, params, str(params), AUTO, serial, by_id, is_encrypted)
