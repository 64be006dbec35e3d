"""Conversations on a line that misbehaves. The frames are the examples of Kamstrup 5512-447."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.protocols.base import (
    Configure,
    Conversation,
    DroppedBytes,
    Frame,
    Pause,
    PollResponse,
    Send,
)
from kamstrup_mqtt.protocols.han.framing import HdlcFramer
from kamstrup_mqtt.protocols.kmp.framing import KmpFramer
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.frame_listener import FrameListener, listen
from kamstrup_mqtt.reading.frame_stream import format_bytes
from tests.support.han_recordings import LIVE_1

GET_SERIAL = bytes.fromhex("80 3F 02 35 E9 0D")
SERIAL = bytes.fromhex("40 3F 02 01 23 45 67 E9 56 0D")
DAMAGED = bytes.fromhex("40 3F 02 01 23 45 67 E9 57 0D")
LOG = logging.getLogger("kamstrup_mqtt.meter.test")


class Line(Link):
    """A line whose other end is a function of what is written. Bytes arrive one by one."""

    idle_timeout = 0.02

    def __init__(self, *answers: bytes, bytewise: bool = True) -> None:
        self.params = SerialParams(1_000_000)
        self.answers = list(answers)
        self.bytewise = bytewise
        self.written: list[bytes] = []
        self.done: list[str] = []
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def come(self, data: bytes) -> None:
        for piece in [data[i : i + 1] for i in range(len(data))] if self.bytewise else [data]:
            self.queue.put_nowait(piece)

    async def read(self) -> bytes:
        data = await self.queue.get()
        if data == b"LOST":
            raise LinkError(LinkState.PORT_MISSING, "gone")
        return data

    async def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.answers:
            self.come(self.answers.pop(0))

    async def drain(self) -> None:
        self.done.append("drain")

    async def set_baudrate(self, baudrate: int) -> None:
        if baudrate == 1:
            raise MeterError(LinkState.REFUSED, "belongs to the bridge")
        self.done.append(f"baud {baudrate}")

    def discard_input(self) -> bytes:
        old = b""
        while not self.queue.empty():
            old += self.queue.get_nowait()
        return old

    def wire_time(self, count: int) -> float:
        return 0.0

    async def close(self) -> None:
        pass


def send(data: bytes = GET_SERIAL, *, answer: bool = True, first_byte: float = 0.05) -> Send:
    return Send(
        data=data,
        response_timeout=first_byte,
        inter_byte_timeout=0.02,
        total_timeout=1.0,
        expects_response=answer,
    )


def conversation(*steps: Send | Configure | Pause, got: list[object]) -> Conversation:
    for step in steps:
        try:
            got.append((yield step))
        except MeterError as error:
            got.append(error)
    return PollResponse(objects=())


async def hold(line: Line, *steps: Send | Configure | Pause) -> tuple[list[object], Counters]:
    got: list[object] = []
    counters = Counters()
    exchange = ConversationRunner(line, KmpFramer(), counters, LOG)
    assert await exchange.run(conversation(*steps, got=got)) == PollResponse(objects=())
    return got, counters


@pytest.mark.parametrize("bytewise", [True, False])
@pytest.mark.parametrize(
    ("answer", "echoes", "dropped"),
    [
        (SERIAL, 0, 0),
        (GET_SERIAL + SERIAL, 1, 0),  # an optical head that reflects
        (GET_SERIAL + GET_SERIAL + SERIAL, 2, 0),
        (b"\xff" + GET_SERIAL + SERIAL, 1, 1),  # noise in front of the echo
        (GET_SERIAL[:3] + SERIAL, 0, 1),  # an echo that was cut off
        (GET_SERIAL[:3] + b"\xff" + GET_SERIAL[4:] + SERIAL, 0, 1),  # a damaged one
        (b"\x11\xff" + SERIAL + b"\x11", 0, 1),
        (DAMAGED + SERIAL, 0, 1),
    ],
)
async def test_a_response_is_found_among_noise_and_echoes(
    answer: bytes, echoes: int, dropped: int, bytewise: bool
) -> None:
    line = Line(answer, bytewise=bytewise)
    (frame,), counters = await hold(line, send())
    assert isinstance(frame, Frame)
    assert frame.raw == SERIAL
    assert line.written == [GET_SERIAL]
    assert (counters.echoes, counters.dropped) == (echoes, dropped)
    assert counters.frames == 1


@pytest.mark.parametrize(
    ("answer", "state", "part", "timeouts"),
    [
        (b"", LinkState.NO_BYTES, "nothing came back", 1),
        (GET_SERIAL, LinkState.ECHO_ONLY, "only the echo of our request came back", 1),
        (DAMAGED, LinkState.CHECKSUM, "checksum is wrong", 0),
        (GET_SERIAL + DAMAGED, LinkState.CHECKSUM, "40 3f 02 01 23 45 67 e9 57 0d", 0),
        (b"\xff\x11\xfe", LinkState.BYTES_NO_FRAMES, "3 bytes came", 0),
        (b"\x11", LinkState.BYTES_NO_FRAMES, "1 byte came", 0),
        (SERIAL[:5], LinkState.BYTES_NO_FRAMES, "truncated", 0),
        (GET_SERIAL[:3], LinkState.BYTES_NO_FRAMES, "truncated", 0),
        (b"\x11" * 100, LinkState.BYTES_NO_FRAMES, "...", 0),
    ],
)
async def test_the_reason_why_no_response_came(
    answer: bytes, state: LinkState, part: str, timeouts: int
) -> None:
    (error,), counters = await hold(Line(answer), send())
    assert isinstance(error, MeterError)
    assert error.state is state
    assert part in str(error)
    assert counters.timeouts == timeouts
    assert counters.frames == 0


async def test_noise_does_not_end_the_wait_for_the_first_byte() -> None:
    line = Line(b"\x11")
    asyncio.get_running_loop().call_later(0.1, line.come, SERIAL)
    (frame,), _ = await hold(line, send(first_byte=0.5))
    assert isinstance(frame, Frame)


async def test_an_endless_response_has_a_time_limit() -> None:
    line = Line()
    loop = asyncio.get_running_loop()

    def babble() -> None:
        line.come(b"\x11")
        loop.call_later(0.005, babble)

    babble()
    step = Send(data=GET_SERIAL, response_timeout=0.05, inter_byte_timeout=0.05, total_timeout=0.15)
    start = loop.time()
    (error,), _ = await hold(line, step)
    assert isinstance(error, MeterError)
    assert 0.15 <= loop.time() - start < 1.0


async def test_a_flood_of_bytes_is_not_kept() -> None:
    line = Line(b"\x11" * 100_000, bytewise=False)
    exchange = ConversationRunner(line, KmpFramer(), Counters(), LOG)
    got: list[object] = []
    await exchange.run(conversation(send(), got=got))
    assert isinstance(got[0], MeterError)
    assert len(exchange.received) == 65536
    # 100000 are 390 pieces of 256 and one of 160, of which the last 256 are kept
    assert str(got[0]).startswith("65440 bytes came")


async def test_input_from_before_the_request_is_no_response() -> None:
    line = Line()
    line.come(SERIAL + SERIAL[:4])
    (error,), counters = await hold(line, send())
    assert isinstance(error, MeterError)
    assert error.state is LinkState.NO_BYTES
    assert counters.frames == 0


async def test_a_step_without_data_waits_for_the_next_response() -> None:
    line = Line(SERIAL + SERIAL)
    frames, _ = await hold(line, send(), send(b""))
    assert [frame.raw for frame in frames if isinstance(frame, Frame)] == [SERIAL, SERIAL]
    assert line.written == [GET_SERIAL]


async def test_a_request_without_response_is_drained() -> None:
    line = Line(SERIAL)
    got, _ = await hold(line, send(answer=False))
    assert got == [None]
    assert line.done == ["drain"]


async def test_speed_and_pause() -> None:
    line = Line()
    line.come(SERIAL)
    got, _ = await hold(line, Configure(9600), Pause(0.0), Configure(1))
    assert line.done == ["baud 9600"]
    assert got[:2] == [None, None]
    assert isinstance(got[2], MeterError)
    assert line.queue.empty()  # the pause threw away what came


async def test_a_lost_line_ends_the_conversation() -> None:
    line = Line(b"LOST", bytewise=False)
    closed = []

    def talk() -> Conversation:
        try:
            yield send()
        finally:
            closed.append(True)
        return PollResponse(objects=())

    with pytest.raises(LinkError):
        await ConversationRunner(line, KmpFramer(), Counters(), LOG).run(talk())
    assert closed


async def test_an_error_that_the_conversation_does_not_catch_is_raised() -> None:
    def talk() -> Conversation:
        yield send()
        return PollResponse(objects=())

    exchange = ConversationRunner(Line(SERIAL[:3]), KmpFramer(), Counters(), LOG)
    with pytest.raises(MeterError):
        await exchange.run(talk())
    assert exchange.request_sent
    assert exchange.got_response
    assert exchange.received == SERIAL[:3]


async def test_an_echo_is_logged_once(logged: Callable[[int], list[str]]) -> None:
    await hold(Line(GET_SERIAL + SERIAL, GET_SERIAL + SERIAL), send(), send())
    reports = [message for message in logged(logging.INFO) if "echo" in message]
    assert len(reports) == 1
    assert "lower the sensitivity of the head" in reports[0]


async def test_traffic_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    await hold(Line(SERIAL, bytewise=False), send())
    assert "-> 80 3f 02 35 e9 0d" in caplog.messages
    assert "<- answer, checksum right: 40 3f 02 01 23 45 67 e9 56 0d" in caplog.messages
    await hold(Line(GET_SERIAL + DAMAGED), send())
    assert "<- our own request (an echo)" in caplog.messages
    assert "<- dropped (checksum): 40 3f 02 01 23 45 67 e9 57 0d" in caplog.messages


def test_text_is_logged_beside_hex() -> None:
    # `/?!` CR LF with even parity in bit 7 (IEC 62056-21 over an 8N1 line)
    assert format_bytes(bytes.fromhex("AF 3F 21 8D 0A")) == r"af 3f 21 8d 0a '/?!\r\n'"
    assert format_bytes(bytes.fromhex("7E A0 00")) == "7e a0 00"
    assert format_bytes(b"") == ""


async def test_the_announced_seconds_cover_the_waits() -> None:
    promises: list[float] = []
    got: list[object] = []
    exchange = ConversationRunner(
        Line(SERIAL), KmpFramer(), Counters(), LOG, will_act=promises.append
    )
    await exchange.run(conversation(send(), Pause(0.01), Configure(300), got=got))
    assert promises == [2.0, 0.01, 10.0]


async def test_listening() -> None:
    line = Line()
    line.come(SERIAL + DAMAGED + SERIAL[:4])
    counters = Counters()
    events = []
    async for event in listen(line, KmpFramer(), counters, LOG, idle_check=0.01):
        events.append(event)
        if sum(isinstance(event, DroppedBytes) for event in events) == 2:
            break
    frame, damaged, *ticks, truncated = events
    assert isinstance(frame, Frame)
    assert isinstance(damaged, DroppedBytes)
    assert isinstance(truncated, DroppedBytes)
    assert truncated.raw == SERIAL[:4]
    assert ticks
    assert set(ticks) == {None}
    assert (counters.frames, counters.dropped) == (1, 2)


async def test_a_listener_knows_when_bytes_came() -> None:
    line = Line()
    listener = FrameListener(line, KmpFramer(), Counters(), LOG, idle_check=0.01)
    started = listener.last_byte
    events = listener.events()
    assert await anext(events) is None
    assert listener.last_byte == started
    line.come(b"\x11")
    assert await anext(events) is None
    assert listener.last_byte > started
    assert listener.last_frame == started
    await events.aclose()


class Quiet(Line):
    """A line that says when bytes came, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__(bytewise=False)
        self.expected: list[int] = []
        self.listened = 0

    def start_continuous(self) -> None:
        self.listened += 1

    def expect_bytes(self, count: int) -> None:
        self.expected.append(count)


