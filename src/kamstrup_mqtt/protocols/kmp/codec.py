"""Decodes the frames of a KMP meter and conducts its polls.

Timing and repetition: Kamstrup 5512-447 rev M1, 2.1.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from types import MappingProxyType

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, SourceId
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
from kamstrup_mqtt.protocols.fast_path import kmp as templates
from kamstrup_mqtt.protocols.fast_path.layout import TemplateDecoder
from kamstrup_mqtt.protocols.kmp.framing import KmpFramer, encode_frame
from kamstrup_mqtt.protocols.kmp.messages import (
    CID_GET_REGISTER,
    MAX_REGISTERS,
    decode_message,
    get_register,
    get_serial_no,
    get_type,
)
from kamstrup_mqtt.protocols.kmp.registers import GET_SERIAL_NO, GET_TYPE, SOFTWARE
from kamstrup_mqtt.protocols.wakeup import wake_up

TIMINGS = PollTimings(
    response_timeout=1.6, inter_byte_timeout=0.5, total_timeout=6.0, pause=1.6, tries=3
)
"""A bridge may send an answer in one piece, so `response_timeout` covers its time on the wire."""
BITS = 11
"""Bits of one byte on the line: start, eight data and two stop bits."""

_SILENT = (LinkState.NO_BYTES, LinkState.ECHO_ONLY)
_NOTHING: Mapping[str, str] = MappingProxyType({})


class KmpCodec:
    """Decodes the frames of one KMP meter and polls it.

    address    the destination: 3F the meter, 7F and BF its logger modules
    timings    limits of each request; a meter that did not understand a request ignores
               everything for 1.6 s
    baudrate   of the line, for waking the eye
    learned    not used: this protocol has nothing to remember
    fast_path  False to use the reference parser alone
    """

    def __init__(
        self,
        *,
        address: int = 0x3F,
        timings: PollTimings = TIMINGS,
        baudrate: int = 1200,
        learned: Mapping[str, str] = _NOTHING,
        fast_path: bool = True,
    ) -> None:
        self.address = address
        self.timings = timings
        self.baudrate = baudrate
        self._decode = (
            TemplateDecoder(decode_message, templates.make_template).decode
            if fast_path
            else decode_message
        )

    def framer(self) -> KmpFramer:
        """Return a framer for a newly opened link."""
        return KmpFramer()

    def decode(self, frame: Frame) -> Message:
        """Decode a frame of either direction. Raises MeterError if its contents are invalid."""
        return self._decode(frame)

    def poll(self, poll_request: PollRequest) -> Conversation:
        """Read the serial number, the registers in order, and the type, as far as requested.

        Raises MeterError if the meter does not answer. A register is unsupported if the meter
        leaves it out, or does not answer to it alone; the others are read nevertheless.
        """
        return (yield from _Poll(self, poll_request).run())

    def wake_up(self) -> Generator[Step, Frame | None, None]:
        """Wake the eye, if that is configured. Answers are ignored."""
        yield from wake_up(
            self.timings.wake,
            baudrate=self.baudrate,
            bits=BITS,
            pause=self.timings.pause,
            ident_rest=self.timings.pause,
        )


class _Poll:
    """One conversation, and what it has read so far."""

    def __init__(self, codec: KmpCodec, poll_request: PollRequest) -> None:
        self._codec = codec
        self._poll_request = poll_request
        self._objects: dict[SourceId, DecodedValue] = {}
        self._awake = False  # the meter has answered in this poll
        self._tries = 1 if poll_request.probe_only else codec.timings.tries

    def run(self) -> Conversation:
        yield from self._codec.wake_up()
        sources = set(self._poll_request.sources) | set(self._poll_request.identity)
        registers = [source for source in self._poll_request.sources if isinstance(source, int)]
        if GET_SERIAL_NO in sources:
            payload = get_serial_no(self._codec.address)
            yield from self._optional_request(
                payload, needed=self._poll_request.probe_only or not registers
            )
        if GET_SERIAL_NO not in self._objects:
            registers += [
                source
                for source in self._poll_request.identity
                if isinstance(source, int) and source not in registers
            ]
        failed, fault = yield from self._read_all_registers(registers)
        if fault is None and (self._poll_request.identity or sources & {GET_TYPE, SOFTWARE}):
            yield from self._optional_request(get_type(self._codec.address), needed=not self._awake)
        lacking = frozenset(self._poll_request.sources) - self._objects.keys()
        return PollResponse(
            objects=tuple(self._objects.values()),
            unsupported=lacking - failed,
            failed_sources=lacking & failed,
            error=fault,
        )

    def _read_all_registers(
        self, registers: Sequence[int]
    ) -> Generator[Step, Frame | None, tuple[frozenset[SourceId], MeterError | None]]:
        """Read registers, eight in a request.

        A request that fails after others were answered ends the poll; what was read is kept.
        Returns the sources that were not read for that reason, and the error.
        """
        for start in range(0, len(registers), MAX_REGISTERS):
            try:
                yield from self._read_registers(
                    registers[start : start + MAX_REGISTERS], self._tries
                )
            except MeterError as error:
                if not any(isinstance(id_, int) for id_ in self._objects):
                    raise
                commands = (GET_TYPE, SOFTWARE)
                return frozenset((*registers[start:], *commands)), error
            self._tries = self._codec.timings.tries  # it is awake
        return frozenset(), None

    def _optional_request(
        self, payload: bytes, *, needed: bool
    ) -> Generator[Step, Frame | None, None]:
        """Send a request that many meters do not answer. Silence is no error unless `needed`."""
        try:
            yield from self._exchange(payload, self._tries, accept_silence=not needed)
        except MeterError:
            if needed:
                raise
            yield Pause(self._codec.timings.pause)

    def _read_registers(
        self, registers: Sequence[int], tries: int
    ) -> Generator[Step, Frame | None, None]:
        """Read up to eight registers.

        Some meters answer nothing at all if one register is unsupported. If the meter is awake,
        bisect the request to find that register.
        """
        payload = get_register(self._codec.address, registers)
        try:
            yield from self._exchange(payload, tries)
        except MeterError as error:
            knocked = self._poll_request.probe_only and not self._awake
            if error.state not in _SILENT or knocked or not (yield from self._is_awake()):
                raise
            if len(registers) > 1:
                middle = len(registers) // 2
                for half in (registers[:middle], registers[middle:]):
                    yield from self._read_registers(half, min(tries, 2))

    def _is_awake(self) -> Generator[Step, Frame | None, bool]:
        """Whether the meter answers at all: it may have fallen asleep during the poll."""
        yield Pause(self._codec.timings.pause)
        try:
            yield from self._exchange(get_serial_no(self._codec.address), 1, keep=False)
        except MeterError:
            return False
        return True

    def _exchange(
        self, payload: bytes, tries: int, *, accept_silence: bool = False, keep: bool = True
    ) -> Generator[Step, Frame | None, None]:
        """Send a request until it is answered. Raises the MeterError of the last try."""
        codec = self._codec
        send = codec.timings.send(
            encode_frame("request", payload), expected_bytes=_expected_length(payload)
        )
        while True:
            tries -= 1
            try:
                message = self._decode_answer(payload, (yield send))
            except MeterError as error:
                if tries < 1 or (accept_silence and error.state in _SILENT):
                    raise
                yield Pause(codec.timings.pause)
                if error.state in _SILENT and not self._awake:
                    yield from self._codec.wake_up()
            else:
                self._awake = True
                self._add_objects(message.objects if keep else ())
                return

    def _decode_answer(self, payload: bytes, frame: Frame | None) -> Message:
        """Decode the answer to the request `payload`.

        Raises MeterError if `frame` answers another request, such as one that was given up.
        """
        ours = (
            frame is not None and frame.direction == "answer" and frame.payload[:2] == payload[:2]
        )
        if frame is not None and ours:
            message = self._codec.decode(frame)
            if {
                obj.id for obj in message.objects if isinstance(obj.id, int)
            } <= _requested_registers(payload):
                return message
        sent = frame.raw.hex(" ") if frame else "nothing"
        raise MeterError(LinkState.BYTES_NO_FRAMES, f"answer to another request: {sent}")

    def _add_objects(self, objects: Iterable[DecodedValue]) -> None:
        for obj in objects:
            self._objects.setdefault(obj.id, obj)


def _expected_length(payload: bytes) -> int:
    """Return the length of the answer if its values have the usual four bytes."""
    return 10 + 9 * payload[2] if payload[1] == CID_GET_REGISTER else 10


def _requested_registers(payload: bytes) -> set[int]:
    return {int.from_bytes(payload[at : at + 2], "big") for at in range(3, len(payload), 2)}
