"""The interface of a protocol.

A `Framer` receives the bytes of a line and returns `Frame`s, and `DroppedBytes` with a reason for
everything else. A `Codec` decodes a frame. The codec of a polled meter also conducts the
conversation: `poll` is a generator that yields what to do on the line (`Send`, `Configure`,
`Pause`), is sent the frame that was received, and returns what was read. Nothing here knows what
a port is, so conversations are tested without one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, Json, SerialParams, SourceId


class DropReason(StrEnum):
    """Why bytes did not become a frame."""

    GARBAGE = "garbage"  # bytes that belong to no frame
    TRUNCATED = "truncated"  # a frame that never ended
    CHECKSUM = "checksum"
    ESCAPE = "escape"  # an illegal byte-stuffing sequence
    LENGTH = "length"  # longer or shorter than the protocol allows
    MALFORMED = "malformed"  # right checksum, contents that cannot be read
    PARITY = "parity"  # a line of 8N1 that is read as 8E1
    M_BUS = "m_bus"  # a telegram of a wired M-Bus
    P1 = "p1"  # a telegram of a P1 port (DSMR)


class Frame(NamedTuple):
    """A complete frame with a valid checksum.

    raw        the bytes on the wire, start and stop byte included
    payload    the bytes between them, unstuffed and without the checksum
    direction  "request" (to the meter; on our own line it is an echo), "answer" or "push"
    kind       the type of frame if the protocol has several ("ack", "ident", "data")
    """

    raw: bytes
    payload: bytes
    direction: Literal["request", "answer", "push"]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class DroppedBytes:
    """Bytes that did not become a frame. The stream continues behind them."""

    reason: DropReason
    raw: bytes


Event: TypeAlias = Frame | DroppedBytes


class Framer(Protocol):
    """Cuts a byte stream, split in any way, into frames. Its buffer is bounded.

    parity_errors  characters received with a wrong parity bit, if parity is checked in software
    """

    parity_errors: int

    @property
    def bytes_needed(self) -> int:
        """Bytes to receive before the next event is possible; 0 if that is not known."""

    def receive_data(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""

    def next_event(self) -> Event | None:
        """Return the next frame or dropped bytes. None if more bytes are needed."""

    def end_burst(self) -> None:
        """End a burst: the line is silent, so an incomplete frame is dropped.

        `next_event` returns the resulting events.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Write `data` in one call and wait for an answer, which is sent into the generator.

    response_timeout    seconds from the end of the request to the first byte that is not its echo
    inter_byte_timeout  seconds from byte to byte
    total_timeout       seconds for the whole answer
    expects_response    False: wait for no answer; None is sent in once the bytes have left
    expected_bytes      length of the answer; its time on the wire is added to `response_timeout`
                        and `total_timeout`

    The time that `data` needs on the wire is added by the caller. If no valid frame is received, a
    MeterError with the reason is thrown into the generator.

    If `data` is empty, nothing is written and nothing that was received is discarded: only the
    next answer is awaited (IEC 62056-21 after a change of speed).
    """

    data: bytes
    response_timeout: float
    inter_byte_timeout: float
    total_timeout: float
    expects_response: bool = True
    expected_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Configure:
    """Change the baud rate as soon as everything written has left the port; None is sent in.

    A MeterError is thrown in if a TCP bridge controls the rate.
    """

    baudrate: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for this many seconds and discard what is received meanwhile; None is sent in."""

    seconds: float


Step: TypeAlias = Send | Configure | Pause

