"""Reading KMP-ASCII messages, and the conversation with a 685-382."""

from __future__ import annotations

import inspect
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, SerialParams
from kamstrup_mqtt.protocols.base import DroppedBytes, Frame, Pause, PollRequest, PollTimings, Send
from kamstrup_mqtt.protocols.kmp_ascii import SPEC
from kamstrup_mqtt.protocols.kmp_ascii.codec import TIMINGS, KmpAsciiCodec
from kamstrup_mqtt.protocols.kmp_ascii.fields import FIELDS
from tests.support import kmp_ascii_recordings
from tests.support.kmp_ascii_conversation import run_conversation
from tests.support.shared_vectors import Vector, shared_vectors


def timings(**changes: Any) -> PollTimings:
    return replace(TIMINGS, **changes)


IDENTITY = (
    DecodedValue("FE01.meter_type", "685382OK10", "685382OK10"),
    DecodedValue("FE01.meter_id", 123456, "123456"),
    DecodedValue("FE01.customer_number", 10865272, "10865272"),
)
ENERGY = (
    DecodedValue("FE90.energy", 9032, Decimal(9032), "kWh"),
    DecodedValue("FE90.field1", 0, Decimal(0)),
    DecodedValue("FE90.operating_hours", 57037, Decimal(57037), "h"),
    DecodedValue("FE90.energy_high_res", 903233, Decimal("9032.33"), "kWh"),
    DecodedValue("FE90.peak_power", 1559, Decimal(1559), "W"),
    DecodedValue("FE90.customer_number", 10865272, "10865272"),
    DecodedValue("FE90.production_number", 268439699, "268439699"),
)
TARIFFS = (
    DecodedValue("FE95.energy", 9032, Decimal(9032), "kWh"),
    DecodedValue("FE95.tariff_1", 9031, Decimal(9031), "kWh"),
    DecodedValue("FE95.tariff_2", 1, Decimal(1), "kWh"),
)
"""kmp.md 3.2, the tables of FE 01, FE 90 and FE 95."""


def frame(wire: bytes) -> Frame:
    framer = KmpAsciiCodec().framer()
    framer.receive_data(wire)
    event = framer.next_event()
    assert isinstance(event, Frame)
    return event


def with_lrc(start: str, payload: str) -> bytes:
    check = (0x100 - sum(bytes.fromhex(payload)) % 0x100) % 0x100
    return f"{start}{payload}{check:02X}\r".encode()


def fault(state: LinkState) -> MeterError:
    return MeterError(state, "as the exchange says")


@pytest.mark.parametrize(
    ("wire", "command", "data", "objects"),
    [
        (kmp_ascii_recordings.HELLO_ANSWER, "FE 00", "02010701", ()),
        (kmp_ascii_recordings.IDENTITY_ANSWER, "FE 01", None, IDENTITY),
        (kmp_ascii_recordings.ENERGY_ANSWER, "FE 90", None, ENERGY),
        (kmp_ascii_recordings.TARIFFS_ANSWER, "FE 95", "01000023480000234700000001", TARIFFS),
        (kmp_ascii_recordings.MEMORY_ANSWER, "FE 01", 24 * "FF", ()),
    ],
)
def test_answers(
    wire: bytes, command: str, data: str | None, objects: tuple[DecodedValue, ...]
) -> None:
    message = KmpAsciiCodec().decode(frame(wire))
    assert message.objects == objects
    assert message.header["direction"] == "answer"
    assert message.header["command"] == command
    assert data is None or message.header["data"] == data


def test_requests() -> None:
    decode = KmpAsciiCodec().decode
    assert decode(frame(kmp_ascii_recordings.MEMORY_REQUEST)).header == {
        "direction": "request",
        "command": "FE 01",
        "data": "0384039B",
        "first": 900,
        "last": 923,
    }
    assert decode(frame(kmp_ascii_recordings.ENERGY_REQUEST)).header == {
        "direction": "request",
        "command": "FE 90",
        "data": "",
    }
    assert decode(frame(with_lrc("@", "FE01"))).header["data"] == ""


