"""The buffer of records in memory."""

from __future__ import annotations

from kamstrup_mqtt.storage.history.buffer import Record, RecordBuffer


def _filled(number: int) -> RecordBuffer:
    buffer = RecordBuffer(100, 10_000)
    for id_ in range(1, number + 1):
        assert buffer.add(Record(id_, "heat", "payload")) == 0
    return buffer


def test_only_acknowledged_records_at_the_beginning_are_removed() -> None:
    buffer = _filled(5)
    for id_ in (1, 2, 4):
        buffer.mark_acked(id_)
    buffer.remove_acked(1)
    assert buffer.ids_after(0) == [2, 3, 4, 5]
    buffer.remove_acked(5)
    assert buffer.ids_after(0) == [3, 4, 5]
    assert [record.id for record in buffer.oldest_unacked(9)] == [3, 5]
    assert [record.id for record in buffer.oldest_unacked(1)] == [3]
    assert buffer.unacked_count == 2


def test_records_that_were_removed_are_ignored() -> None:
    buffer = _filled(2)
    buffer.remove(1)
    buffer.remove(1)
    buffer.mark_acked(1)
    buffer.mark_acked(2)
    buffer.mark_acked(2)
    assert buffer.get(1) is None
    assert buffer.unacked_count == 0
    assert len(buffer) == 1
