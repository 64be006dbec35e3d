"""Measures how well an optical head sits on the meter's eye."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import LinkState, SourceId
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Opener
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link
from kamstrup_mqtt.protocols.base import PolledCodec, PollRequest, ProtocolSpec
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters

WINDOW = 20
"""Number of samples that the success rate is computed from."""
PAUSE = 0.5
"""Seconds between two requests."""
GOOD_RATE = 0.5
"""Success rate from which on the head is considered to be in place."""

ADVICE: Mapping[LinkState, str] = MappingProxyType(
    {
        LinkState.OK: "the meter answers",
        LinkState.ECHO_ONLY: "echo only: the meter sleeps or the head is turned; try 180°",
        LinkState.NO_BYTES: "no response: no light reaches the head; move it, press a button",
        LinkState.CHECKSUM: "damaged responses: move the head by a millimetre or two, shade it",
        LinkState.BYTES_NO_FRAMES: "bytes, but no valid response: wrong speed or protocol, or"
        " stray light",
    }
)

_CHEAPEST_SOURCES: Mapping[str, tuple[SourceId, ...]] = MappingProxyType(
    {"kmp": ("serial_no",), "kmp-ascii": ("FE95.energy",)}
)
"""Protocol -> what a meter answers with the least effort; other protocols ignore the list."""

_log = logging.getLogger("kamstrup_mqtt.align")


@dataclass(frozen=True, slots=True)
class Sample:
    """Result of one request.

    state          OK, or the reason why there is no valid response
    seconds        time until the response was complete or the request was given up
    has_echo       the head sent the request back
    parity_errors  characters with a wrong parity bit
    """

    state: LinkState
    seconds: float
    has_echo: bool
    parity_errors: int


class SampleWindow:
    """The last samples and what they say about the position of the head."""

    def __init__(self, size: int = WINDOW) -> None:
        self._samples: deque[Sample] = deque(maxlen=size)

    def add(self, sample: Sample) -> None:
        """Append a sample; the oldest one is dropped when the window is full."""
        self._samples.append(sample)

    @property
    def success_rate(self) -> float:
        """Share of the samples with a valid response, 0 to 1."""
        hits = sum(sample.state is LinkState.OK for sample in self._samples)
        return hits / len(self._samples) if self._samples else 0.0

    @property
    def parity_errors(self) -> int:
        """Characters with a wrong parity bit in all samples."""
        return sum(sample.parity_errors for sample in self._samples)

    @property
    def is_good(self) -> bool:
        """True if at least half of the samples have a valid response."""
        return self.success_rate >= GOOD_RATE

    def verdict(self) -> str:
        """One sentence about the position of the head."""
        if not self._samples:
            return "no request was sent"
        rate = self.success_rate
        if rate == 1:
            return "the head sits well: the meter answered each of the last requests"
        if self.is_good:
            return f"the head sits almost right: the meter answered {rate:.0%} of the last requests"
        return f"the head does not sit right: {advice(self._samples[-1].state)}"


def advice(state: LinkState) -> str:
    """What `state` means for the position of the head, and what to do."""
    return ADVICE.get(state, str(state))


class Alignment:
    """Sends the cheapest request over and over and reports how each one went.

    address           the port of the head
    spec              the protocol of the meter, which must be a polled one
    baudrate          None: the protocol's
    response_timeout  seconds until a response must begin; None: the protocol's default
    pause             seconds between two requests
    """

    def __init__(
        self,
        address: PortAddress,
        spec: ProtocolSpec,
        *,
        baudrate: int | None = None,
        response_timeout: float | None = None,
        pause: float = PAUSE,
        opener: Opener = open_link,
    ) -> None:
        self._address = address
        self._params = spec.serial if baudrate is None else replace(spec.serial, baudrate=baudrate)
        self._codec = cast(
            PolledCodec, spec.make_codec(**self._codec_options(spec, response_timeout))
        )
        self._request = PollRequest(sources=_CHEAPEST_SOURCES.get(spec.name, ()))
        self._pause = pause
        self._opener = opener

    def _codec_options(self, spec: ProtocolSpec, response_timeout: float | None) -> dict[str, Any]:
        assert spec.timings is not None, "a polled protocol has timings"
        timings = replace(spec.timings, tries=1, pause=0.0)
        if response_timeout is not None:
            timings = replace(timings, response_timeout=response_timeout)
        options: dict[str, Any] = {"timings": timings}
        if spec.name == "iec62056-21":
            options["baudrate"] = self._params.baudrate
        return options

    async def run(self, report: Callable[[Sample], None], *, count: int | None = None) -> None:
        """Report `count` samples; None: never return. Raises LinkError if the port fails."""
        link = await self._opener(self._address, self._params, open_timeout=OPEN_TIMEOUT)
        try:
            counters = Counters()
            runner = ConversationRunner(link, self._codec.framer(), counters, _log)
            report(await self._sample(runner, counters))
            done = 1
            while count is None or done < count:
                await asyncio.sleep(self._pause)
                report(await self._sample(runner, counters))
                done += 1
        finally:
            await link.close()

    async def _sample(self, runner: ConversationRunner, counters: Counters) -> Sample:
        echoes, parity_errors = counters.echoes, counters.parity_errors
        clock = asyncio.get_running_loop().time
        start = clock()
        state = LinkState.OK
        try:
            await runner.run(self._codec.poll(self._request))
        except MeterError as error:
            state = error.state
        return Sample(
            state,
            clock() - start,
            has_echo=counters.echoes > echoes,
            parity_errors=counters.parity_errors - parity_errors,
        )
