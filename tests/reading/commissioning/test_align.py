"""The engine of `align` on emulated heads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.reading.commissioning.align import Alignment, Sample, SampleWindow
from tests.support.emulated_meter import emulated_meter

KMP = registry.find_protocol("kmp")


async def test_a_head_in_place_answers_each_request() -> None:
    samples: list[Sample] = []
    async with emulated_meter("multical_403") as address:
        await Alignment(address, KMP, pause=0.0).run(samples.append, count=3)
    assert [sample.state for sample in samples] == [LinkState.OK] * 3
    assert not any(sample.has_echo for sample in samples)
    assert all(0 < sample.seconds < 5 for sample in samples)


async def test_an_echo_is_seen_in_each_sample_and_logged_once(
    logged: Callable[[int], list[str]],
) -> None:
    samples: list[Sample] = []
    async with emulated_meter("multical_403", echo=True) as address:
        await Alignment(address, KMP, pause=0.0).run(samples.append, count=3)
    assert [sample.has_echo for sample in samples] == [True] * 3
    assert len([text for text in logged(logging.INFO) if "(an echo)" in text]) == 1


async def test_a_sleeping_meter_behind_a_head_with_echo() -> None:
    samples: list[Sample] = []
    async with emulated_meter("multical_403", faults=("asleep",), echo=True) as address:
        await Alignment(address, KMP, response_timeout=0.1).run(samples.append, count=1)
    assert [(sample.state, sample.has_echo) for sample in samples] == [(LinkState.ECHO_ONLY, True)]


async def test_every_second_response_is_damaged() -> None:
    window = SampleWindow()
    async with emulated_meter("multical_403", faults=("noisy",)) as address:
        await Alignment(address, KMP, pause=0.0).run(window.add, count=2)
    assert window.success_rate == 0.5
    assert window.verdict() == (
        "the head sits almost right: the meter answered 50% of the last requests"
    )


@pytest.mark.parametrize("protocol", ["kmp-ascii", "iec62056-21"])
async def test_other_polled_protocols(tmp_path: Path, protocol: str) -> None:
    samples: list[Sample] = []
    async with emulated_meter("e685_382", protocol, pty=tmp_path / "meter") as address:
        await Alignment(address, registry.find_protocol(protocol), pause=0.0).run(
            samples.append, count=2
        )
    assert [sample.state for sample in samples] == [LinkState.OK] * 2


def test_the_window_forgets_old_samples() -> None:
    window = SampleWindow(size=2)
    assert (window.success_rate, window.is_good) == (0.0, False)
    assert window.verdict() == "no request was sent"
    window.add(Sample(LinkState.NO_BYTES, 2.0, has_echo=False, parity_errors=4))
    assert window.verdict() == (
        "the head does not sit right: no response: no light reaches the head; move it, press a"
        " button"
    )
    window.add(Sample(LinkState.OK, 0.3, has_echo=False, parity_errors=1))
    assert (window.success_rate, window.is_good, window.parity_errors) == (0.5, True, 5)
    window.add(Sample(LinkState.OK, 0.3, has_echo=False, parity_errors=2))
    assert (window.success_rate, window.parity_errors) == (1.0, 3)
    assert window.verdict() == "the head sits well: the meter answered each of the last requests"


def test_a_state_without_advice_is_named() -> None:
    window = SampleWindow()
    window.add(Sample(LinkState.BUSY, 0.0, has_echo=False, parity_errors=0))
    assert window.verdict() == "the head does not sit right: busy"
