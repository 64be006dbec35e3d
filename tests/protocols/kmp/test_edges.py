"""KMP at its limits: the last value that passes, the first that does not, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, Json, LinkState
from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Message, PollRequest, PollTimings
from kamstrup_mqtt.protocols.kmp import SPEC, TIMINGS
from kamstrup_mqtt.protocols.kmp.framing import KmpFramer
from kamstrup_mqtt.protocols.kmp.messages import decode_message, get_register, register_answer
from kamstrup_mqtt.protocols.kmp.values import (
    ASCII,
    BITFIELD,
    DATE,
    RTC,
    Coded,
    Value,
    decode_value,
    encode_value,
)
from tests.protocols.kmp.test_codec import SERIAL, SILENT, Line, ask_registers, in_turn, registers
from tests.support.framing import events_of, frames_of
from tests.support.fresh_import import import_fresh
from tests.support.kmp_frames import answer, request


def timings(**changes: Any) -> PollTimings:
    return replace(TIMINGS, **changes)


def read(wire: bytes) -> Message:
    (frame,) = frames_of(KmpFramer(), [wire])
    return decode_message(frame)


def line(tries: int, *said: bytes | MeterError) -> Line:
    codec = SPEC.make_codec(timings=timings(tries=tries))
    return Line(codec, in_turn(*said))  # type: ignore[arg-type]


def decoded(unit: int, data: str) -> Value:
    return decode_value(Coded(unit, 0, bytes.fromhex(data)))


# the register table as a new import builds it


def test_highest_and_lowest_of_year_and_month() -> None:
    """Kamstrup 5512-447 rev M1, 5: registers 123 to 130 and 138 to 145; docs/quantities.md."""
    keys = import_fresh("kamstrup_mqtt.protocols.kmp.registers").KEYS
    assert {source: key for source, key in keys.items() if key.startswith(("max_", "min_"))} == {
        123: "max_flow_year_date",
        124: "max_flow_year",
        125: "min_flow_year_date",
        126: "min_flow_year",
        127: "max_power_year_date",
        128: "max_power_year",
        129: "min_power_year_date",
        130: "min_power_year",
        138: "max_flow_month_date",
        139: "max_flow_month",
        140: "min_flow_month_date",
        141: "min_flow_month",
        142: "max_power_month_date",
        143: "max_power_month",
        144: "min_power_month_date",
        145: "min_power_month",
    }


def test_registers_of_the_three_phases() -> None:
    keys = import_fresh("kamstrup_mqtt.protocols.kmp.registers").KEYS
    assert {source: key for source, key in keys.items() if key[-3:-1] == "_l"} == {
        1054: "voltage_l1",
        1055: "voltage_l2",
        1056: "voltage_l3",
        1076: "current_l1",
        1077: "current_l2",
        1078: "current_l3",
        1080: "power_import_l1",
        1081: "power_import_l2",
        1082: "power_import_l3",
        1170: "power_factor_l1",
        1171: "power_factor_l2",
        1172: "power_factor_l3",
        1344: "power_export_l1",
        1345: "power_export_l2",
        1346: "power_export_l3",
    }


def test_the_first_and_the_last_register_number() -> None:
    assert SPEC.parse_source("0") == 0
    assert SPEC.parse_source("65535") == 65535
    with pytest.raises(ValueError, match="is no register") as caught:
        SPEC.parse_source("65536")
    assert str(caught.value) == (
        "'65536' is no register: give its number from 0 to 65535 (60 or 0x3C), or one of"
        " serial_no, type, software"
    )


# messages


def test_a_type_in_hex_letters_and_the_first_and_last_software_letter() -> None:
    assert read(answer("3F01 0ABC 0105")).objects == (
        DecodedValue("type", "0ABC", "0ABC"),
        DecodedValue("software", "A5", "A5"),
    )
    assert read(answer("3F01 0ABC 1A05")).objects[1].value == "Z5"
    assert read(answer("3F01 0ABC 1B05")).objects[1].value == "1B05"


def test_a_clock_of_more_digits_than_a_day_is_shown_as_data() -> None:
    # 01000001 is 16777217, hour 1677; its last three bytes alone would be 00:00:01
    fields = read(request("3F09 0001144A 01000001")).header
    assert fields["data"] == "0001144a01000001"
    assert "time" not in fields


def test_eight_registers_in_a_request() -> None:
    asked: list[Json] = [60, 68, 74, 80, 86, 87, 89, 1004]
    wire = request("3F1008 003C 0044 004A 0050 0056 0057 0059 03EC")
    assert read(wire).header["registers"] == asked


def test_a_register_without_a_value_and_one_of_an_unknown_unit() -> None:
    # NoB 0: five bytes are a whole register
    assert read(answer("3F10 003C 08 00 00")).objects == (DecodedValue(60, None, None),)
    assert read(answer("3F10 003C 7E 01 00 05")).objects == (
        DecodedValue(60, 5, Decimal(5), None, unknown_unit=True),
    )


def test_writing_two_registers() -> None:
    energy = Coded(0x08, 0x42, bytes.fromhex("0001E240"))
    volume = Coded(0x28, 0x43, bytes.fromhex("0102"))
    assert register_answer(0x3F, [(60, energy), (68, volume)]) == bytes.fromhex(
        "3F10 003C 08 04 42 0001E240 0044 28 02 43 0102"
    )


@pytest.mark.parametrize("count", [0, 9])
def test_the_error_for_a_wrong_count_names_the_limits(count: int) -> None:
    with pytest.raises(ValueError, match="in a request") as caught:
        get_register(0x3F, [60] * count)
    assert str(caught.value) == f"{count} registers in a request: 1 to 8 can be read"


# values


def test_the_century_ends_a_date() -> None:
    assert decoded(DATE, "000F1FFF").value == "2099-12-31"  # 991231
    assert decoded(DATE, "000F42A5") == Value(1000101, None)  # year 100, 1 January
    assert decoded(RTC, "0201 3B3B17 1F0C63").value == "2099-12-31T23:59:59"
    assert decoded(RTC, "0201 000000 010164").value is None


def test_the_last_printable_character() -> None:
    assert decoded(ASCII, "417E") == Value("A~", "A~")
    assert decoded(ASCII, "417F") == Value("417f", "417f")
    assert decoded(ASCII, "41 20 42") == Value("A B", "A B")


def test_a_bit_field_of_eight_bytes_is_a_number_and_of_nine_octets() -> None:
    eight = Decimal("9223372036854775809")  # 2^63 + 1
    assert decoded(BITFIELD, "8000000000000001") == Value(9223372036854775809, eight)
    assert decoded(BITFIELD, "018000000000000001") == Value(
        "018000000000000001", Decimal("27670116110564327425")
    )


def test_a_whole_number_is_written_without_sign_of_its_exponent() -> None:
    assert encode_value(0x28, "12", 4) == Coded(0x28, 0x00, bytes.fromhex("0000000C"))
    assert encode_value(0x28, "-12", 4) == Coded(0x28, 0x80, bytes.fromhex("0000000C"))
    assert encode_value(0x28, "1E63", 1) == Coded(0x28, 0x3F, b"\x01")
    assert encode_value(0x28, "1E-63", 1) == Coded(0x28, 0x7F, b"\x01")
    assert encode_value(ASCII, "ABC", 3) == Coded(ASCII, 0, b"ABC")


@pytest.mark.parametrize(
    ("unit", "text", "nob", "message"),
    [
        (0x08, "1E64", 4, "1E64: more than 63 powers of ten"),
        (0x08, "warm", 4, "'warm' is no number"),
        (0x08, "NaN", 4, "'NaN' is no number"),
        (0x08, "256", 1, "256 does not fit into 1 bytes"),
        (ASCII, "ABCD", 3, "'ABCD' does not fit into 3 bytes"),
    ],
)
def test_why_a_value_cannot_be_written(unit: int, text: str, nob: int, message: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        encode_value(unit, text, nob)
    assert str(caught.value) == message


# framing


def test_garbage_is_reported_as_soon_as_there_are_256_bytes_of_it() -> None:
    framer = KmpFramer()
    assert events_of(framer, [b"\x55" * 255], quiet=False) == []
    assert events_of(framer, [b"\x55"], quiet=False) == [
        DroppedBytes(DropReason.GARBAGE, b"\x55" * 256)
    ]


# conversation


def test_the_meter_rests_after_a_question_that_it_does_not_know() -> None:
    wire = line(3, SILENT, registers(60, 1001), SILENT)
    wire.run(PollRequest(sources=(60,), identity=("serial_no", 1001)))
    assert wire.pauses == [1.6, 1.6]


def test_an_answer_to_another_request_is_shown() -> None:
    with pytest.raises(MeterError, match="another request") as caught:
        line(1, SERIAL).run(PollRequest(sources=(60,)))
    assert caught.value.state is LinkState.BYTES_NO_FRAMES
    assert f"another request: {SERIAL.hex(' ')}" in str(caught.value)


def test_a_register_that_was_not_requested_is_no_answer() -> None:
    # 003C 0044: the bytes 3C 00 in the middle are no register
    wire = line(3, registers(0x3C00), registers(60, 68))
    found = wire.run(PollRequest(sources=(60, 68)))
    assert wire.sent == [ask_registers(60, 68)] * 2
    assert found.unsupported == frozenset()