def test_an_answer_that_lost_bytes_is_refused() -> None:
    with pytest.raises(MeterError, match="FE 95 has 4 bytes of data instead of 13") as caught:
        KmpAsciiCodec().decode(frame(with_lrc("H", "FE9501000023")))
    assert caught.value.state is LinkState.BYTES_NO_FRAMES


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ("00002348 00000000 00000000 000DC841", Decimal("9032.33")),
        ("00002348 00000000 00000000 000DC820", Decimal("9032.00")),
        ("00002348 00000000 00000000 000DC884", None),  # 9033.00
        ("00002348 00000000 00000000 00000000", None),
    ],
)
def test_high_resolution_total_only_while_it_is_the_same_total(
    fields: str, value: Decimal | None
) -> None:
    payload = "FE90" + fields.replace(" ", "") + 20 * "00"
    objects = KmpAsciiCodec().decode(frame(with_lrc("H", payload))).objects
    (found,) = (obj.value for obj in objects if obj.id == "FE90.energy_high_res")
    assert found == value
    assert str(found) == str(value)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("41422000000000000000", "AB"),
        (10 * "FF", 10 * "FF"),
        ("410A" + 8 * "42", "410A" + 8 * "42"),
    ],
)
def test_a_type_that_is_no_text_is_shown_as_hex(octets: str, text: str) -> None:
    objects = KmpAsciiCodec().decode(frame(with_lrc("H", "FE01" + octets + 34 * "00"))).objects
    assert objects[0] == DecodedValue("FE01.meter_type", text, text)


def test_defaults_of_the_time_limits() -> None:
    parameters = inspect.signature(KmpAsciiCodec).parameters
    assert {name: p.default for name, p in parameters.items()} == {
        "timings": TIMINGS,
        "learned": None,
        "fast_path": True,
    }


def test_a_poll_sends_each_command_once_and_returns_all_thirteen() -> None:
    ask = PollRequest(sources=tuple(field.id for field in FIELDS), identity=("FE01.meter_id",))
    steps, answer = run_conversation(
        KmpAsciiCodec(
            timings=replace(
                TIMINGS, response_timeout=0.1, inter_byte_timeout=0.2, total_timeout=0.3
            )
        ).poll(ask),
        map(
            frame,
            (
                kmp_ascii_recordings.IDENTITY_ANSWER,
                kmp_ascii_recordings.ENERGY_ANSWER,
                kmp_ascii_recordings.TARIFFS_ANSWER,
            ),
        ),
    )
    assert steps == [
        Send(data=data, response_timeout=0.1, inter_byte_timeout=0.2, total_timeout=0.3)
        for data in (
            kmp_ascii_recordings.IDENTITY_REQUEST,
            kmp_ascii_recordings.ENERGY_REQUEST,
            kmp_ascii_recordings.TARIFFS_REQUEST,
        )
    ]
    assert answer.objects == (*IDENTITY, *ENERGY, *TARIFFS)
    assert answer.unsupported == frozenset()
    assert answer.learned == {}


def test_only_the_commands_that_are_needed_are_sent() -> None:
    steps, answer = run_conversation(
        KmpAsciiCodec().poll(PollRequest(sources=("FE95.tariff_1", "FE77.what"))),
        [frame(kmp_ascii_recordings.TARIFFS_ANSWER)],
    )
    assert [step.data for step in steps if isinstance(step, Send)] == [
        kmp_ascii_recordings.TARIFFS_REQUEST
    ]
    assert answer.unsupported == {"FE77.what"}


def test_a_failed_try_is_repeated_after_a_pause() -> None:
    steps, answer = run_conversation(
        KmpAsciiCodec(timings=timings(pause=0.5)).poll(PollRequest(sources=("FE95.energy",))),
        [
            fault(LinkState.CHECKSUM),
            None,
            frame(kmp_ascii_recordings.HELLO_ANSWER),  # late, to someone else's question
            None,
            frame(kmp_ascii_recordings.TARIFFS_ANSWER),
        ],
    )
    assert steps[1] == steps[3] == Pause(0.5)
    assert steps[0] == steps[2] == steps[4]
    assert answer.objects == TARIFFS


@pytest.mark.parametrize("state", [LinkState.NO_BYTES, LinkState.ECHO_ONLY])
def test_an_unsupported_command_does_not_fail_the_poll(state: LinkState) -> None:
    steps, answer = run_conversation(
        KmpAsciiCodec(timings=timings(tries=1)).poll(
            PollRequest(sources=("FE90.energy", "FE95.energy"))
        ),
        [
            frame(kmp_ascii_recordings.ENERGY_ANSWER),
            fault(state),
            frame(kmp_ascii_recordings.HELLO_ANSWER),
        ],
    )
    assert isinstance(steps[-1], Send)
    assert steps[-1].data == kmp_ascii_recordings.HELLO_REQUEST
    assert answer.objects == ENERGY
    assert answer.unsupported == {"FE95.energy"}


