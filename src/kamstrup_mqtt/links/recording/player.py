"""Plays a recording: links on which the recorded bytes come at their times.

What a meter sent by itself comes when it came. What it answered comes when the recorded request is
sent, after the same time. A line that was lost or could not be opened is so again.
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
from kamstrup_mqtt.links.recording.file_format import Event, Line, Received, Recording, Sent
from kamstrup_mqtt.links.stream import StreamLink

_LOG = logging.getLogger(__name__)

SILENCE = 1.0
"""Link.silence where the recording does not tell it."""

EARLY = 20.0
"""Seconds that a request waits for the moment at which it was recorded; the reader's pauses after
a failure are of random length."""

AHEAD = 60.0
"""How far ahead of its moment a recorded request is looked for."""

AFTER = 4.0
"""Seconds from the last recorded byte to the end: longer than any line is called silent."""

PATIENCE = 120.0
"""Seconds behind the end in which a port that is still shut may be opened for what is left."""


@dataclass(slots=True)
class _Request:
    """A recorded request and what came after it: (seconds after the request, bytes)."""

    at: float
    data: bytes
    answer: list[tuple[float, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Played:
    """What was played of one meter.

    received   bytes given to the daemon, of `recorded` in the file
    answered   requests of the daemon that were found in the recording
    differing  requests that were not, and so were answered with silence
    """

    recorded: int = 0
    received: int = 0
    answered: int = 0
    differing: int = 0


class _Line:
    """One meter's line."""

    def __init__(self, meter: str, events: Iterable[Event], start: float, length: float) -> None:
        self.meter = meter
        self.start = start
        self.length = length
        self.played = Played()
        self.silence = SILENCE
        self.bridge = False
        self.link: ReplayLink | None = None
        self._timed: list[Line | Received] = []
        self._requests: list[_Request] = []
        self._by_data: dict[bytes, list[int]] = {}
        self._next = 0
        self._held: list[bytes] = []  # came while the port was shut
        self.given = asyncio.Event()  # nothing is held
        self.given.set()
        self._failure: LinkError | None = None
        self._sort(events)

    def _sort(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Sent):
                self._by_data.setdefault(event.data, []).append(len(self._requests))
                self._requests.append(_Request(event.at, event.data))
                continue
            if isinstance(event, Line):
                self._note_kind(event)
            else:
                self.played.recorded += len(event.data)
            if isinstance(event, Received) and self._requests:
                request = self._requests[-1]
                request.answer.append((event.at - request.at, event.data))
            else:
                self._timed.append(event)
        first = next((event for event in self._timed if isinstance(event, Line)), None)
        if first is not None and first.event == "failed":
            self._happen(first)

    def _note_kind(self, event: Line) -> None:
        if event.silence is not None:
            self.silence = event.silence
        if event.link is not None:
            self.bridge = event.link == "tcp"

    # by time

    async def play(self) -> None:
        """What happens by itself, each thing at its time."""
        loop = asyncio.get_running_loop()
        for event in self._timed:
            await asyncio.sleep(self.start + event.at - loop.time())
            self._happen(event)

    def _happen(self, event: Line | Received) -> None:
        if isinstance(event, Received):
            self.deliver(event.data)
        elif event.event in ("opened", "reopened"):
            self._failure = None
        elif event.event in ("lost", "failed"):
            state = event.state or LinkState.PORT_MISSING
            self._failure = LinkError(state, event.text or "the line was lost when it was recorded")
            if self.link is not None:
                self.link.mark_lost(LinkError(state, str(self._failure)))
        # what we closed or set ourselves is done again by ourselves

    def deliver(self, data: bytes) -> None:
        """Bytes come from the line, as soon as it is open."""
        if self.link is None or self.link.loss is not None:
            self._held.append(data)
            self.given.clear()
            return
        self.link.hear(data)

    def open(self, params: SerialParams, idle_timeout: float | None) -> ReplayLink:
        """Raises LinkError while the recorded line was lost or could not be opened."""
        if self._failure is not None:
            raise LinkError(self._failure.state, str(self._failure))
        self.link = ReplayLink(self, params, self.silence if idle_timeout is None else idle_timeout)
        held, self._held = self._held, []
        self.given.set()
        for data in held:
            self.link.hear(data)
        return self.link

    # by request

    def find(self, data: bytes) -> _Request | None:
        """The next recorded request that is this one; None: it differs from all that are near."""
        indices = self._by_data.get(data, [])
        place = bisect_left(indices, self._next)
        now = asyncio.get_running_loop().time() - self.start
        if now > self.length:
            return None  # over, and no fault
        if place == len(indices) or self._requests[indices[place]].at > now + AHEAD:
            self._differs(data)
            return None
        self._next = indices[place] + 1
        self.played.answered += 1
        return self._requests[indices[place]]

    def _differs(self, data: bytes) -> None:
        self.played.differing += 1
        if self.played.differing == 1:
            _LOG.warning(
                "%s: a request that was not recorded is answered with silence (others like it are"
                " counted; was the configuration another one?): %s",
                self.meter,
                data.hex(" "),
            )


class Player:
    """Gives links to a daemon on which a recording of `meters` is played, from `start` (loop time)
    on."""

    def __init__(self, recording: Recording, meters: Collection[str], start: float) -> None:
        self._length = recording.length
        self._start = start
        self._lines = {
            meter: _Line(meter, recording.of(meter), start, recording.length) for meter in meters
        }

    @property
    def played(self) -> Mapping[str, Played]:
        """What was played of each meter."""
        return {meter: line.played for meter, line in self._lines.items()}

    async def open(
        self,
        address: PortAddress,
        params: SerialParams,
        *,
        open_timeout: float,
        idle_timeout: float | None = None,
    ) -> Link:
        """The line of the recorded meter. Raises LinkError."""
        assert isinstance(address, RecordedLine)
        return self._lines[address.meter].open(params, idle_timeout)

    async def play(self) -> None:
        """Until the recording ends."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for line in self._lines.values():
                group.create_task(line.play())
        end = self._start + self._length
        await asyncio.sleep(end + AFTER - loop.time())
        for line in self._lines.values():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end + PATIENCE):
                    await line.given.wait()


class ReplayLink(StreamLink):
    """An open line of a recording."""

    def __init__(self, line: _Line, params: SerialParams, idle_timeout: float) -> None:
        super().__init__(params, idle_timeout)
        self._line = line

    def hear(self, data: bytes) -> None:
        """Bytes come, if we still listen."""
        if self.loss is None:
            self._line.played.received += len(data)
            self.data_received(data)

    async def write(self, data: bytes) -> None:
        self.raise_if_lost()
        request = self._line.find(data)
        if request is not None:
            early = self._line.start + request.at - self._loop.time()
            if 0 < early <= EARLY:
                await asyncio.sleep(early)
                self.raise_if_lost()
            now = self._loop.time()
            for after, answer in request.answer:
                self._loop.call_at(now + after, self.hear, answer)
        self._record_sent(data)

    async def drain(self) -> None:
        self.raise_if_lost()
        await self._wait_until_sent()

    async def set_baudrate(self, baudrate: int) -> None:
        await self.drain()
        if self._line.bridge:
            raise MeterError(
                LinkState.REFUSED,
                "the recorded line is behind a bridge, to which its speed belongs",
            )
        self._set_baudrate_param(baudrate)

    async def close(self) -> None:
        self.mark_lost(
            LinkError(LinkState.PORT_MISSING, f"{self._line.meter} was closed"), by_us=True
        )
