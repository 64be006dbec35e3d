"""Playing a recording: bytes at their times, responses to their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from kamstrup_mqtt.cli.replay.event_loop import START, ReplayClock, ReplayLoop
from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links.address import RecordedLine
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.links.recording.file_format import (
    Header,
    LineChange,
    ReceivedBytes,
    RecordedEvent,
    Recording,
    SentBytes,
)
from kamstrup_mqtt.links.recording.player import MATCH_WINDOW, MAX_WAIT, TAIL, Player

KMP = SerialParams(1200, stopbits=2)
HEAT = RecordedLine("heat")
T = TypeVar("T")


def recorded(*events: RecordedEvent, length: float = 10.0) -> Recording:
    header = Header(version="1", started=None, meters=({"id": "heat"},))
    return Recording(header=header, events=events, length=length, end="stopped", is_truncated=False)


def rx(at: float, data: bytes) -> ReceivedBytes:
    return ReceivedBytes(at=at, meter="heat", data=data)


def tx(at: float, data: bytes) -> SentBytes:
    return SentBytes(at=at, meter="heat", data=data)


def lost(at: float) -> LineChange:
    text = "the device is gone"
    return LineChange(at=at, meter="heat", event="lost", state=LinkState.PORT_MISSING, text=text)


def run_replay(work: Callable[[], Awaitable[T]]) -> T:
    with asyncio.Runner(loop_factory=lambda: ReplayLoop(ReplayClock(None))) as runner:
        return runner.run(work())  # type: ignore[arg-type]


def since() -> float:
    return round(asyncio.get_running_loop().time() - START, 6)


async def sleep_until(at: float) -> None:
    """Let the virtual time of the replay pass until `at` seconds after its start."""
    await asyncio.sleep(START + at - asyncio.get_running_loop().time())


def playing(*events: RecordedEvent, length: float = 10.0) -> tuple[Player, asyncio.Task[None]]:
    player = Player(recorded(*events, length=length), {"heat"}, START)
    return player, asyncio.create_task(player.play())


def test_pushed_bytes_arrive_in_their_pieces_at_their_times() -> None:
    async def work() -> None:
        player, task = playing(rx(1.5, b"ab"), rx(1.75, b"c"), rx(9.0, b"d"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        got = []
        while len(got) < 3:
            got.append((await link.read(), since()))
        assert got == [(b"ab", 1.5), (b"c", 1.75), (b"d", 9.0)]
        await task
        assert since() == 10.0 + TAIL
        line = player.stats["heat"]
        assert (line.recorded, line.received, line.matched, line.unmatched) == (4, 4, 0, 0)

    run_replay(work)
    assert TAIL > 2.5  # the idle timeout of a TCP link


def test_a_response_follows_its_request_after_the_recorded_delay() -> None:
    async def work() -> None:
        events = (tx(1.0, b"A"), rx(1.3, b"a1"), rx(1.4, b"a2"), tx(2.0, b"B"), rx(2.1, b"b"))
        player, task = playing(*events)
        link = await player.open(HEAT, KMP, open_timeout=1)
        await link.write(b"A")  # early: waits for its moment
        assert since() == 1.0
        assert (await link.read(), since()) == (b"a1", 1.3)
        assert (await link.read(), since()) == (b"a2", 1.4)
        await sleep_until(3.0)
        await link.write(b"B")  # late
        assert since() == 3.0
        assert (await link.read(), since()) == (b"b", 3.1)
        await task
        assert player.stats["heat"].matched == 2

    run_replay(work)


def test_a_repeated_request_gets_the_next_recorded_response() -> None:
    async def work() -> None:
        # the first request got no response and was repeated
        player, task = playing(tx(1.0, b"A"), tx(2.0, b"A"), rx(2.2, b"a"), tx(3.0, b"A"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        await link.write(b"A")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.read(), 0.9)
        await link.write(b"A")
        assert (await link.read(), since()) == (b"a", 2.2)
        await task

    run_replay(work)


def test_a_request_that_is_not_in_the_recording_is_logged_once(
    expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("gets no response")

    async def work() -> None:
        player, task = playing(tx(1.0, b"A"), tx(1.5, b"B"), rx(1.7, b"b"), tx(200.0, b"\x99"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        await link.write(b"\x80\x3f")
        await link.write(b"\x80\x3f")
        await link.write(b"\x99")  # recorded much later
        assert since() == 0.0
        await link.write(b"B")  # A is skipped
        assert (await link.read(), since()) == (b"b", 1.7)
        await link.write(b"A")  # its time is over
        await task
        await link.write(b"never")  # after the end: not counted
        line = player.stats["heat"]
        assert (line.matched, line.unmatched) == (1, 4)

    run_replay(work)
    warnings = [message for message in logged(30) if "gets no response" in message]
    assert len(warnings) == 1
    assert warnings[0].startswith("heat: ")
    assert warnings[0].endswith(": 80 3f")
    assert (MAX_WAIT, MATCH_WINDOW) == (20.0, 60.0)


def test_a_line_is_lost_and_restored_at_the_recorded_times() -> None:
    async def work() -> None:
        failed = LineChange(
            at=3.0, meter="heat", event="failed", state=LinkState.BUSY, text="taken"
        )
        back = LineChange(at=5.0, meter="heat", event="reopened")
        player, task = playing(rx(1.0, b"a"), lost(2.0), failed, back, rx(5.5, b"b"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        assert await link.read() == b"a"
        with pytest.raises(LinkError, match="the device is gone"):
            await link.read()
        assert since() == 2.0
        await link.close()
        with pytest.raises(LinkError, match="the device is gone"):
            await player.open(HEAT, KMP, open_timeout=1)
        await sleep_until(4.0)
        with pytest.raises(LinkError, match="taken") as caught:
            await player.open(HEAT, KMP, open_timeout=1)
        assert caught.value.state is LinkState.BUSY
        await sleep_until(7.0)
        # a pause longer than the recorded one loses no bytes
        link = await player.open(HEAT, KMP, open_timeout=1)
        assert (await link.read(), since()) == (b"b", 7.0)
        await task

    run_replay(work)


def test_a_port_that_could_not_be_opened_at_the_start() -> None:
    async def work() -> None:
        failed = LineChange(
            at=0.5, meter="heat", event="failed", state=LinkState.BUSY, text="taken"
        )
        player, task = playing(failed, LineChange(at=4.0, meter="heat", event="opened"))
        with pytest.raises(LinkError, match="taken"):
            await player.open(HEAT, KMP, open_timeout=1)
        await sleep_until(4.5)
        await player.open(HEAT, KMP, open_timeout=1)
        await task

    run_replay(work)


def test_the_end_waits_for_a_port_with_undelivered_bytes() -> None:
    async def work() -> float:
        player, task = playing(rx(1.0, b"a"))
        await sleep_until(30.0)
        assert not task.done()
        await player.open(HEAT, KMP, open_timeout=1)
        await task
        return since()

    assert run_replay(work) == 30.0


def test_the_end_waits_for_a_limited_time() -> None:
    async def work() -> float:
        _, task = playing(rx(1.0, b"a"))
        await task
        return since()

    assert run_replay(work) == 10.0 + 120.0


def test_a_response_to_a_closed_link_is_not_delivered_to_the_next() -> None:
    async def work() -> None:
        player, task = playing(tx(1.0, b"A"), rx(1.3, b"a"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        await link.write(b"A")
        await link.close()
        with pytest.raises(LinkError):
            await link.write(b"A")
        link = await player.open(HEAT, KMP, open_timeout=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.read(), 5)
        await task

    run_replay(work)


@pytest.mark.parametrize("link_kind", ["tcp", "serial"])
def test_the_line_settings_are_the_recorded_ones(link_kind: str) -> None:
    async def work() -> None:
        opened = LineChange(
            at=0.0,
            meter="heat",
            event="opened",
            params=KMP,
            link="tcp" if link_kind == "tcp" else "serial",
            idle_timeout=2.5,
        )
        player, task = playing(opened, tx(0.0, b"x" * 120))
        link = await player.open(HEAT, KMP, open_timeout=1)
        assert link.idle_timeout == 2.5
        assert link.params == KMP
        if link_kind == "tcp":
            with pytest.raises(MeterError, match="behind a bridge"):
                await link.set_baudrate(9600)
        else:
            await link.write(b"x" * 120)
            await link.set_baudrate(9600)
            assert since() == 1.1  # 120 characters of 11 bits at 1200 baud have left
            assert link.params == SerialParams(9600, stopbits=2)
        await task

    run_replay(work)


async def test_only_the_player_opens_a_recording() -> None:
    with pytest.raises(TypeError, match="the recording of heat is opened by the player"):
        await open_link(HEAT, KMP)
