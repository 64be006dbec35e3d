"""The contract of a protocol.

The bytes of a line go into a `Framer`, which cuts them into `Frame`s and says of the rest why it
was `DroppedBytes`. A `Codec` reads a frame (`decode`) and, for meters that are polled, holds the
conversation: a generator that yields what to do on the line (`Send`, `Configure`, `Pause`), is
sent the frame that came, and returns what was read. Nothing here knows what a port is, so a
conversation is tested without one.
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
    PARITY = "parity"  # what a line of 8N1 looks like that is read as 8E1
    M_BUS = "m_bus"  # a telegram of a wired M-Bus
    P1 = "p1"  # a telegram of a P1 port (DSMR)


class Frame(NamedTuple):
    """One whole frame whose checksum is right.

    raw         as on the wire, from the start to the stop byte
    payload     what is between, unstuffed, without checksum
    direction   "request" (to the meter; on our own line: an echo), "answer" or "push"
    kind        what sort of frame, where a protocol has several ("ack", "ident", "data")
    """

    raw: bytes
    payload: bytes
    direction: Literal["request", "answer", "push"]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class DroppedBytes:
    """Bytes that did not become a frame; the stream goes on."""

    reason: DropReason
    raw: bytes


Event: TypeAlias = Frame | DroppedBytes


class Framer(Protocol):
    """Cuts a byte stream into frames. Takes any split; its buffer has a bound.

    `parity_errors` counts characters with a wrong parity bit where parity is checked in software;
    0 otherwise.
    """

    parity_errors: int

    @property
    def bytes_needed(self) -> int:
        """Bytes that must still come before there can be another event; 0: nobody can say."""

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream."""

    def next_event(self) -> Event | None:
        """The next frame or drop, None when more bytes are needed."""

    def end_burst(self) -> None:
        """The line was quiet: what is incomplete now becomes a DroppedBytes (by next_event)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Write `data` in one call, then wait for an answer frame, which is sent into the generator.

    Limits in seconds: `response_timeout` from the end of our last byte to the first byte that is
    not our echo, `inter_byte_timeout` from byte to byte, `total_timeout` for the whole answer. The
    time that `data` itself needs on the wire is added by whoever carries this out. When no good
    frame comes, a MeterError with the reason is thrown into the generator. `expects_response`
    False: nothing is awaited, and None is sent in once the bytes have left. `expected_bytes`: how
    many bytes the answer has; the time that they need on the wire is added to `response_timeout`
    and `total_timeout`.

    Empty `data`: nothing is written and nothing that came is discarded, only the (next) answer is
    awaited (IEC 62056-21 after a change of speed).
    """

    data: bytes
    response_timeout: float
    inter_byte_timeout: float
    total_timeout: float
    expects_response: bool = True
    expected_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Configure:
    """Change the baud rate once everything written has left the port; None is sent in.

    Where the rate belongs to a TCP bridge a MeterError is thrown in.
    """

    baudrate: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Leave the line alone for this many seconds (what comes meanwhile is discarded)."""

    seconds: float


Step: TypeAlias = Send | Configure | Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRequest:
    """What one poll wants: the objects of `sources`, and with `identity` also who the meter is.

    `identity` lists where the serial number may stand, the best first; () = not wanted now.
    `probe_only`: the meter was mute last time: one request, sent once, shows whether it still is.
    """

    sources: tuple[SourceId, ...]
    identity: tuple[SourceId, ...] = ()
    probe_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResponse:
    """What one poll brought.

    objects      everything that was read, identity included
    unsupported  what the meter answered without, though asked
    learned      choices to remember for this meter (such as {"bcc": "sum"})
    failed_sources  sources of requests that got no answer while others did ...
    error        ... and why they got none
    """

    objects: tuple[DecodedValue, ...]
    unsupported: frozenset[SourceId] = frozenset()
    failed_sources: frozenset[SourceId] = frozenset()
    error: MeterError | None = None
    learned: Mapping[str, str] = field(default_factory=dict)


Conversation: TypeAlias = Generator[Step, Frame | None, PollResponse]


class Message(NamedTuple):
    """A frame read: its header fields (for `decode --json`) and its objects in the order sent."""

    header: Mapping[str, Json]
    objects: tuple[DecodedValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Timestamp:
    """When a frame came: UTC (None while the host's clock cannot be right) and monotonic time."""

    utc: datetime | None
    monotonic: float


class PushedReading(NamedTuple):
    """What to publish of a pushed message.

    objects        as they are published, in the light of the messages before
    measured_at    UTC of the moment that the registers among them belong to; None: not known
    same_sender    the meter is the one that sent the last message, so what else follows from this
                   one (`SessionUpdate`) has no part in how its values are judged and may be asked
                   for once they are published
    register_age   seconds since the moment that the registers belong to
    scale_trusted  it is known what a count of the energy registers is worth; if it is not, they
                   are missing from the objects
    """

    objects: tuple[DecodedValue, ...]
    measured_at: datetime | None = None
    same_sender: bool = False
    register_age: float = 0.0
    scale_trusted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUpdate:
    """What else follows from a pushed message.

    learned   everything to remember for this meter; `meter_replaced`: nothing of what was
              remembered before holds, this is another meter
    notes     how the learning goes, in words, for the diagnostics
    problem   what is wrong though readings come, in words
    log       (level, text), for the log
    """

    learned: Mapping[str, str] = field(default_factory=dict)
    meter_replaced: bool = False
    notes: tuple[str, ...] = ()
    problem: str | None = None
    log: tuple[tuple[int, str], ...] = ()


class Codec(Protocol):
    """One meter's side of a protocol, made once per meter with its options.

    A new `framer()` is taken each time a link is opened. `decode` raises MeterError for a frame
    whose contents cannot be read.
    """

    def framer(self) -> Framer: ...

    def decode(self, frame: Frame) -> Message: ...


class PushedCodec(Codec, Protocol):
    """A codec of a meter that sends by itself."""

    def accept_held(self) -> tuple[str | None, Mapping[str, str]]:
        """Accept the values held back, on the user's word. Return a description of them (None if
        there were none) and the state to save."""

    def process(self, message: Message, received_at: Timestamp) -> PushedReading:
        """Return what to publish for a message received at `received_at`, given the earlier ones.
        Slower learning is left to `learn`."""

    def learn(self) -> SessionUpdate:
        """Learn from the message processed last; call it once for each, before the next one."""


class PolledCodec(Codec, Protocol):
    """A codec of a meter that must be asked."""

    def poll(self, poll_request: PollRequest) -> Conversation: ...


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

    name        as in the configuration: kmp, kmp-ascii, iec62056-21, han
    serial      the line as the program opens it (IEC 62056-21 does 7E1 itself over 8N1)
    line_settings  the line as the documents write it: "1200 8N2", "300 7E1"
    is_pushed   the meter sends by itself; its codec has no `poll`
    make_codec  makes a Codec (PolledCodec unless pushed) from the options of a configured meter
    key_of      source -> public key of the quantity, None when the protocol's table has none
    parse_source  the source that a number or text in a configuration or on the command line
                names ("0x3C" -> 60); raises ValueError with a message for the user
    checksum    "crc16" or "weak" (LRC, 7-bit BCC): how many agreeing values the guard asks for
    log_reader  makes a LogReader from a meter's codec; None if the protocol cannot read logs
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
    log_reader: Callable[..., LogReader] | None = None
