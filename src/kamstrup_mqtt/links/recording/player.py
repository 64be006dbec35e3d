"""Plays a recording: provides links that deliver the recorded bytes at the recorded times.

Bytes that a meter pushed arrive at their recorded time. A response arrives as long after its
request as in the recording, whenever the request is sent. A line that was lost or could not be
opened fails again in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links.address import PortAddress, RecordedLine
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.recording.file_format import (
    LineChange,
    ReceivedBytes,
    RecordedEvent,
    Recording,
    SentBytes,
)
from kamstrup_mqtt.links.stream import StreamLink

_LOG = logging.getLogger(__name__)

DEFAULT_IDLE_TIMEOUT = 1.0
"""Idle timeout in seconds of a line whose recording has none."""

MAX_WAIT = 20.0
"""Seconds that an early request waits for its recorded time. The reader's pauses after a failure
have random lengths."""

MATCH_WINDOW = 60.0
"""Seconds from now within which a recorded request can match."""

TAIL = 4.0
"""Seconds after the end of the recording, longer than the idle timeout of any line."""

REOPEN_WINDOW = 120.0
"""Seconds after the end within which a closed port may be opened to read the remaining bytes."""


@dataclass(slots=True)
class _Request:
    """A recorded request and its response: pairs of seconds after the request, and bytes."""

    at: float
    data: bytes
    response: list[tuple[float, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class PlaybackStats:
    """Statistics of one meter.

    recorded   bytes received in the recording
    received   bytes of these that were delivered to the daemon
    matched    requests of the daemon that were found in the recording
    unmatched  requests that were not found, and so got no response
    """

    recorded: int = 0
    received: int = 0
    matched: int = 0
    unmatched: int = 0


class _LinePlayer:
    """Plays the recording of one meter."""

    def __init__(
        self, meter: str, events: Iterable[RecordedEvent], start: float, length: float
    ) -> None:
        self.meter = meter
        self.start = start
        self.length = length
        self.stats = PlaybackStats()
        self.idle_timeout = DEFAULT_IDLE_TIMEOUT
        self.is_bridge = False
        self.link: ReplayLink | None = None
        self._scheduled: list[LineChange | ReceivedBytes] = []
        self._requests: list[_Request] = []
        self._request_indices: dict[bytes, list[int]] = {}
        self._next_index = 0
        self._undelivered: list[bytes] = []  # received while the port was closed
        self.all_delivered = asyncio.Event()
        self.all_delivered.set()
        self._failure: LinkError | None = None
        self._load(events)

    def _load(self, events: Iterable[RecordedEvent]) -> None:
        for event in events:
            if isinstance(event, SentBytes):
                self._request_indices.setdefault(event.data, []).append(len(self._requests))
                self._requests.append(_Request(event.at, event.data))
                continue
            if isinstance(event, LineChange):
                self._record_link_kind(event)
            else:
                self.stats.recorded += len(event.data)
            if isinstance(event, ReceivedBytes) and self._requests:
                request = self._requests[-1]
                request.response.append((event.at - request.at, event.data))
            else:
                self._scheduled.append(event)
        first = next((event for event in self._scheduled if isinstance(event, LineChange)), None)
        if first is not None and first.event == "failed":
            self._apply(first)

    def _record_link_kind(self, event: LineChange) -> None:
        if event.idle_timeout is not None:
            self.idle_timeout = event.idle_timeout
        if event.link is not None:
            self.is_bridge = event.link == "tcp"

    # by time

    async def play(self) -> None:
        """Deliver pushed bytes and changes of the line, each at its recorded time."""
        loop = asyncio.get_running_loop()
        for event in self._scheduled:
            await asyncio.sleep(self.start + event.at - loop.time())
            self._apply(event)

    def _apply(self, event: LineChange | ReceivedBytes) -> None:
        if isinstance(event, ReceivedBytes):
            self.deliver(event.data)
        elif event.event in ("opened", "reopened"):
            self._failure = None
        elif event.event in ("lost", "failed"):
            state = event.state or LinkState.PORT_MISSING
            self._failure = LinkError(state, event.text or "the line was lost when it was recorded")
            if self.link is not None:
                self.link.mark_lost(LinkError(state, str(self._failure)))
        # the daemon itself closes and configures the line

    def deliver(self, data: bytes) -> None:
        """Deliver bytes now, or as soon as the line is open."""
        if self.link is None or self.link.loss is not None:
            self._undelivered.append(data)
            self.all_delivered.clear()
            return
        self.link.deliver(data)

    def open(self, params: SerialParams, idle_timeout: float | None) -> ReplayLink:
        """Open the line. Raises LinkError during a recorded failure."""
        if self._failure is not None:
            raise LinkError(self._failure.state, str(self._failure))
        self.link = ReplayLink(
            self, params, self.idle_timeout if idle_timeout is None else idle_timeout
        )
        held, self._undelivered = self._undelivered, []
        self.all_delivered.set()
        for data in held:
            self.link.deliver(data)
        return self.link

    # by request

    def match_request(self, data: bytes) -> _Request | None:
        """Return the next recorded request with this data, or None if there is none nearby."""
        indices = self._request_indices.get(data, [])
        position = bisect_left(indices, self._next_index)
        now = asyncio.get_running_loop().time() - self.start
        if now > self.length:
            return None  # after the end: not counted as unmatched
        if position == len(indices) or self._requests[indices[position]].at > now + MATCH_WINDOW:
            self._record_unmatched(data)
            return None
        self._next_index = indices[position] + 1
        self.stats.matched += 1
        return self._requests[indices[position]]

    def _record_unmatched(self, data: bytes) -> None:
        self.stats.unmatched += 1
        if self.stats.unmatched == 1:
            _LOG.warning(
                "%s: a request is not in the recording and gets no response (further ones are only"
                " counted; did the configuration change?): %s",
                self.meter,
                data.hex(" "),
            )


class Player:
    """Opens links that play a recording of `meters`, starting at the loop time `start`."""

    def __init__(self, recording: Recording, meters: Collection[str], start: float) -> None:
        self._length = recording.length
        self._start = start
        self._lines = {
            meter: _LinePlayer(meter, recording.events_of(meter), start, recording.length)
            for meter in meters
        }

    @property
    def stats(self) -> Mapping[str, PlaybackStats]:
        """Statistics of each meter."""
        return {meter: line.stats for meter, line in self._lines.items()}

    async def open(
        self,
        address: PortAddress,
        params: SerialParams,
        *,
        open_timeout: float,
        idle_timeout: float | None = None,
    ) -> Link:
        """Open the line of a recorded meter. Raises LinkError."""
        assert isinstance(address, RecordedLine)
        return self._lines[address.meter].open(params, idle_timeout)

    async def play(self) -> None:
        """Play until the recording ends and all bytes are delivered."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for line in self._lines.values():
                group.create_task(line.play())
        end = self._start + self._length
        await asyncio.sleep(end + TAIL - loop.time())
        for line in self._lines.values():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end + REOPEN_WINDOW):
                    await line.all_delivered.wait()


