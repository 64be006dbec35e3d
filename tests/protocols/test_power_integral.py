"""Energy made of power, in whole numbers."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from kamstrup_mqtt.protocols.power_integral import MAX_POWER, PowerIntegral


def test_an_integral() -> None:
    power = PowerIntegral()
    assert power.is_empty
    assert power.value_at(5) == 0
    assert power.add(1000, 0) == 0
    assert not power.is_empty
    assert power.add(3000, 10_000) == 0  # the mean of both: 2 W for 10 s
    assert power.total == 20_000_000
    assert (power.value_at(5_000), power.value_at(10_000), power.value_at(99_000)) == (
        10_000_000,
        *[20_000_000] * 2,
    )
    assert power.value_at(-1) == 0
    assert power.add(3000, 41_000) == 31_000
    assert power.total == 20_000_000
    for at in range(50_000, 400_001, 10_000):
        power.add(0, at)
    assert power.value_at(0) == power.value_at(99_000)  # the way there is forgotten


def test_an_integral_between_its_points() -> None:
    """Against lines from point to point, in whole numbers that round towards the past."""
    random = Random(9)
    for _ in range(50):
        power, points, total, before = PowerIntegral(), [], 0, 0
        at = random.randrange(10_000)
        for number in range(random.randrange(2, 20)):
            now = random.choice((0, 1, random.randrange(-(10**7), 10**7)))
            elapsed = random.choice((0, 1, 9_999, 10_000, 30_000, 30_001)) if number else 0
            if elapsed <= 30_000:
                total += (before + now) * elapsed // 2
            at, before = at + elapsed, now
            power.add(now, at)
            points.append((at, total))
        kept = [point for point in points if at - point[0] <= 300_000]
        assert power.total == total
        assert power.value_at(kept[0][0] - 1) == kept[0][1]
        for (start, low), (end, high) in pairwise(kept):
            for moment in range(start + 1, end, 997):
                assert power.value_at(moment) == low + (high - low) * (moment - start) // (
                    end - start
                )
            assert power.value_at(end) == max((p for p in kept if p[0] == end), key=kept.index)[1]
        assert power.value_at(at + 1) == total


def test_an_integral_of_many_years() -> None:
    power = PowerIntegral()
    for at in range(0, 10**13, 10**11):
        power.add(MAX_POWER - 1, at)
        power.add(MAX_POWER - 1, at + 30_000)
    assert power.total == 100 * 30_000 * (MAX_POWER - 1) > 2**63
    assert power.value_at(at + 15_000) == power.total - 15_000 * (MAX_POWER - 1)