Wake: TypeAlias = Literal["nul", "ident"]
"""What wakes a sleeping eye: zeros, or the request `/#1`; see `protocols.wakeup`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTimings:
    """Time limits of a request in seconds, and how often it is sent.

    response_timeout    from the end of the request to the first byte of the answer
    inter_byte_timeout  from byte to byte
    total_timeout       for the whole answer
    pause               between two tries
    tries               how often a request is sent before the poll fails
    wake                what is sent before each poll, None for meters that do not sleep

    The time that bytes need on the wire is not included.
    """

    response_timeout: float
    inter_byte_timeout: float
    total_timeout: float
    pause: float
    tries: int
    wake: Wake | None = None

    def send(self, data: bytes, *, expects_response: bool = True, expected_bytes: int = 0) -> Send:
        """Return a step that sends `data` with these time limits; see `Send`."""
        return Send(
            data=data,
            response_timeout=self.response_timeout,
            inter_byte_timeout=self.inter_byte_timeout,
            total_timeout=self.total_timeout,
            expects_response=expects_response,
            expected_bytes=expected_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRequest:
    """What to read in one poll.

    sources     the values to read
    identity    the sources that may hold the serial number, the best first; () to leave it out
    probe_only  send one request, once, to find out whether a silent meter answers again
    """

    sources: tuple[SourceId, ...]
    identity: tuple[SourceId, ...] = ()
    probe_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResponse:
    """What one poll returned.

    objects         everything that was read, identity included
    unsupported     requested sources that the meter left out of its answers
    failed_sources  requested sources of a request that got no answer while others did
    error           why that request got none
    learned         choices to remember for this meter, such as {"bcc": "sum"}
    """

    objects: tuple[DecodedValue, ...]
    unsupported: frozenset[SourceId] = frozenset()
    failed_sources: frozenset[SourceId] = frozenset()
    error: MeterError | None = None
    learned: Mapping[str, str] = field(default_factory=dict)


Conversation: TypeAlias = Generator[Step, Frame | None, PollResponse]


class Message(NamedTuple):
    """A decoded frame: its header fields (for `decode --json`) and its objects in order."""

    header: Mapping[str, Json]
    objects: tuple[DecodedValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Timestamp:
    """When a frame was received: UTC and monotonic time.

    `utc` is None while the host's clock cannot be right.
    """

    utc: datetime | None
    monotonic: float


class PushedReading(NamedTuple):
    """What to publish of a pushed message.

    objects        the values, corrected by what earlier messages showed
    measured_at    the UTC time that the registers among them belong to; None if it is not known
    same_sender    the sender is the same as for the previous message; then `learn` may run after
                   the values were published
    register_age   seconds since the registers were measured
    scale_trusted  the scale of the energy registers is known; if not, `objects` lacks them
    """

    objects: tuple[DecodedValue, ...]
    measured_at: datetime | None = None
    same_sender: bool = False
    register_age: float = 0.0
    scale_trusted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUpdate:
    """What a session learned from a pushed message.

    learned         everything to remember for this meter
    meter_replaced  another meter sent the message: forget what was remembered before
    notes           progress of the learning, in words, for the diagnostics
    problem         a fault that does not prevent readings, in words; None if there is none
    log             (level, text) of messages to log
    """

    learned: Mapping[str, str] = field(default_factory=dict)
    meter_replaced: bool = False
    notes: tuple[str, ...] = ()
    problem: str | None = None
    log: tuple[tuple[int, str], ...] = ()


class Codec(Protocol):
    """Decodes the frames of one meter. Made once per meter, with the options of that meter.

    Every codec takes two options: `learned`, what it said to remember, and `fast_path`, False to
    use its reference parser alone.
    """

    def framer(self) -> Framer:
        """Return a framer for a newly opened link."""

    def decode(self, frame: Frame) -> Message:
        """Decode a frame. Raises MeterError if its contents cannot be read."""


class PushedCodec(Codec, Protocol):
    """The codec of a meter that sends without being asked."""

    def accept_held(self) -> tuple[str | None, Mapping[str, str]]:
        """Accept the values that are held back, because the user confirmed them.

        Returns a description of them (None if there are none) and everything to remember.
        """

    def process(self, message: Message, received_at: Timestamp) -> PushedReading:
        """Return what to publish for a message, given the earlier ones.

        Slower learning is left to `learn`.
        """

    def learn(self) -> SessionUpdate:
        """Learn from the message that was processed last.

        Call it once for each message, before the next one is processed.
        """


class PolledCodec(Codec, Protocol):
    """The codec of a meter that is polled."""

    def poll(self, poll_request: PollRequest) -> Conversation:
        """Read the meter once.

        The conversation raises MeterError if nothing can be read.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """What to read of the log that a meter keeps.

    log      the period of its records ("hour", "day", "month", "year"), or its number
    sources  the values to read, the most important first; a protocol leaves out what does not fit
             into one request
    since    how far to read back, on the meter's clock (without zone)
    limit    the number of records to read at most
    """

    log: str | int
    sources: tuple[SourceId, ...]
    since: datetime
    limit: int


class LogRecord(Protocol):
    """One record of a meter's log."""

    @property
    def time(self) -> str | None:
        """When the meter wrote it, on its own clock: ISO 8601 without zone, perhaps a date alone.

        None if the record has no time.
        """

    @property
    def values(self) -> tuple[DecodedValue, ...]:
        """The recorded values, without clocks."""


class LogCursor(Protocol):
    """Reads a log backwards from its newest record, one request at a time."""

    is_done: bool

    @property
    def records(self) -> Sequence[LogRecord]:
        """The records read so far, the newest first."""

    def read_next(self) -> Generator[Step, Frame | None, None]:
        """Send the next request. Raises MeterError if the meter does not answer it."""


class LogReader(Protocol):
    """Reads the log of one meter. Each method is a short conversation; see `Step`."""

    def read_clock(self) -> Generator[Step, Frame | None, datetime]:
        """Return the meter's clock, without zone. Raises MeterError."""

    def open_log(self, query: LogQuery) -> Generator[Step, Frame | None, LogCursor]:
        """Find out what the log holds and return a cursor that has read nothing yet.

        Raises MeterError if the meter has no such log or the log holds none of the values.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSpec:
    """What the rest of the program knows of a protocol.

    name           its name in the configuration: kmp, kmp-ascii, iec62056-21, han
    title          its name for users
    serial         the line as it is opened (IEC 62056-21 makes 7E1 in software over 8N1)
    line_settings  the line as documents write it: "1200 8N2", "300 7E1"
    is_pushed      the meter sends without being asked; its codec is a PushedCodec
    make_codec     returns a codec (a PolledCodec unless pushed) for the options of a meter
    key_of         returns the public key of a source, None if the protocol's table has none
    parse_source   returns the source that a text in a configuration or on the command line names
                   ("0x3C" -> 60); raises ValueError with a message for the user
    fallback_key   returns the key of a source that has no public key
    timings        the defaults of a polled meter; None if pushed
    checksum       "crc16" or "weak" (LRC, 7-bit BCC): decides how many readings must agree
    log_reader     returns a LogReader for a codec; None if the protocol cannot read logs
    """

    name: str
    title: str
    serial: SerialParams
    line_settings: str
    is_pushed: bool
    make_codec: Callable[..., Codec]
    key_of: Callable[[SourceId], str | None]
    parse_source: Callable[[str], SourceId]
    fallback_key: Callable[[SourceId], str]
    checksum: Literal["crc16", "weak"]
    timings: PollTimings | None = None
    log_reader: Callable[..., LogReader] | None = None
