"""Decodes optical readouts and conducts polls in modes A, B and C."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Literal

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, Json, LinkState
from kamstrup_mqtt.protocols.base import (
    Configure,
    Conversation,
    Frame,
    Message,
    Pause,
    PollRequest,
    PollResponse,
    PollTimings,
    Send,
    Step,
)
from kamstrup_mqtt.protocols.fast_path import iec62056_21 as templates
from kamstrup_mqtt.protocols.fast_path.layout import LayoutCache, TemplateDecoder
from kamstrup_mqtt.protocols.iec62056_21 import parity
from kamstrup_mqtt.protocols.iec62056_21.block_check import (
    BccOption,
    BccVote,
    header_fields,
    matching_rules,
)
from kamstrup_mqtt.protocols.iec62056_21.framing import P1_CRC, STX, IecFramer
from kamstrup_mqtt.protocols.iec62056_21.readout import (
    BAUD_B,
    BAUD_C,
    Ident,
    parse_data_sets,
    parse_ident,
)
from kamstrup_mqtt.protocols.wakeup import wake_up

ParityOption = Literal["software", "hardware"]

TIMINGS = PollTimings(
    response_timeout=3.0, inter_byte_timeout=2.0, total_timeout=60.0, pause=1.6, tries=2
)
BITS = 10
"""Bits of one character: start, seven data, parity, stop."""
WAKE_REST = 1.6
"""Seconds to wait between the zeros that wake a meter and the sign-on."""

_SILENT = (LinkState.NO_BYTES, LinkState.ECHO_ONLY)
_Talk = Generator[Step, Frame | None, Frame]


class IecCodec:
    """Decodes the readouts of one meter and reads it through its optical eye.

    address       in the sign-on, for several meters on one line; "" addresses any meter
    bcc           the rule of the check character; "auto" finds it out
    baudrate      the speed of the sign-on
    max_baudrate  a meter that offers a higher speed is read at the speed of the sign-on
    parity        "software": 7E1 over an 8N1 line; "hardware": the port does it
    timings       limits of each request
    reaction      seconds between identification and acknowledgement (200 ms to 1.5 s)
    learned       "bcc": "sum" | "xor", "sign_on": "lf" (the meter does not answer CR LF) | "crlf"
    fast_path     False to use the reference parser alone
    """

    def __init__(
        self,
        *,
        address: str = "",
        bcc: BccOption = "auto",
        baudrate: int = 300,
        parity: ParityOption = "software",
        timings: PollTimings = TIMINGS,
        reaction: float = 0.3,
        max_baudrate: int = 9600,
        learned: Mapping[str, str] | None = None,
        fast_path: bool = True,
    ) -> None:
        self._sign_on = f"/?{address}!".encode("ascii")
        self._start_baudrate = baudrate
        self._max_baudrate = max_baudrate
        self._software_parity = parity == "software"
        self._timings = timings
        self._reaction = reaction
        learned = learned or {}
        self._vote = BccVote(bcc, learned.get("bcc"))
        self._lf_only = learned.get("sign_on") == "lf"
        self._line_end_known = "sign_on" in learned
        self._fixed_speed = False  # a bridge controls the speed of the port
        self._baudrate = baudrate
        self._framer: IecFramer | None = None
        self._polled = False
        self._decode = _parse
        self._templates: LayoutCache[templates.ReadoutTemplate] | None = None
        if fast_path:
            decoder = TemplateDecoder(_parse, templates.make_template)
            self._decode, self._templates = decoder.decode, decoder.templates

    def framer(self) -> IecFramer:
        """Return a framer for a newly opened link, which has the speed of the sign-on again.

        Until `poll` is called it is a framer for recordings, without early identifications.
        """
        self._baudrate = self._start_baudrate
        self._fixed_speed = False
        self._framer = IecFramer(self._vote, templates=self._templates, early_ident=self._polled)
        return self._framer

    def decode(self, frame: Frame) -> Message:
        """Decode a frame of any kind; see `framing`. Raises MeterError for data without values."""
        return self._decode(frame)

    def poll(self, poll_request: PollRequest) -> Conversation:
        """Read the meter out: everything it sends is in the answer, whatever `poll_request` lists.

        Raises MeterError when no readout came.
        """
        self._polled = True
        if self._framer is not None:
            self._framer.early_ident = True
        return self._answer_request(
            poll_request, (yield from self._readout(poll_request.probe_only))
        )

    def _answer_request(self, poll_request: PollRequest, frame: Frame) -> PollResponse:
        objects = self.decode(frame).objects
        learned: dict[str, str] = {}
        if self._vote.learned is not None:
            learned["bcc"] = self._vote.learned
        if self._line_end_known:
            learned["sign_on"] = "lf" if self._lf_only else "crlf"
        came = {obj.id for obj in objects}
        return PollResponse(
            objects=objects,
            unsupported=frozenset(s for s in poll_request.sources if s not in came),
            learned=learned,
        )

    def _readout(self, probe_only: bool) -> _Talk:
        """The tries, and one with the other line end when none got a single byte; to `probe_only`,
        one alone. A meter that was silent is woken again."""
        yield from self._wake_up()
        for _ in range(0 if probe_only else self._timings.tries - 1):
            try:
                return (yield from self._session(self._lf_only))
            except MeterError as error:
                yield Pause(self._timings.pause)
                if error.state in _SILENT:
                    yield from self._wake_up()
        try:
            return (yield from self._session(self._lf_only))
        except MeterError as error:
            if probe_only or error.state not in _SILENT:
                raise
            silent = error
        yield Pause(self._timings.pause)
        try:
            frame = yield from self._session(not self._lf_only)
        except MeterError:
            raise silent from None
        self._lf_only = not self._lf_only
        self._line_end_known = True
        return frame

    def _wake_up(self) -> Generator[Step, Frame | None, None]:
        yield from wake_up(
            self._timings.wake, baudrate=self._start_baudrate, bits=BITS, pause=WAKE_REST
        )

    def _session(self, lf_only: bool) -> _Talk:
        """Sign on and read out. The line has the speed of the sign-on before and after."""
        yield from self._set_baudrate(self._start_baudrate)
        try:
            frame = yield self._send(self._sign_on + (b"\n" if lf_only else b"\r\n"))
            if frame is not None and frame.kind == "ident":
                frame = yield from self._continue_session(frame)
        except MeterError:
            yield from self._set_baudrate(self._start_baudrate)
            raise
        yield from self._set_baudrate(self._start_baudrate)
        if frame is None or frame.kind != "data":
            kind = "nothing" if frame is None else f"a frame of kind {frame.kind}"
            raise MeterError(
                LinkState.BYTES_NO_FRAMES,
                f"received {kind} instead of a readout: is there another reader on this line?",
            )
        return frame

    def _continue_session(self, frame: Frame) -> Generator[Step, Frame | None, Frame | None]:
        """Continue after the identification of a meter in mode B or C."""
        ident = _ident_of(frame.payload.decode("ascii"))
        assert ident is not None  # the framer parsed it
        if ident.mode == "B":
            yield from self._set_baudrate(BAUD_B.get(ident.baud_char, self._start_baudrate))
            return (yield self._send(b""))
        yield Pause(self._reaction)
        baudrate = yield from self._requested_baudrate(ident)
        if baudrate is None:
            # a baud character other than the meter's own keeps the speed
            return (yield self._send(b"\x06000\r\n"))
        acknowledge = f"\x060{ident.baud_char}0\r\n".encode("ascii")
        if baudrate == self._baudrate:
            return (yield self._send(acknowledge))
        yield self._send(acknowledge, expects_response=False)
        yield from self._set_baudrate(baudrate)
        return (yield self._send(b""))

    def _requested_baudrate(self, ident: Ident) -> Generator[Step, Frame | None, int | None]:
        """Return the speed to change to, None to keep it."""
        baudrate = BAUD_C.get(ident.baud_char)
        if baudrate is None or baudrate > self._max_baudrate or baudrate == self._baudrate:
            return baudrate if baudrate == self._baudrate else None
        if not self._fixed_speed:
            try:
                # find out whether a bridge refuses, before the meter changes its speed
                yield Configure(self._baudrate)
            except MeterError:
                self._fixed_speed = True
        return None if self._fixed_speed else baudrate

    def _set_baudrate(self, baudrate: int) -> Generator[Step, Frame | None, None]:
        if baudrate == self._baudrate:
            return
        try:
            yield Configure(baudrate)
        except MeterError:
            self._fixed_speed = True
            raise
        self._baudrate = baudrate

    def _send(self, text: bytes, *, expects_response: bool = True) -> Send:
        data = parity.with_parity(text) if self._software_parity else text
        return self._timings.send(data, expects_response=expects_response)


def _parse(frame: Frame) -> Message:
    """Decode a frame: the reference parser."""
    text = frame.payload.decode("ascii")
    header: dict[str, Json] = {"direction": frame.direction, "kind": frame.kind}
    if frame.kind == "data":
        return _decode_data(header, frame, text)
    if frame.kind == "ident":
        ident = _ident_of(text)
        return Message({**header, **_ident_header(ident)}, ident.objects() if ident else ())
    if frame.kind == "ack":
        return Message({**header, "protocol": text[1], "baud_char": text[2], "option": text[3]})
    if frame.kind == "command":
        return Message({**header, "text": text[1:-2].replace("\x02", " ")})
    return Message({**header, "text": text.rstrip("\r\n")})


def _ident_of(payload: str) -> Ident | None:
    """Return the identification at the start of a payload. None if it has none."""
    return parse_ident(payload.splitlines()[0])


def _ident_header(ident: Ident | None) -> dict[str, Json]:
    if ident is None:
        return {}
    return {
        "manufacturer": ident.manufacturer,
        "ident": ident.text,
        "mode": ident.mode,
        "baud_char": ident.baud_char,
    }


def _decode_data(header: dict[str, Json], frame: Frame, text: str) -> Message:
    ident = _ident_of(text)
    header |= _ident_header(ident)
    start = text.find(chr(STX))
    if start < 0:
        crc = P1_CRC.search(frame.payload) is not None  # the framer verified it
        header |= {"mode": "D", "bcc": "crc16" if crc else "none"}
        block = text[len(text.splitlines()[0]) :]
    else:
        header |= header_fields(matching_rules(frame.payload[start + 1 :]))
        block = text[start + 1 : -2]
    objects: tuple[DecodedValue, ...] = tuple(parse_data_sets(block))
    if not objects:
        raise MeterError(LinkState.BYTES_NO_FRAMES, f"no values in the readout: {text!r}")
    return Message(header, (*(ident.objects() if ident else ()), *objects))
