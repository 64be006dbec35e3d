"""A recording played on links: bytes at their times, answers to what was asked."""

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
from kamstrup_mqtt.links.recording.file_format import Event, Header, Line, Received, Recording, Sent
from kamstrup_mqtt.links.recording.player import AFTER, AHEAD, EARLY, Player

KMP = SerialParams(1200, stopbits=2)
HEAT = RecordedLine("heat")
T = TypeVar("T")


def recorded(*events: Event, length: float = 10.0) -> Recording:
    header = Header(version="1", started=None, meters=({"id": "heat"},))
    return Recording(header=header, events=events, length=length, end="stopped", cut=False)


def rx(at: float, data: bytes) -> Received:
    return Received(at=at, meter="heat", data=data)


def tx(at: float, data: bytes) -> Sent:
    return Sent(at=at, meter="heat", data=data)


def lost(at: float) -> Line:
    text = "the device is gone"
    return Line(at=at, meter="heat", event="lost", state=LinkState.PORT_MISSING, text=text)


def played(work: Callable[[], Awaitable[T]]) -> T:
    with asyncio.Runner(loop_factory=lambda: ReplayLoop(ReplayClock(None))) as runner:
        return runner.run(work())  # type: ignore[arg-type]


def since() -> float:
    return round(asyncio.get_running_loop().time() - START, 6)


def playing(*events: Event, length: float = 10.0) -> tuple[Player, asyncio.Task[None]]:
    player = Player(recorded(*events, length=length), {"heat"}, START)
    return player, asyncio.create_task(player.play())


def test_what_a_meter_pushed_comes_in_its_pieces_at_its_times() -> None:
    async def work() -> None:
        player, task = playing(rx(1.5, b"ab"), rx(1.75, b"c"), rx(9.0, b"d"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        got = []
        while len(got) < 3:
            got.append((await link.read(), since()))
        assert got == [(b"ab", 1.5), (b"c", 1.75), (b"d", 9.0)]
        await task
        assert since() == 10.0 + AFTER
        line = player.played["heat"]
        assert (line.recorded, line.received, line.answered, line.differing) == (4, 4, 0, 0)

    played(work)
    assert AFTER > 2.5  # the silence of a TCP line


def test_an_answer_comes_when_its_request_is_sent_and_takes_as_long() -> None:
    async def work() -> None:
        events = (tx(1.0, b"A"), rx(1.3, b"a1"), rx(1.4, b"a2"), tx(2.0, b"B"), rx(2.1, b"b"))
        player, task = playing(*events)
        link = await player.open(HEAT, KMP, open_timeout=1)
        await link.write(b"A")  # early: waits for its moment
        assert since() == 1.0
        assert (await link.read(), since()) == (b"a1", 1.3)
        assert (await link.read(), since()) == (b"a2", 1.4)
        await asyncio.sleep(1.6)
        await link.write(b"B")  # late
        assert since() == 3.0
        assert (await link.read(), since()) == (b"b", 3.1)
        await task
        assert player.played["heat"].answered == 2

    played(work)


def test_the_same_request_again_gets_the_next_of_its_answers() -> None:
    async def work() -> None:
        # the first was answered with silence, and tried again
        player, task = playing(tx(1.0, b"A"), tx(2.0, b"A"), rx(2.2, b"a"), tx(3.0, b"A"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        await link.write(b"A")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.read(), 0.9)
        await link.write(b"A")
        assert (await link.read(), since()) == (b"a", 2.2)
        await task

    played(work)


def test_a_request_that_was_not_recorded_is_named_once(
    expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("is answered with silence")

    async def work() -> None:
        player, task = playing(tx(1.0, b"A"), tx(1.5, b"B"), rx(1.7, b"b"), tx(200.0, b"\x99"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        await link.write(b"\x80\x3f")
        await link.write(b"\x80\x3f")
        await link.write(b"\x99")  # was asked far too much later
        assert since() == 0.0
        await link.write(b"B")  # A is left out, B is there
        assert (await link.read(), since()) == (b"b", 1.7)
        await link.write(b"A")  # over
        await task
        await link.write(b"never")  # behind the end: no fault
        line = player.played["heat"]
        assert (line.answered, line.differing) == (1, 4)

    played(work)
    named = [message for message in logged(30) if "silence" in message]
    assert len(named) == 1
    assert named[0].startswith("heat: ")
    assert named[0].endswith(": 80 3f")
    assert (EARLY, AHEAD) == (20.0, 60.0)


def test_a_line_is_lost_and_back_when_it_was() -> None:
    async def work() -> None:
        failed = Line(at=3.0, meter="heat", event="failed", state=LinkState.BUSY, text="taken")
        back = Line(at=5.0, meter="heat", event="reopened")
        player, task = playing(rx(1.0, b"a"), lost(2.0), failed, back, rx(5.5, b"b"))
        link = await player.open(HEAT, KMP, open_timeout=1)
        assert await link.read() == b"a"
        with pytest.raises(LinkError, match="the device is gone"):
            await link.read()
        assert since() == 2.0
        await link.close()
        with pytest.raises(LinkError, match="the device is gone"):
            await player.open(HEAT, KMP, open_timeout=1)
        await asyncio.sleep(2)
        with pytest.raises(LinkError, match="taken") as caught:
            await player.open(HEAT, KMP, open_timeout=1)
        assert caught.value.state is LinkState.BUSY
        await asyncio.sleep(3)
        # the daemon's own pause was longer than then: nothing is lost
        link = await player.open(HEAT, KMP, open_timeout=1)
        assert (await link.read(), since()) == (b"b", 7.0)
        await task

    played(work)


def test_a_port_that_was_shut_from_the_start() -> None:
    async def work() -> None:
        failed = Line(at=0.5, meter="heat", event="failed", state=LinkState.BUSY, text="taken")
        player, task = playing(failed, Line(at=4.0, meter="heat", event="opened"))
        with pytest.raises(LinkError, match="taken"):
            await player.open(HEAT, KMP, open_timeout=1)
        await asyncio.sleep(4.5)
        await player.open(HEAT, KMP, open_timeout=1)
        await task

    played(work)


def test_the_end_waits_for_a_port_that_still_has_bytes() -> None:
    async def work() -> float:
        player, task = playing(rx(1.0, b"a"))
        await asyncio.sleep(30)
        assert not task.done()
        await player.open(HEAT, KMP, open_timeout=1)
        await task
        return since()

    assert played(work) == 30.0


def test_the_end_does_not_wait_for_ever() -> None:
    async def work() -> float:
        _, task = playing(rx(1.0, b"a"))
        await task
        return since()

    assert played(work) == 10.0 + 120.0


def test_an_answer_to_who_has_left_is_not_kept_for_the_next() -> None:
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

    played(work)


@pytest.mark.parametrize("link_kind", ["tcp", "serial"])
def test_line_settings_as_then(link_kind: str) -> None:
    async def work() -> None:
        opened = Line(
            at=0.0,
            meter="heat",
            event="opened",
            params=KMP,
            link="tcp" if link_kind == "tcp" else "serial",
            silence=2.5,
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

    played(work)


async def test_only_the_player_opens_a_recording() -> None:
    with pytest.raises(TypeError, match="the recording of heat is opened by the player"):
        await open_link(HEAT, KMP)
