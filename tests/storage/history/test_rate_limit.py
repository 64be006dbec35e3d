"""The rate limit for waiting records."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.storage.history.rate_limit import RateLimiter


def test_the_rate_follows_the_arrivals_and_never_falls_below_its_minimum() -> None:
    now = [0.0]
    limiter = RateLimiter(lambda: now[0])
    assert limiter.rate == 50.0
    for _ in range(100):
        now[0] += limiter.reserve_slot()
    assert now[0] == pytest.approx(99 / 50)
    for _ in range(40):
        limiter.record_arrival()
    assert limiter.rate == pytest.approx(4 * 40 / now[0])  # since the start
    now[0] += 9
    for _ in range(360):
        limiter.record_arrival()
    assert limiter.rate == 160.0  # 4 times 40 per second over the last 10 s
    now[0] += 11
    assert limiter.rate == 50.0
    assert limiter.reserve_slot() == 0.0