class ReplayLink(StreamLink):
    """An open line of a recording."""

    def __init__(self, line: _LinePlayer, params: SerialParams, idle_timeout: float) -> None:
        super().__init__(params, idle_timeout)
        self._line = line

    def deliver(self, data: bytes) -> None:
        """Deliver bytes unless the link is closed."""
        if self.loss is None:
            self._line.stats.received += len(data)
            self.data_received(data)

    async def write(self, data: bytes) -> None:
        self.raise_if_lost()
        request = self._line.match_request(data)
        if request is not None:
            wait = self._line.start + request.at - self._loop.time()
            if 0 < wait <= MAX_WAIT:
                await asyncio.sleep(wait)
                self.raise_if_lost()
            now = self._loop.time()
            for delay, data_received in request.response:
                self._loop.call_at(now + delay, self.deliver, data_received)
        self._record_sent(data)

    async def drain(self) -> None:
        self.raise_if_lost()
        await self._wait_until_sent()

    async def set_baudrate(self, baudrate: int) -> None:
        await self.drain()
        if self._line.is_bridge:
            raise MeterError(
                LinkState.REFUSED,
                "the recorded line is behind a bridge, which sets its speed",
            )
        self._set_baudrate_param(baudrate)

    async def close(self) -> None:
        self.mark_lost(
            LinkError(LinkState.PORT_MISSING, f"{self._line.meter} was closed"), by_us=True
        )
