"""Regression tests for findings of the fuzzer, and a short random run of every target."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import NAMES, damaged_frames
from tests.fuzz.__main__ import mutated
from tests.fuzz.targets import TARGETS, corpus, decoder, seeds


def test_the_names() -> None:
    assert tuple(TARGETS) == NAMES


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_earlier_findings(target: str) -> None:
    for data in [b"", *seeds(target), *(path.read_bytes() for path in corpus(target))]:
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(data=st.data())
def test_any_bytes(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(st.binary(max_size=400)))


@pytest.mark.parametrize("target", TARGETS)
def test_mutations_of_the_seeds(target: str) -> None:
    chance = random.Random(7)
    start = seeds(target)
    for _ in range(60 if target == "config" else 300):
        TARGETS[target](mutated(chance, start))


@pytest.mark.parametrize("name", damaged_frames.LINES)
def test_damaged_frames_are_not_accepted(name: str) -> None:
    # without a checksum most is accepted, which takes longest, as does a new codec for each frame
    line = damaged_frames.LINES[name]
    frames = 1_000 if line.bits is None else 3_000 if line.fresh_codec else 10_000
    result = damaged_frames.run(name, frames)
    assert result.damaged == frames
    assert result.accepted <= result.allowed


@pytest.mark.parametrize("protocol", ["kmp", "kmp-ascii", "iec62056-21", "han"])
def test_memory_has_a_bound(protocol: str) -> None:
    """2 MB of noise with pieces of frames in it, in one go without an end."""
    chance = random.Random(3)
    start = seeds(protocol.replace("-", "_"))
    run = decoder(protocol)
    chunks = [mutated(chance, start)[:1000] for _ in range(400)]
    run(b"\x0f" + b"".join(chunks))  # everything that is made once is made
    tracemalloc.start()
    run(b"\x0f" + b"".join(chunks * 5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000