async def test_a_listener_tells_the_link_how_many_bytes_it_needs() -> None:
    line = Quiet()
    listener = FrameListener(line, HdlcFramer(), Counters(), LOG, idle_check=5.0)
    events = listener.events()
    line.come(LIVE_1[:40])
    line.come(LIVE_1[40:])
    assert isinstance(await anext(events), Frame)
    assert line.expected == [0, len(LIVE_1) - 40]
    assert line.listened == 1
    await events.aclose()


async def test_a_listener_yields_at_its_wake_up_time() -> None:
    line = Quiet()
    listener = FrameListener(line, HdlcFramer(), Counters(), LOG, idle_check=60.0)
    events = listener.events()
    listener.wake_at = asyncio.get_running_loop().time() + 0.01
    assert await asyncio.wait_for(anext(events), 5) is None
    assert asyncio.get_running_loop().time() >= listener.wake_at
    await events.aclose()


async def test_buffered_bytes_belong_to_the_burst_that_a_silence_ends() -> None:
    """The rest of the frame never comes: what came of it is dropped as a whole."""
    line = Quiet()
    line.last_byte = 0.0
    listener = FrameListener(line, HdlcFramer(), Counters(), LOG, idle_check=60.0)
    events = listener.events()
    line.come(LIVE_1[:40])

    def held_back() -> bytes:
        return LIVE_1[40:100]

    line.discard_input = held_back  # type: ignore[method-assign]
    assert await asyncio.wait_for(anext(events), 5) is None
    dropped = await asyncio.wait_for(anext(events), 5)
    assert isinstance(dropped, DroppedBytes)
    assert dropped.raw == LIVE_1[:100]
    await events.aclose()


async def test_control_is_yielded_between_two_frames_that_came_together() -> None:
    turns: list[int] = []

    async def turn() -> None:
        turns.append(len(got))

    line = Quiet()
    listener = FrameListener(
        line, HdlcFramer(), Counters(), LOG, idle_check=60.0, yield_control=turn
    )
    events = listener.events()
    line.come(LIVE_1 * 3)
    got: list[object] = []
    for _ in range(3):
        got.append(await anext(events))
    assert turns == [1, 2]
    await events.aclose()
