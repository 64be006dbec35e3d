"""Watches a HAN port: decodes the lists, counts what is dropped, and judges the line."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from kamstrup_mqtt.core.errors import MeterError, ReplayError
from kamstrup_mqtt.core.model import DecodedValue, Json, SerialParams
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Opener
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link
from kamstrup_mqtt.protocols.base import (
    DroppedBytes,
    Event,
    Frame,
    PushedCodec,
    Timestamp,
)
from kamstrup_mqtt.reading.commissioning.drop_advice import DROP_ADVICE
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.frame_listener import listen

VERDICT_SECONDS = 30.0
"""Seconds without a list after which, and at which interval, a verdict is given."""

_log = logging.getLogger("kamstrup_mqtt.listen")


@dataclass(frozen=True, slots=True)
class ListenStarted:
    """The port is open."""

    address: PortAddress
    params: SerialParams


@dataclass(frozen=True, slots=True)
class ListReceived:
    """A list that was decoded.

    raw      the frame as received
    header   its header fields
    objects  its values, scaled as the daemon would publish them
    log      messages that the daemon would log about this list
    notes    what the daemon is learning about the meter
    """

    raw: bytes
    header: Mapping[str, Json]
    objects: tuple[DecodedValue, ...]
    log: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListDropped:
    """Bytes that did not become a list.

    raw      the bytes
    reason   code of the reason: a DropReason, a LinkState, or "replayed"
    message  why a valid frame could not be decoded; None if the bytes were no valid frame
    advice   what the reason means and what to do, if the reason alone shows that
    """

    raw: bytes
    reason: str
    message: str | None = None
    advice: str | None = None


class LineFault(StrEnum):
    """Why no list was decoded so far."""

    NO_BYTES = "no_bytes"
    NO_FRAMES = "no_frames"
    UNREADABLE = "unreadable"  # valid frames that cannot be decoded


@dataclass(frozen=True, slots=True)
class ListenVerdict:
    """Why no list was decoded in the first `seconds` seconds, and what to check."""

    fault: LineFault
    seconds: float
    message: str


ListenEvent: TypeAlias = ListenStarted | ListReceived | ListDropped | ListenVerdict


class ListenSession:
    """Turns what a meter sends on one port into ListenEvents, and counts them.

    lists  decoded lists
    bytes  bytes received in frames and in dropped pieces
    drops  reason -> dropped pieces
    """

    def __init__(self, codec: PushedCodec, *, verdict_seconds: float = VERDICT_SECONDS) -> None:
        self.lists = 0
        self.bytes = 0
        self.drops: Counter[str] = Counter()
        self._codec = codec
        self._verdict_seconds = verdict_seconds
        self._last_verdict = 0.0
        self._decode_error: str | None = None

    async def run(
        self,
        address: PortAddress,
        params: SerialParams,
        report: Callable[[ListenEvent], None],
        *,
        opener: Opener = open_link,
    ) -> None:
        """Open the port and report what happens on it. Never returns.

        Raises LinkError if the port cannot be opened or is lost.
        """
        link = await opener(address, params, open_timeout=OPEN_TIMEOUT)
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            report(ListenStarted(address, params))
            async for event in listen(link, self._codec.framer(), Counters(), _log):
                now = Timestamp(datetime.now(UTC), clock())
                for result in self.handle(event, now, now.monotonic - start):
                    report(result)
        finally:
            await link.close()

    def handle(
        self, event: Event | None, received_at: Timestamp, elapsed: float
    ) -> Iterator[ListenEvent]:
        """Process a frame, a drop, or None for silence.

        `elapsed` is the time since the start of the session in seconds.
        """
        if event is not None:
            self.bytes += len(event.raw)
            if isinstance(event, DroppedBytes):
                yield self._handle_drop(event)
            else:
                yield self._handle_frame(event, received_at)
        if not self.lists and elapsed - self._last_verdict >= self._verdict_seconds:
            self._last_verdict = elapsed
            yield self._verdict(elapsed)

    def _handle_drop(self, drop: DroppedBytes) -> ListDropped:
        self.drops[drop.reason] += 1
        return ListDropped(drop.raw, drop.reason, advice=DROP_ADVICE.get(drop.reason))

    def _handle_frame(self, frame: Frame, received_at: Timestamp) -> ListenEvent:
        try:
            message = self._codec.decode(frame)
        except MeterError as error:
            reason = "replayed" if isinstance(error, ReplayError) else str(error.state)
            self.drops[reason] += 1
            self._decode_error = str(error)
            return ListDropped(frame.raw, reason, message=str(error))
        self.lists += 1
        reading, update = self._codec.process(message, received_at), self._codec.learn()
        return ListReceived(
            frame.raw,
            message.header,
            reading.objects,
            log=tuple(text for _, text in update.log),
            notes=update.notes,
        )

    def _verdict(self, elapsed: float) -> ListenVerdict:
        if not self.bytes:
            fault = LineFault.NO_BYTES
            message = (
                f"no bytes for {elapsed:.0f} s: is the meter's port switched on (the grid company"
                " does it), the adapter plugged in, and its wires the right way round?"
            )
        elif self._decode_error is not None:
            fault = LineFault.UNREADABLE
            message = (
                f"frames, but no list for {elapsed:.0f} s ({self.summary()}): speed and parity are"
                f" right, but {self._decode_error}"
            )
        else:
            fault = LineFault.NO_FRAMES
            message = (
                f"bytes, but no list for {elapsed:.0f} s ({self.summary()}): check speed and"
                " parity; Kamstrup sends 8N1, Aidon and Kaifa 8E1 (--parity E)"
            )
        return ListenVerdict(fault, elapsed, message)

    def summary(self) -> str:
        """The number of lists, and of drops by reason."""
        drops = ", ".join(f"{count} {reason}" for reason, count in sorted(self.drops.items()))
        return f"{self.lists} lists, dropped: {drops or 'nothing'}"
