"""Records that are sent again after a connection was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from kamstrup_mqtt.storage.history.delivery import REPEAT_TIME, ConnectionClock, DeliveryWindow
from kamstrup_mqtt.storage.history.settings import SpoolMode
from tests.support.history_queue import add_records, queue_on_disk, running


def test_the_connection_clock_stands_still_while_the_broker_is_away() -> None:
    now = [1000.0]
    clock = ConnectionClock(lambda: now[0], grace=10.0)
    now[0] += 4
    assert (clock.is_connected, clock.seconds, clock.grace) == (False, 0.0, 6.0)
    clock.start()
    assert (clock.is_connected, clock.grace) == (True, 0.0)
    now[0] += 30
    clock.stop()
    now[0] += 3600
    clock.stop()
    assert (clock.is_connected, clock.seconds) == (False, 30.0)
    clock.start()
    now[0] += 5
    assert clock.seconds == 35.0


def test_the_grace_ends_by_itself() -> None:
    now = [1000.0]
    clock = ConnectionClock(lambda: now[0], grace=10.0)
    now[0] += 11
    assert clock.grace == 0.0


@pytest.mark.parametrize("resend", [60.0, 0.1])
def test_a_record_that_was_acknowledged_again_expires_soon(resend: float) -> None:
    assert REPEAT_TIME == 0.25
    now = [0.0]
    clock = ConnectionClock(lambda: now[0], grace=0.0)
    window = DeliveryWindow(clock, resend)
    clock.start()
    window.restart()
    window.mark_sent(7)
    assert window.acknowledge(7) == [7]
    now[0] += resend - 0.05
    clock.stop()
    clock.start()
    window.restart()
    assert window.sent_through == 6
    window.mark_sent(7)
    assert window.acknowledge(7) == []
    now[0] += min(resend, REPEAT_TIME) - 0.01
    window.expire()
    assert window.expired_through == 0
    now[0] += 0.02
    window.expire()
    assert window.expired_through == 7
    assert window.seconds_to_expiry == resend


class Connections:
    """A delivery window with a clock that the test sets; records expire after 60 s."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clock = ConnectionClock(lambda: self.now, grace=0.0)
        self.window = DeliveryWindow(self.clock, 60.0)
        self.reconnect()

    def reconnect(self) -> None:
        self.clock.stop()
        self.clock.start()
        self.window.restart()

    def deliver(self, *ids: int) -> None:
        for id_ in ids:
            self.window.mark_sent(id_)
            self.window.acknowledge(id_)


def test_a_record_keeps_its_first_expiry_when_it_is_acknowledged_again() -> None:
    connections = Connections()
    connections.deliver(1, 2)
    for _ in range(2):
        connections.now += 25
        connections.reconnect()
        assert connections.window.sent_through == 0
        connections.deliver(1, 2)
    connections.now += 11
    connections.reconnect()
    assert connections.window.sent_through == 2


def test_only_records_sent_again_on_this_connection_expire_during_it() -> None:
    connections = Connections()
    connections.deliver(1, 2, 3)
    connections.now += 59
    connections.reconnect()
    connections.now += 30
    connections.window.expire()
    assert connections.window.expired_through == 0
    connections.deliver(1)
    connections.now += 1
    connections.window.expire()
    assert connections.window.expired_through == 1
    connections.reconnect()
    assert connections.window.sent_through == 1


@pytest.mark.parametrize("mode", ["offline", "always", "memory"])
async def test_records_delivered_recently_are_sent_again(path: Path, mode: SpoolMode) -> None:
    now = [1000.0]
    queue = queue_on_disk(path, mode, monotonic=lambda: now[0], resend=60.0)
    async with running(queue) as broker:
        broker.connect()
        add_records(queue, 1, 3)
        await broker.receive(3)
        now[0] += 30
        recent = add_records(queue, 4, 6)
        await broker.receive(6)
        now[0] += 31
        await queue._spooler.prune()
        assert len(queue._buffer) == (0 if mode == "always" else 3)
        await broker.disconnect()
        now[0] += 3600  # an outage does not make them older
        broker.connect()
        assert await broker.receive(3) == recent
        now[0] += 30
        await queue._spooler.prune()
        await broker.disconnect()
        broker.connect()
        wanted = add_records(queue, 7, 7)
        assert await broker.receive(1) == wanted  # the 60 s count from the first delivery
        assert queue.delivered_count == 7


@pytest.mark.parametrize("mode", ["offline", "always", "memory"])
async def test_a_record_does_not_expire_before_it_was_sent_again(
    path: Path, mode: SpoolMode
) -> None:
    """A broker that crashes again and again: found by killing it 200 times."""
    now = [1000.0]
    queue = queue_on_disk(path, mode, monotonic=lambda: now[0], resend=60.0)
    async with running(queue) as broker:
        broker.connect()
        wanted = add_records(queue, 1, 3)
        await broker.receive(3)
        now[0] += 59
        await broker.disconnect()
        broker.holds_acks = True
        for number in range(4, 7):  # connections on which only the first record is acknowledged
            broker.connect()
            assert await broker.receive(3) == wanted
            queue.acknowledge(broker.unacked[0])
            now[0] += 30
            await queue._spooler.prune()
            await broker.disconnect()
            wanted = wanted[1:] + add_records(queue, number, number)
        broker.holds_acks = False
        broker.connect()
        assert await broker.receive(3) == wanted
        now[0] += 0.2  # this broker may crash as well
        await broker.disconnect()
        broker.connect()
        assert await broker.receive(3) == wanted
        now[0] += 61
        await queue._spooler.prune()
        await broker.disconnect()
        broker.connect()
        newest = add_records(queue, 7, 7)
        assert await broker.receive(1) == newest
