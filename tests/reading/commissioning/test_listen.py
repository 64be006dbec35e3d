"""The engine of `listen`: lists, drops and verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

import pytest

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.emulators.han import make
from kamstrup_mqtt.emulators.parity_fault import misread_as_8e1
from kamstrup_mqtt.protocols.base import Timestamp
from kamstrup_mqtt.protocols.han import HanCodec
from kamstrup_mqtt.reading.commissioning.listen import (
    LineFault,
    ListDropped,
    ListenEvent,
    ListenSession,
    ListenStarted,
    ListenVerdict,
    ListReceived,
)
from tests.support.emulated_meter import emulated_meter
from tests.support.framing import events_of
from tests.support.han_recordings import LIVE_1

KEY = bytes(range(16))
KEYS = {"encryption_key": KEY.hex(), "authentication_key": KEY[::-1].hex()}


def encrypted_list(counter: int) -> bytes:
    """A list as an emulated meter encrypts it."""
    return pushed_list({**KEYS, "frame_counter": str(counter)})


def pushed_list(settings: Mapping[str, str]) -> bytes:
    meter = make("kamstrup_han_3phase", settings)
    return meter.push(datetime(2026, 1, 1, 12, 0, 30))  # noqa: DTZ001


def feed(session: ListenSession, wire: bytes, *, elapsed: float = 0.0) -> list[ListenEvent]:
    """The events of the session when these bytes arrive and the line is silent afterwards."""
    return [
        result
        for event in events_of(HanCodec().framer(), [wire])
        for result in session.handle(event, Timestamp(None, 0.0), elapsed)
    ]


def test_a_list_is_decoded_and_counted() -> None:
    session = ListenSession(HanCodec(energy_scale=10))
    (event,) = feed(session, LIVE_1, elapsed=60.0)
    assert isinstance(event, ListReceived)
    assert event.raw == LIVE_1
    assert event.header["maker"] == "kamstrup"
    # 1.7.0 of the recorded list, as its poster's meter showed it
    assert {obj.id: obj.value for obj in event.objects}["1-1:1.7.0.255"] == 2824
    assert (session.lists, session.bytes, session.drops) == (1, len(LIVE_1), {})
    assert session.summary() == "1 lists, dropped: nothing"


def test_a_damaged_list_is_dropped_with_its_reason() -> None:
    session = ListenSession(HanCodec())
    wire = LIVE_1[:50] + b"\x55" + LIVE_1[51:]
    (event,) = feed(session, wire)
    assert event == ListDropped(wire, "checksum")
    assert session.summary() == "0 lists, dropped: 1 checksum"


def test_a_frame_that_cannot_be_decrypted_does_not_suggest_parity() -> None:
    session = ListenSession(HanCodec(), verdict_seconds=1.0)
    dropped, verdict = feed(session, encrypted_list(5), elapsed=2.0)
    assert isinstance(dropped, ListDropped)
    assert dropped.reason == "wrong_key"
    assert dropped.message
    assert dropped.message.startswith("the list is encrypted and there is no key")
    assert isinstance(verdict, ListenVerdict)
    assert verdict.fault is LineFault.UNREADABLE
    assert verdict.message.startswith(
        "frames, but no list for 2 s (0 lists, dropped: 1 wrong_key): speed and parity are right,"
        " but the list is encrypted and there is no key"
    )


def test_a_replayed_list_is_named_as_that() -> None:
    session = ListenSession(HanCodec(encryption_key=KEY, authentication_key=KEY[::-1]))
    first, second = feed(session, encrypted_list(5) * 2)
    assert isinstance(first, ListReceived)
    assert isinstance(second, ListDropped)
    assert second.reason == "replayed"
    assert second.message == "a list with frame counter 5 came after 5: dropped"
    assert session.summary() == "1 lists, dropped: 1 replayed"


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (bytes.fromhex("68FAFA6853FF000167DB084B464D65509B624181F82000") + bytes(900), "M-Bus"),
        (b"/KAM5\r\n\r\n1-0:1.8.0(000001.000*kWh)\r\n!AAAA\r\n" * 30, "P1 port"),
        (misread_as_8e1(LIVE_1), "the meter sends 8N1 and is read as 8E1: use --parity N"),
    ],
)
def test_other_kinds_of_line_are_named(wire: bytes, words: str) -> None:
    events = feed(ListenSession(HanCodec()), wire)
    assert any(
        isinstance(event, ListDropped) and event.advice and words in event.advice
        for event in events
    )


def test_verdicts_repeat_until_a_list_arrives() -> None:
    session = ListenSession(HanCodec(), verdict_seconds=30.0)
    moment = Timestamp(None, 0.0)
    assert list(session.handle(None, moment, 29.0)) == []
    (first,) = session.handle(None, moment, 30.0)
    assert isinstance(first, ListenVerdict)
    assert (first.fault, first.seconds) == (LineFault.NO_BYTES, 30.0)
    assert first.message.startswith("no bytes for 30 s: ")
    assert list(session.handle(None, moment, 59.0)) == []
    noise = feed(session, b"\x55" * 2000, elapsed=61.0)
    assert isinstance(noise[-1], ListenVerdict)
    assert noise[-1].fault is LineFault.NO_FRAMES
    assert "check speed and parity" in noise[-1].message
    feed(session, LIVE_1, elapsed=62.0)
    assert list(session.handle(None, moment, 200.0)) == []


async def test_a_port_is_watched_until_the_task_is_cancelled() -> None:
    events: list[ListenEvent] = []
    session = ListenSession(HanCodec(energy_scale=10))
    params = SerialParams(2400)
    arrived = asyncio.Event()

    def report(event: ListenEvent) -> None:
        events.append(event)
        if isinstance(event, ListReceived):
            arrived.set()

    async with emulated_meter("kamstrup_han_3phase", interval=0.1) as address:
        task = asyncio.create_task(session.run(address, params, report))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert events[0] == ListenStarted(address, params)
    assert isinstance(events[-1], ListReceived)
