"""HAN at its limits: when a start is judged, what is text, and what Kamstrup's lists assume."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState
from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Message
from kamstrup_mqtt.protocols.han import SPEC, HanCodec, HdlcFramer, apdu, axdr
from kamstrup_mqtt.protocols.han.axdr import Element
from kamstrup_mqtt.protocols.han.framing import header_end
from tests.support.framing import events_of, frames_of
from tests.support.fresh_import import import_fresh
from tests.support.han_recordings import LIVE_1, hdlc, pushed

KAMSTRUP = "0A 0E 4B616D73747275705F5630303031"  # "Kamstrup_V0001"
POWER = "09 06 0101010700FF 06 00000B08"  # 1-1:1.7.0.255, 2824
NAMELESS = "09 06 0101630909FF"  # 1-1:99.9.9.255, which no list has


def decode(wire: bytes) -> Message:
    (frame,) = frames_of(HdlcFramer(), [wire])
    return HanCodec().decode(frame)


def last(elements: int, body: str) -> DecodedValue:
    return decode(pushed(f"02 {elements:02X} {body}")).objects[-1]


# the table as a new import builds it


def test_codes_of_the_three_phases() -> None:
    """Kamstrup HAN-NVE interface description rev 3.1: L2 is 20 above L1, L3 another 20."""
    keys = import_fresh("kamstrup_mqtt.protocols.han.obis").KEYS
    expected = {
        "power_import": ("21.7.0", "41.7.0", "61.7.0"),
        "power_export": ("22.7.0", "42.7.0", "62.7.0"),
        "current": ("31.7.0", "51.7.0", "71.7.0"),
        "voltage": ("32.7.0", "52.7.0", "72.7.0"),
        "power_factor": ("33.7.0", "53.7.0", "73.7.0"),
        "energy_import": ("21.8.0", "41.8.0", "61.8.0"),
        "energy_export": ("22.8.0", "42.8.0", "62.8.0"),
    }
    assert {code: key for code, key in keys.items() if key[-3:-1] == "_l"} == {
        f"1-{b}:{code}.255": f"{key}_l{phase}"
        for b in (0, 1)
        for key, codes in expected.items()
        for phase, code in enumerate(codes, 1)
    }


def test_the_key_of_a_nameless_source_keeps_its_letters() -> None:
    assert SPEC.fallback_key("element_A") == "obis_element_A"


# framing


def test_rubbish_is_reported_as_soon_as_there_are_1024_bytes_of_it() -> None:
    framer = HdlcFramer()
    assert events_of(framer, [b"\x55" * 1023], quiet=False) == []
    assert events_of(framer, [b"\x55"], quiet=False) == [
        DroppedBytes(DropReason.GARBAGE, b"\x55" * 1024)
    ]
    # also when a frame may begin behind it
    assert events_of(HdlcFramer(), [b"\x55" * 1024 + b"\x7e\xa0"], quiet=False) == [
        DroppedBytes(DropReason.GARBAGE, b"\x55" * 1024)
    ]


def test_rubbish_keeps_its_first_byte() -> None:
    assert events_of(HdlcFramer(), [b"X" + LIVE_1])[0] == DroppedBytes(DropReason.GARBAGE, b"X")


def test_a_start_is_rejected_as_early_as_possible() -> None:
    # a length of 6 is seen in the third byte, a wrong HCS in its own second one
    for start, reason in (("7E A0 06", "length"), ("7E A0 E2 2B 21 13 24 9A", "checksum")):
        wire = bytes.fromhex(start)
        assert events_of(HdlcFramer(), [wire]) == [DroppedBytes(DropReason(reason), wire)]


def test_an_address_without_an_end() -> None:
    with pytest.raises(ValueError, match="address") as caught:
        header_end(bytes.fromhex("A020 00000000"), 0)
    assert str(caught.value) == "an address does not end within 4 bytes"
    assert header_end(bytes.fromhex("A020 000000"), 0) is None


def test_addresses_of_two_bytes_and_in_capitals() -> None:
    information = bytes.fromhex("E6E700 0F 00000000 00 02 02" + POWER)
    header = decode(hdlc(information, "02 05 AB 13")).header
    assert (header["destination"], header["source"], header["control"]) == ("0205", "AB", "13")


# messages


def test_a_message_that_ends_behind_its_date() -> None:
    with pytest.raises(MeterError, match="an element is missing at byte 18") as caught:
        decode(pushed(""))
    assert caught.value.state is LinkState.BYTES_NO_FRAMES


def test_a_date_is_written_without_a_tag_by_default() -> None:
    """Kamstrup HAN-NVE interface description rev 3.1: 0C and twelve bytes."""
    clock = bytes.fromhex("07E3011D02010005FF800000")
    assert apdu.write(clock, Element(axdr.NULL, None)).endswith(
        bytes.fromhex("0F 00000000 0C 07E3011D02010005FF800000 00")
    )


# lists


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("06 00000B08", "it is a single value, not a list"),
        (
            "01 01 02 03 0906 0100010700FF 06 00000B08 02 01 0F 00",
            "something else than a scaler and a unit follows a value",
        ),
    ],
)
def test_why_a_list_cannot_be_read(body: str, why: str) -> None:
    with pytest.raises(MeterError) as caught:
        decode(pushed(body))
    assert f"the list cannot be read: {why}" in str(caught.value)


def test_the_codes_of_others_in_a_kamstrup_list_have_its_units() -> None:
    assert last(3, KAMSTRUP + "09 06 0100010700FF 06 00000B08") == DecodedValue(
        "1-0:1.7.0.255", 2824, Decimal(2824), "W"
    )


def test_a_text_of_six_letters_is_no_code() -> None:
    assert last(4, KAMSTRUP + POWER + "0A 06 414243444546") == DecodedValue(
        "element_4", "ABCDEF", "ABCDEF"
    )


def test_twelve_bytes_are_a_date_only_behind_the_code_of_a_clock() -> None:
    octets = "07e3011d02010005ff800000"
    assert last(5, KAMSTRUP + POWER + NAMELESS + "09 0C" + octets) == DecodedValue(
        "1-1:99.9.9.255", octets, octets
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0A 03 412042", "A B"),  # a text, wherever it stands; the blank is printable
        ("0A 03 417E42", "A~B"),
        ("0A 03 417F42", "417f42"),
        ("09 03 414243", "414243"),  # octets are text only where a text is known to stand
    ],
)
def test_values_that_are_text(value: str, shown: str) -> None:
    assert last(5, KAMSTRUP + POWER + NAMELESS + value) == DecodedValue(
        "1-1:99.9.9.255", shown, shown
    )


def test_a_wrong_hcs_is_detected_after_any_bytes() -> None:
    # no header is known yet, or that of the frame before: neither excuses a wrong HCS
    damaged = bytes.fromhex("7E A0 E2 2B 21 13 24 9A")
    assert events_of(HdlcFramer(), [b"\x00" + damaged]) == [
        DroppedBytes(DropReason.CHECKSUM, b"\x00" + damaged)
    ]
    assert events_of(HdlcFramer(), [LIVE_1, damaged])[-1] == DroppedBytes(
        DropReason.CHECKSUM, damaged
    )
    # a length whose low byte is 00
    damaged = bytes.fromhex("7E A1 00 2B 21 13 00 00")
    assert events_of(HdlcFramer(), [damaged]) == [DroppedBytes(DropReason.CHECKSUM, damaged)]
