"""Faults around an emulated meter."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.emulators.base import PolledEmulator, Reply
from kamstrup_mqtt.emulators.faults import FaultyEmulator, with_faults
from kamstrup_mqtt.emulators.registry import make_emulator
from tests.support.kmp_frames import request


def meter() -> PolledEmulator:
    found = make_emulator("multical_403")
    assert not hasattr(found, "push")
    return found


class Times:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("wake", [bytes(30), b"/#1", bytes.fromhex("AFA3B1")])
def test_asleep_until_woken(wake: bytes) -> None:
    times = Times()
    faulty = FaultyEmulator(meter(), ("asleep",), awake=60.0, monotonic=times)
    asked = _request()
    assert faulty.receive_data(asked) == []
    for byte in wake:
        assert faulty.receive_data(bytes((byte,))) == []
    assert len(faulty.receive_data(asked)) == 1
    times.now += 59
    assert len(faulty.receive_data(asked)) == 1
    times.now += 61
    assert faulty.receive_data(asked) == []


def test_every_second_answer_is_damaged() -> None:
    whole = _answer(meter().receive_data(_request()))
    noisy = FaultyEmulator(meter(), ("noisy",))
    assert _answer(noisy.receive_data(_request())) != whole
    assert _answer(noisy.receive_data(_request())) == whole
    short = FaultyEmulator(meter(), ("short",))
    assert _answer(short.receive_data(_request())) == whole[: len(whole) // 2]
    assert _answer(short.receive_data(_request())) == whole
    assert short.serial == meter().serial


def test_impossible_values() -> None:
    assert type(with_faults(meter(), ())).__name__ == "KmpEmulator"
    assert isinstance(with_faults(meter(), ("short",)), FaultyEmulator)
    with pytest.raises(ValueError, match="no such fault: x; choose from asleep, noisy, short"):
        with_faults(meter(), ("x",))
    with pytest.raises(ValueError, match="by itself is not noisy; it can have fcs, tag, replay"):
        with_faults(make_emulator("kamstrup_han_3phase"), ("noisy",))


def _request() -> bytes:
    return request("3F02")


def _answer(replies: list[Reply]) -> bytes:
    (reply,) = replies
    return reply.data