def test_a_failed_command_keeps_the_answers_before_it() -> None:
    damaged = fault(LinkState.CHECKSUM)
    wanted = ("FE01.meter_type", "FE90.energy", "FE95.energy", "FE00.x")
    steps, answer = run_conversation(
        KmpAsciiCodec(timings=timings(tries=2)).poll(PollRequest(sources=wanted)),
        [frame(kmp_ascii_recordings.IDENTITY_ANSWER), damaged, None, damaged],
    )
    assert len(steps) == 4
    assert answer.objects == IDENTITY
    assert answer.failed_sources == {"FE90.energy", "FE95.energy"}
    assert answer.unsupported == {"FE00.x"}
    assert answer.error is damaged


def test_a_meter_that_was_mute_is_knocked_at_once() -> None:
    with pytest.raises(MeterError, match="as the exchange says"):
        run_conversation(
            KmpAsciiCodec().poll(
                PollRequest(sources=("FE90.energy", "FE95.energy"), probe_only=True)
            ),
            [fault(LinkState.NO_BYTES)],
        )
    _, answer = run_conversation(
        KmpAsciiCodec().poll(PollRequest(sources=("FE90.energy", "FE95.energy"), probe_only=True)),
        [
            frame(kmp_ascii_recordings.ENERGY_ANSWER),
            *(fault(LinkState.NO_BYTES), None, fault(LinkState.NO_BYTES), None),
            frame(kmp_ascii_recordings.TARIFFS_ANSWER),
        ],
    )
    assert answer.objects == ENERGY + TARIFFS


def test_no_answer_at_all_is_reported_as_no_bytes() -> None:
    with pytest.raises(MeterError) as caught:
        run_conversation(
            KmpAsciiCodec(timings=timings(tries=2)).poll(PollRequest(sources=("FE90.energy",))),
            2 * [fault(LinkState.NO_BYTES), None, fault(LinkState.NO_BYTES)],
        )
    assert caught.value.state is LinkState.NO_BYTES


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (fault(LinkState.CHECKSUM), "as the exchange says"),
        (None, "received nothing"),
        (frame(kmp_ascii_recordings.ENERGY_REQUEST), "asked for FE 90, but received FE 90"),
        (frame(with_lrc("H", "FE900000")), "2 bytes of data instead of 36"),
    ],
)
def test_an_unreadable_answer_ends_the_poll(outcome: Frame | MeterError, message: str) -> None:
    with pytest.raises(MeterError, match=message):
        run_conversation(
            KmpAsciiCodec(timings=timings(tries=1)).poll(PollRequest(sources=("FE90.energy",))),
            [outcome],
        )


def test_the_spec_of_the_protocol() -> None:
    assert SPEC.name == "kmp-ascii"
    assert SPEC.serial == SerialParams(1200, 8, "E", 2, dtr=None, rts=None)
    assert str(SPEC.serial) == SPEC.line_settings == "1200 8E2"
    assert (SPEC.is_pushed, SPEC.checksum) == (False, "weak")


def test_keys_of_the_thirteen_values() -> None:
    """decisions.md, Units and numbers; in the order of seed 000."""
    assert [SPEC.key_of(field.id) for field in FIELDS] == [
        "meter_type",
        "meter_id",
        "customer_number",
        "energy_import",
        "register_fe90_1",
        "operating_hours",
        "energy_import_high_res",
        "peak_power",
        "customer_number_2",
        "production_number",
        "energy_import_2",
        "energy_import_tariff_1",
        "energy_import_tariff_2",
    ]
    assert SPEC.key_of("FE90.nothing") is None
    assert SPEC.fallback_key("FE90.nothing") == "register_fe90_nothing"


def test_sources_as_a_user_writes_them() -> None:
    assert SPEC.parse_source(" fe90.ENERGY ") == "FE90.energy"
    assert SPEC.parse_source("energy_import") == "FE90.energy"
    with pytest.raises(ValueError, match=r"0x3C: the 685-382 has no such value.*FE95\.tariff_2"):
        SPEC.parse_source("0x3C")


@pytest.mark.parametrize(
    "vector", shared_vectors("kmp.json", lambda v: v["protocol"] == "KMP382-ASCII")
)
def test_shared_vectors(vector: Vector) -> None:
    """Complete frames are valid or invalid as the vectors say."""
    framer = KmpAsciiCodec().framer()
    framer.receive_data(bytes.fromhex(vector["hex"]))
    framer.end_burst()
    event = framer.next_event()
    if not vector["verified"]:
        assert isinstance(event, DroppedBytes)
        return
    assert isinstance(event, Frame)
    assert event.payload == bytes.fromhex(vector["payload"])
    assert event.direction == {"response": "answer"}.get(vector["direction"], "request")
    KmpAsciiCodec().decode(event)
