"""Exponential back-off."""

from __future__ import annotations

import random

from kamstrup_mqtt.core.backoff import Backoff


def test_the_pause_doubles_up_to_the_cap() -> None:
    backoff = Backoff(1.0, 60.0)
    assert [backoff.next_pause() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_success_resets_the_pause() -> None:
    backoff = Backoff(1.0, 60.0)
    backoff.next_pause()
    backoff.next_pause()
    backoff.reset()
    assert backoff.next_pause() == 1.0


def test_jitter_shortens_the_pause_by_up_to_a_half() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(1))
    pauses = [backoff.next_pause() for _ in range(100)]
    for pause, full in zip(pauses, [1, 2, 4, 8, 16, 32, *[60] * 94], strict=True):
        assert full / 2 <= pause <= full
    assert len(set(pauses)) == 100


def test_endless_failures_do_not_overflow() -> None:
    backoff = Backoff(1.0, 60.0, failures=10**6)
    assert backoff.next_pause() == 60.0
