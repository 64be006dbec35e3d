"""Decodes the answers of a MULTICAL 66 or III and conducts its polls.

Source: MULTICAL 66-CDE technical description 5511-634 rev C1, 4.1; MULTICAL III answers alike.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, SourceId
from kamstrup_mqtt.protocols.base import (
    Configure,
    Conversation,
    Frame,
    Message,
    Pause,
    PollRequest,
    PollResponse,
    PollTimings,
    Step,
)
from kamstrup_mqtt.protocols.multical_66.fields import (
    REQUESTS,
    SOURCES,
    WHOLE,
    objects,
    request_of,
)
from kamstrup_mqtt.protocols.multical_66.framing import Multical66Framer, with_parity
from kamstrup_mqtt.protocols.wakeup import wake_up

ANSWER_BAUDRATE = 1200
BETWEEN_REQUESTS = 5.0
"""Seconds that the meter needs between two requests."""
TIMINGS = PollTimings(
    response_timeout=3.0,
    inter_byte_timeout=0.5,
    total_timeout=8.0,
    pause=BETWEEN_REQUESTS,
    tries=2,
)
BITS = 11
"""Bits of one character: start, seven data, parity, two stop bits."""
WAKE_REST = 1.6
"""Seconds to wait between the zeros that wake a meter and the request."""


class Multical66Codec:
    """Decodes the answers of one meter and polls it.

    The answer begins 0.3 to 2 s after the request, at 1200 baud whatever the speed of the request.

    baudrate   the speed of requests
    timings    limits of each request
    learned    not used: this protocol has nothing to remember
    fast_path  not used: this protocol has no fast path
    """

    def __init__(
        self,
        *,
        baudrate: int = 300,
        timings: PollTimings = TIMINGS,
        learned: Mapping[str, str] | None = None,
        fast_path: bool = True,
    ) -> None:
        self._baudrate = baudrate
        self._timings = timings
        self._framer = Multical66Framer()

    def framer(self) -> Multical66Framer:
        """Return a framer for a newly opened link."""
        self._framer = Multical66Framer()
        return self._framer

    def decode(self, frame: Frame) -> Message:
        """Decode a line: ten numbers of seven digits answer /#1, others /#2.

        Raises MeterError for a line of any other form.
        """
        text = frame.payload.decode("ascii")
        if frame.direction == "request":
            return Message({"direction": "request", "text": text})
        numbers = text.split()
        request = "1" if all(len(number) == 7 for number in numbers) else "2"
        return Message({"direction": "answer", "request": f"/#{request}"}, _read(request, text))

    def poll(self, poll_request: PollRequest) -> Conversation:
        """Send the requests whose fields are read. Raises MeterError when the first is not
        answered, or where the speed belongs to a bridge."""
        requested = {request_of(source) for source in poll_request.sources if source in SOURCES}
        requests = [request for request in REQUESTS if request in requested]
        found: dict[SourceId, DecodedValue] = {}
        yield from wake_up(
            self._timings.wake,
            baudrate=self._baudrate,
            bits=BITS,
            pause=WAKE_REST,
            ident_rest=self._timings.pause,
        )
        fault: MeterError | None = None
        for n, request in enumerate(requests or ["1"]):
            if n:
                yield Pause(self._timings.pause)
            try:
                objects = yield from self._request(
                    request, 1 if poll_request.probe_only and not n else self._timings.tries
                )
            except MeterError as error:
                if not n:
                    raise
                fault = error
                break
            found.update({obj.id: obj for obj in objects})
        missing = frozenset(poll_request.sources) - found.keys()
        if fault is not None:
            return PollResponse(objects=tuple(found.values()), failed_sources=missing, error=fault)
        return PollResponse(objects=tuple(found.values()), unsupported=missing)

    def _request(
        self, request: str, left: int
    ) -> Generator[Step, Frame | None, tuple[DecodedValue, ...]]:
        while True:
            left -= 1
            try:
                frame = yield from self._request_once(request)
                return _read(request, frame.payload.decode("ascii"))
            except MeterError:
                if left < 1:
                    raise
            yield Pause(self._timings.pause)

    def _request_once(self, request: str) -> Generator[Step, Frame | None, Frame]:
        self._framer.any_count = request in WHOLE
        yield self._timings.send(
            with_parity(f"/#{request}".encode("ascii")), expects_response=False
        )
        yield Configure(ANSWER_BAUDRATE)
        try:
            frame = yield self._timings.send(b"")
        except MeterError:
            yield Configure(self._baudrate)
            raise
        yield Configure(self._baudrate)
        assert frame is not None  # an answer was waited for
        return frame


def _read(request: str, text: str) -> tuple[DecodedValue, ...]:
    try:
        return objects(request, text.split())
    except ValueError as error:
        raise MeterError(
            LinkState.BYTES_NO_FRAMES, f"an answer that cannot be that to /#{request}: {error}"
        ) from error
