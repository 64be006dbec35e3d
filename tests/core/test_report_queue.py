"""The queue between readers and publisher."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from kamstrup_mqtt.core import report_queue
from kamstrup_mqtt.core.model import Identity, Reading
from kamstrup_mqtt.core.report_queue import ReportQueue


def _report(number: int) -> Identity:
    return Identity(meter="heat", serial=str(number), source=1001)


def test_first_in_first_out() -> None:
    queue = ReportQueue()
    queue.put(_report(1))
    queue.put(_report(2))
    assert len(queue) == 2
    assert queue.take_all() == [_report(1), _report(2)]
    assert queue.take_all() == []


def test_the_oldest_is_dropped_and_counted_when_it_is_full() -> None:
    queue = ReportQueue(2)
    for number in range(5):
        queue.put(_report(number))
    assert queue.dropped == 3
    assert queue.take_all() == [_report(3), _report(4)]
    assert report_queue.CAPACITY == 10_000


async def test_waiting_readings_get_the_corrected_time() -> None:
    times = iter([100.0, 100.0, 160.0])
    report_queue = ReportQueue(monotonic=lambda: next(times))
    wrong = datetime(2026, 11, 1, tzinfo=UTC)
    for time in (wrong, None):  # None: the clock could not be right
        report_queue.put(Reading(meter="m", group="live", time=time, values={}))
    identity = Identity(meter="m", serial="1", source="s")
    report_queue.put(identity)
    report_queue.correct_clock(datetime(2026, 11, 21, 12, 1, tzinfo=UTC), 160.0)
    right = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    assert [getattr(report, "time", None) for report in report_queue.take_all()] == [
        right,
        right,
        None,
    ]


async def test_reports_of_one_loop_iteration_are_passed_on_in_one_call() -> None:
    queue = ReportQueue()
    taken: list[list[object]] = []
    queue.set_consumer(lambda: taken.append(list(queue.take_all())))
    queue.put(_report(1))
    queue.put(_report(2))
    assert taken == []
    await asyncio.sleep(0)
    assert taken == [[_report(1), _report(2)]]
    queue.put(_report(3))
    await asyncio.sleep(0)
    assert taken[1:] == [[_report(3)]]


async def test_the_consumer_is_not_called_if_the_reports_were_taken_before() -> None:
    queue = ReportQueue()
    calls: list[int] = []
    queue.put(_report(1))
    queue.set_consumer(lambda: calls.append(len(queue)))
    queue.put(_report(2))
    assert queue.take_all() == [_report(1), _report(2)]
    await asyncio.sleep(0)
    assert calls == []


async def test_a_reader_waits_only_while_the_publisher_is_behind() -> None:
    queue = ReportQueue()
    await queue.wait_for_capacity()
    queue.set_backpressure(True)
    turn = asyncio.create_task(queue.wait_for_capacity())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not turn.done()
    queue.set_backpressure(False)
    await turn


async def test_a_publisher_that_stays_behind_does_not_stop_a_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert report_queue.MAX_BACKPRESSURE == 1.0
    monkeypatch.setattr(report_queue, "MAX_BACKPRESSURE", 0.01)
    queue = ReportQueue()
    queue.set_backpressure(True)
    await asyncio.wait_for(queue.wait_for_capacity(), 5)
