"""Decodes the frames of KMP-ASCII and conducts its polls."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, Json, LinkState
from kamstrup_mqtt.protocols.base import (
    Conversation,
    Frame,
    Message,
    Pause,
    PollRequest,
    PollResponse,
    PollTimings,
    Step,
)
from kamstrup_mqtt.protocols.kmp_ascii.fields import (
    DATA_LENGTH,
    ENERGY,
    HELLO,
    IDENTITY_RANGE,
    MEMORY,
    TARIFFS,
    command_of,
    read_fields,
)
from kamstrup_mqtt.protocols.kmp_ascii.framing import KmpAsciiFramer, encode


def memory_request(first: int, last: int) -> bytes:
    """Return the payload that reads the memory from address `first` to `last`, inclusive."""
    return MEMORY + first.to_bytes(2, "big") + last.to_bytes(2, "big")


_REQUESTS: Mapping[bytes, bytes] = {
    MEMORY: memory_request(*IDENTITY_RANGE),
    ENERGY: ENERGY,
    TARIFFS: TARIFFS + b"\x00",
}
TIMINGS = PollTimings(
    response_timeout=1.0, inter_byte_timeout=0.6, total_timeout=4.0, pause=1.6, tries=3
)
_NO_ANSWER = (LinkState.NO_BYTES, LinkState.ECHO_ONLY)


class KmpAsciiCodec:
    """Decodes the frames of one 685-382 and polls it.

    timings    limits of each command
    learned    not used: this protocol has nothing to remember
    fast_path  not used: this protocol has no fast path
    """

    def __init__(
        self,
        *,
        timings: PollTimings = TIMINGS,
        learned: Mapping[str, str] | None = None,
        fast_path: bool = True,
    ) -> None:
        self._timings = timings

    def framer(self) -> KmpAsciiFramer:
        """Return a framer for a newly opened link."""
        return KmpAsciiFramer()

    def decode(self, frame: Frame) -> Message:
        """Decode a request or an answer. Raises MeterError if an answer has a wrong length."""
        command, data = frame.payload[:2], frame.payload[2:]
        header: dict[str, Json] = {
            "direction": frame.direction,
            "command": command.hex(" ").upper(),
            "data": data.hex().upper(),
        }
        if frame.direction == "request":
            if command == MEMORY and len(data) == 4:
                header["first"] = int.from_bytes(data[:2], "big")
                header["last"] = int.from_bytes(data[2:], "big")
            return Message(header)
        return Message(header, _objects(command, data))

    def poll(self, poll_request: PollRequest) -> Conversation:
        """Ask for what `poll_request` wants, each command once.

        A command that stays unanswered while the meter answers another is one that this meter
        does not have. Raises MeterError when nothing, or something unreadable, came; once
        something has come, what fails takes nothing away.
        """
        sources = (*poll_request.identity, *poll_request.sources)
        commands = {c for c in map(command_of, sources) if c is not None}
        objects: list[DecodedValue] = []
        answered: set[bytes] = set()
        fault: MeterError | None = None
        for command, request in _REQUESTS.items():
            if command not in commands:
                continue
            try:
                objects += yield from self._request(
                    command, request, poll_request.probe_only and not answered
                )
            except MeterError as error:
                if not objects:
                    raise
                fault = error
                break
            answered.add(command)
        came = {obj.id for obj in objects}
        lacking = frozenset(s for s in poll_request.sources if s not in came)
        failed = frozenset(s for s in lacking if command_of(s) in commands - answered)
        return PollResponse(
            objects=tuple(objects), unsupported=lacking - failed, failed_sources=failed, error=fault
        )

    def _request(
        self, command: bytes, request: bytes, probe_only: bool
    ) -> Generator[Step, Frame | None, tuple[DecodedValue, ...]]:
        try:
            frame = yield from self._exchange(
                command, request, 1 if probe_only else self._timings.tries
            )
        except MeterError as error:
            if probe_only or error.state not in _NO_ANSWER:
                raise
            # the protocol has no refusal: does the meter answer at all?
            try:
                yield from self._exchange(HELLO, HELLO, self._timings.tries)
            except MeterError:
                raise error from None
            return ()
        return self.decode(frame).objects

    def _exchange(
        self, command: bytes, request: bytes, tries: int
    ) -> Generator[Step, Frame | None, Frame]:
        send = self._timings.send(encode("@", request))
        for _ in range(tries - 1):
            try:
                return _validated(command, (yield send))
            except MeterError:
                yield Pause(self._timings.pause)
        return _validated(command, (yield send))


def _validated(command: bytes, frame: Frame | None) -> Frame:
    """Return the frame if it is a complete answer to `command`. Raises MeterError otherwise."""
    if frame is None or frame.direction != "answer" or frame.payload[:2] != command:
        got = "nothing" if frame is None else frame.payload.hex(" ").upper()
        raise MeterError(
            LinkState.BYTES_NO_FRAMES,
            f"asked for {command.hex(' ').upper()}, but received {got}: is there another reader on"
            " this line?",
        )
    length = DATA_LENGTH.get(command)
    if length is not None and len(frame.payload) - 2 != length:
        raise _wrong_length(command, len(frame.payload) - 2)
    return frame


def _objects(command: bytes, data: bytes) -> tuple[DecodedValue, ...]:
    length = DATA_LENGTH.get(command)
    if length == len(data):
        return read_fields(command, data)
    if length is None or command == MEMORY:  # any other part of the memory
        return ()
    raise _wrong_length(command, len(data))


def _wrong_length(command: bytes, length: int) -> MeterError:
    name = command.hex(" ").upper()
    return MeterError(
        LinkState.BYTES_NO_FRAMES,
        f"the answer to {name} has {length} bytes of data instead of {DATA_LENGTH[command]}:"
        " part of it is lost",
    )
