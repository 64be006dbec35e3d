"""KMP messages, both directions; frames and values as the documents print them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, Json, LinkState
from kamstrup_mqtt.protocols.base import Message
from kamstrup_mqtt.protocols.kmp.framing import KmpFramer
from kamstrup_mqtt.protocols.kmp.messages import (
    decode_message,
    get_register,
    get_serial_no,
    get_type,
    register_answer,
    serial_no_answer,
    type_answer,
)
from kamstrup_mqtt.protocols.kmp.values import Coded
from tests.support.framing import frames_of
from tests.support.kmp_frames import answer, request


def read(wire: bytes | str) -> Message:
    data = bytes.fromhex(wire) if isinstance(wire, str) else wire
    (frame,) = frames_of(KmpFramer(), [data])
    return decode_message(frame)


def header(direction: str, cid: str, name: str, **more: Json) -> dict[str, Json]:
    start: dict[str, Json] = {
        "direction": direction,
        "destination": "0x3F",
        "cid": cid,
        "name": name,
    }
    return start | more


def test_register_1002_of_seed_002() -> None:
    asked = read("803F100103EA4CB70D")
    assert asked == Message(header("request", "0x10", "GetRegister", registers=[1002]))
    answered = read("403F1003EA2F040000030E33B2320D")
    assert answered == Message(
        header("answer", "0x10", "GetRegister"), (DecodedValue(1002, 200243, "20:02:43"),)
    )


def test_type_and_serial_number_of_the_standard() -> None:
    # Kamstrup 5512-447 rev M1, 6.2.1: type 0004, software F1; 6.2.2: 01234567h
    assert read("403F0100041BF90126990D") == Message(
        header("answer", "0x01", "GetType", type="0004", software="F1"),
        (DecodedValue("type", "0004", "0004"), DecodedValue("software", "F1", "F1")),
    )
    assert read("403F0201234567E9560D") == Message(
        header("answer", "0x02", "GetSerialNo"), (DecodedValue("serial_no", 19088743, "19088743"),)
    )
    assert read("803F01058A0D") == Message(header("request", "0x01", "GetType"))
    assert read("803F0235E90D") == Message(header("request", "0x02", "GetSerialNo"))


def test_an_invalid_software_letter_is_shown_as_hex() -> None:
    assert read(answer("3F015A000001")).header["software"] == "0001"
    assert read(answer("3F015A001B01")).header["software"] == "1B01"
    assert read(answer("3F015A001A01")).header["software"] == "Z1"


def test_eight_registers_of_the_readme() -> None:
    # seed 002: 60 68 80 74 86 87 89 266 = 0.303 GJ, 11.388 m³, 0.0 kW, 3 l/h, 61.62, 54.02, 7.60,
    # 84208 Wh; frame built: two-byte power, flow and temperatures, as a 403 answers
    message = read(
        answer(
            "3F10 003C08 04 43 0000012F 0044 28 04 43 00002C7C 0050 16 02 41 0000"
            "004A 29 02 00 0003 0056 25 02 42 1812 0057 25 02 42 151A 0059 26 02 42 02F8"
            "010A 01 04 00 000148F0"
        )
    )
    assert message.objects == (
        DecodedValue(60, 303, Decimal("0.303"), "GJ"),
        DecodedValue(68, 11388, Decimal("11.388"), "m³"),
        DecodedValue(80, 0, Decimal("0.0"), "kW"),
        DecodedValue(74, 3, Decimal(3), "L/h"),
        DecodedValue(86, 6162, Decimal("61.62"), "°C"),
        DecodedValue(87, 5402, Decimal("54.02"), "°C"),
        DecodedValue(89, 760, Decimal("7.60"), "K"),
        DecodedValue(266, 84208, Decimal(84208), "Wh"),
    )
    assert [str(obj.value) for obj in message.objects][2] == "0.0"


def test_a_long_number_that_names_the_meter_is_digits_in_pairs() -> None:
    """kmp.md 1.6: on electricity registers NoB 8..16 of unit 33 is an identifier, shown as BCD."""
    message = read(answer("3F10 03F2 33 0A 00 00010203040506070809 0033 33 08 00 0000000012345678"))
    assert message.objects == (
        DecodedValue(1010, "00010203040506070809", "00010203040506070809"),
        DecodedValue(51, "0000000012345678", "0000000012345678"),
    )
    # a heat meter's customer number of four bytes is a number, and so is any other register
    assert read(answer("3F10 03F2 33 04 00 00BC614E")).objects[0].value == Decimal(12345678)
    assert read(answer("3F10 0100 33 08 00 0000000000000010")).objects[0].value == Decimal(16)


def test_an_empty_answer_has_no_objects() -> None:
    assert read("403F10079A0D").objects == ()


def test_the_clock_being_set_is_read_but_never_written() -> None:
    # 6.2.3 with the right checksum: 2007-07-30, 16:15:57
    assert read("803F090001144A00027715774E0D").header == header(
        "request", "0x09", "SetClock", date="2007-07-30", time="16:15:57"
    )
    impossible = read(request("3F09 00000000 00027715"))
    assert impossible.header == header("request", "0x09", "SetClock", data="0000000000027715")
    assert read("06") == Message({"direction": "answer", "name": "Ack"})


def test_other_commands_show_their_data() -> None:
    assert read("803FB8FF028CE40D").header == header("request", "0xB8", "Logger", data="ff02")
    assert read("40FFFF1D0F0D").header == {
        "direction": "answer",
        "destination": "0xFF",
        "cid": "0xFF",
        "name": "unknown",
        "data": "",
    }


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (request("3F0101"), "1 bytes of data instead of 0"),
        (request("3F0200"), "1 bytes of data instead of 0"),
        (request("3F09 0001"), "2 bytes of data instead of 8"),
        (request("3F10"), "asks for 0 registers"),
        (request("3F1000"), "asks for 0 registers"),
        (request("3F1009" + "003C" * 9), "asks for 9 registers"),
        (request("3F1002003C"), "3 bytes of data instead of 5"),
        (answer("3F01000406"), "3 bytes of data instead of 4"),
        (answer("3F02012345"), "3 bytes of data instead of 4"),
        (answer("3F10 003C 08"), "ends with 00 3c 08, which is no register"),
        (answer("3F10 003C 08 04 43 000001"), "register 60 ends after 3 of 4 bytes"),
    ],
)
def test_impossible_contents_are_a_fault_of_the_meter(wire: bytes, text: str) -> None:
    with pytest.raises(MeterError, match=text) as caught:
        read(wire)
    assert caught.value.state is LinkState.BYTES_NO_FRAMES


def test_writing() -> None:
    assert get_type(0x3F) == bytes.fromhex("3F01")
    assert get_serial_no(0x7F) == bytes.fromhex("7F02")
    assert get_register(0x3F, [1002]) == bytes.fromhex("3F100103EA")
    eight = [60, 68, 86, 87, 89, 74, 80, 1004]
    assert get_register(0x3F, eight) == bytes.fromhex("3F1008003C0044005600570059004A005003EC")
    assert type_answer(0x3F, 4, "F", 1) == bytes.fromhex("3F0100040601")
    assert serial_no_answer(0x3F, 19088743) == bytes.fromhex("3F0201234567")
    coded = Coded(0x2F, 0, bytes.fromhex("00030E33"))
    assert register_answer(0x3F, [(1002, coded)]) == bytes.fromhex("3F1003EA2F040000030E33")


@pytest.mark.parametrize("count", [0, 9])
def test_a_request_has_one_to_eight_registers(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} registers in a request"):
        get_register(0x3F, [60] * count)
