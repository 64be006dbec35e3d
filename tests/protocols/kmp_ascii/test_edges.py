"""KMP-ASCII at its limits: defaults as they act, the last byte that fits, the words for a fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState
from kamstrup_mqtt.protocols.base import (
    DroppedBytes,
    DropReason,
    Frame,
    Pause,
    PollRequest,
    PollTimings,
    Send,
)
from kamstrup_mqtt.protocols.kmp_ascii import SPEC
from kamstrup_mqtt.protocols.kmp_ascii.codec import TIMINGS, KmpAsciiCodec, memory_request
from kamstrup_mqtt.protocols.kmp_ascii.framing import KmpAsciiFramer
from tests.support import kmp_ascii_recordings
from tests.support.framing import events_of
from tests.support.kmp_ascii_conversation import run_conversation


def timings(**changes: Any) -> PollTimings:
    return replace(TIMINGS, **changes)


def frame(wire: bytes) -> Frame:
    (event,) = events_of(KmpAsciiFramer(), [wire])
    assert isinstance(event, Frame)
    return event


def with_lrc(start: str, payload: str) -> Frame:
    check = (0x100 - sum(bytes.fromhex(payload)) % 0x100) % 0x100
    return frame(f"{start}{payload}{check:02X}\r".encode())


def test_the_memory_from_900_to_923() -> None:
    """kmp.md 3.2: 900 is 0384, 923 is 039B."""
    assert memory_request(900, 923) == bytes.fromhex("FE01 0384 039B")


def test_the_defaults_as_they_act() -> None:
    silent = MeterError(LinkState.CHECKSUM, "as the exchange says")
    steps, answer = run_conversation(
        KmpAsciiCodec().poll(PollRequest(sources=("FE95.tariff_2",))),
        [silent, None, silent, None, frame(kmp_ascii_recordings.TARIFFS_ANSWER)],
    )
    asked = Send(
        data=kmp_ascii_recordings.TARIFFS_REQUEST,
        response_timeout=1.0,
        inter_byte_timeout=0.6,
        total_timeout=4.0,
    )
    assert steps == [asked, Pause(1.6), asked, Pause(1.6), asked]
    assert answer.unsupported == frozenset()
    with pytest.raises(MeterError, match="as the exchange says"):  # not a fourth time
        run_conversation(
            KmpAsciiCodec().poll(PollRequest(sources=("FE95.tariff_2",))),
            [silent, None, silent, None, silent],
        )


def test_a_short_answer_is_asked_for_again() -> None:
    steps, answer = run_conversation(
        KmpAsciiCodec().poll(PollRequest(sources=("FE95.tariff_2",))),
        [with_lrc("H", "FE9501000023"), None, frame(kmp_ascii_recordings.TARIFFS_ANSWER)],
    )
    assert steps[1] == Pause(1.6)
    assert answer.objects[2].raw == 1


def test_addresses_are_shown_of_a_request_for_memory_alone() -> None:
    decode = KmpAsciiCodec().decode
    assert decode(with_lrc("@", "FE9000010002")).header == {
        "direction": "request",
        "command": "FE 90",
        "data": "00010002",
    }
    assert decode(with_lrc("@", "FE0101")).header == {
        "direction": "request",
        "command": "FE 01",
        "data": "01",
    }


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (None, "asked for FE 90, but received nothing: is there another reader on this line?"),
        (
            with_lrc("H", "FE95010000"),
            "asked for FE 90, but received FE 95 01 00 00: is there another reader on this line?",
        ),
        (
            with_lrc("H", "FE90AB"),
            "the answer to FE 90 has 1 bytes of data instead of 36: part of it is lost",
        ),
    ],
)
def test_why_an_answer_is_refused(outcome: Frame | None, message: str) -> None:
    with pytest.raises(MeterError) as caught:
        run_conversation(
            KmpAsciiCodec(timings=timings(tries=1)).poll(PollRequest(sources=("FE90.energy",))),
            [outcome],
        )
    assert caught.value.state is LinkState.BYTES_NO_FRAMES
    assert message in str(caught.value)


def test_a_type_keeps_its_last_letter() -> None:
    objects = KmpAsciiCodec().decode(with_lrc("H", "FE01" + "41425820" + 40 * "00")).objects
    assert objects[0] == DecodedValue("FE01.meter_type", "ABX", "ABX")


def test_valid_choices_are_listed() -> None:
    with pytest.raises(ValueError, match="no such value") as caught:
        SPEC.parse_source("60")
    assert str(caught.value) == (
        "60: the 685-382 has no such value; choose from FE01.meter_type, FE01.meter_id,"
        " FE01.customer_number, FE90.energy, FE90.field1, FE90.operating_hours,"
        " FE90.energy_high_res, FE90.peak_power, FE90.customer_number, FE90.production_number,"
        " FE95.energy, FE95.tariff_1, FE95.tariff_2"
    )


def test_garbage_is_reported_as_soon_as_there_are_256_bytes_of_it() -> None:
    framer = KmpAsciiFramer()
    assert events_of(framer, [b"x" * 255], quiet=False) == []
    assert events_of(framer, [b"x"], quiet=False) == [DroppedBytes(DropReason.GARBAGE, b"x" * 256)]


def test_a_frame_is_too_long_at_520_bytes() -> None:
    """'H', 258 bytes of payload and the LRC as pairs, CR: 1 + 2 × 259 + 1; no CR has come."""
    framer = KmpAsciiFramer()
    assert events_of(framer, [b"H" + b"0" * 518], quiet=False) == []
    assert events_of(framer, [b"0"], quiet=False) == [
        DroppedBytes(DropReason.LENGTH, b"H" + b"0" * 519)
    ]
