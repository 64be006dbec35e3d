"""Lists: what a frame says, typed from seed 003 and the documents named beside each."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState, Scalar
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.han import SPEC, HanCodec, apdu, axdr, datetimes
from kamstrup_mqtt.protocols.han.apdu import DateHeader
from kamstrup_mqtt.protocols.han.axdr import Element
from kamstrup_mqtt.protocols.han.codec import kamstrup_body
from kamstrup_mqtt.protocols.han.framing import encode_frame
from tests.support.framing import frames_of
from tests.support.han_recordings import (
    HOURLY_1,
    HOURLY_2,
    HOURLY_3,
    LIVE_1,
    LIVE_2,
    LIVE_3,
    METER_ID,
    hdlc,
    pushed,
)

LIVE_SOURCES = (
    *("list_id", "1-1:0.0.5.255", "1-1:96.1.1.255"),
    *("1-1:1.7.0.255", "1-1:2.7.0.255", "1-1:3.7.0.255", "1-1:4.7.0.255"),
    *("1-1:31.7.0.255", "1-1:51.7.0.255", "1-1:71.7.0.255"),
    *("1-1:32.7.0.255", "1-1:52.7.0.255", "1-1:72.7.0.255"),
)
HOURLY_SOURCES = (
    *("0-1:1.0.0.255", "1-1:1.8.0.255", "1-1:2.8.0.255", "1-1:3.8.0.255", "1-1:4.8.0.255"),
)
IDS = ("Kamstrup_V0001", METER_ID, "6841121BN243101040")


def decode(wire: bytes, energy_scale: int = 10) -> Message:
    codec = HanCodec(energy_scale=energy_scale)
    (frame,) = frames_of(codec.framer(), [wire])
    return codec.decode(frame)


def values(message: Message) -> dict[object, Scalar]:
    assert len({obj.id for obj in message.objects}) == len(message.objects)
    return {obj.id: obj.value for obj in message.objects}


def texts(message: Message) -> list[str]:
    return [str(obj.value) for obj in message.objects]


@pytest.mark.parametrize(
    ("wire", "numbers"),
    [
        (LIVE_1, "2824 0 465 0 10.91 7.50 5.57 220 221 223"),
        (LIVE_2, "3673 0 277 0 14.18 8.29 8.66 218 218 223"),
        (LIVE_3, "5424 0 312 0 22.19 19.70 5.67 214 218 221"),
    ],
)
def test_the_seeds_lists_of_ten_seconds(wire: bytes, numbers: str) -> None:
    message = decode(wire)
    assert tuple(obj.id for obj in message.objects) == LIVE_SOURCES
    assert texts(message) == [*IDS, *numbers.split()]
    units = [None] * 3 + ["W"] * 2 + ["var"] * 2 + ["A"] * 3 + ["V"] * 3
    assert [obj.unit for obj in message.objects] == units


@pytest.mark.parametrize(
    ("wire", "numbers"),
    [
        (
            HOURLY_1,
            "4187 0 376 0 14.96 9.06 10.45 219 219 223"
            " 2019-01-29T01:00:05 44228.00 0.00 6691.66 769.40",
        ),
        (
            HOURLY_2,
            "5429 0 336 0 22.12 19.63 5.70 214 219 222"
            " 2019-01-29T10:00:05 44260.68 0.00 6694.54 769.40",
        ),
        (
            HOURLY_3,
            "5426 0 233 0 22.33 19.88 5.68 211 219 219"
            " 2019-01-29T11:00:05 44264.29 0.00 6694.83 769.40",
        ),
    ],
)
def test_the_seeds_hourly_lists(wire: bytes, numbers: str) -> None:
    message = decode(wire)
    assert tuple(obj.id for obj in message.objects) == LIVE_SOURCES + HOURLY_SOURCES
    assert texts(message) == [*IDS, *numbers.split()]
    assert [obj.unit for obj in message.objects[13:]] == [None, "kWh", "kWh", "kvarh", "kvarh"]


def test_raw_values_are_as_sent() -> None:
    raw = {obj.id: obj.raw for obj in decode(HOURLY_1).objects}
    assert raw["1-1:1.8.0.255"] == 4422800
    assert raw["1-1:31.7.0.255"] == 1496
    assert raw["list_id"] == "Kamstrup_V0001"
    assert raw["0-1:1.0.0.255"] == "07e3011d02010005ff800000"


def test_counts_of_one_watt_hour() -> None:
    found = values(decode(HOURLY_1, energy_scale=1))
    assert str(found["1-1:1.8.0.255"]) == "4422.800"
    assert str(found["1-1:2.8.0.255"]) == "0.000"
    assert str(found["1-1:4.8.0.255"]) == "76.940"
    assert str(found["1-1:31.7.0.255"]) == "14.96"


def test_no_other_energy_scale() -> None:
    assert HanCodec().energy_scale is None
    with pytest.raises(ValueError, match="energy_scale is 10 or 1, not 100"):
        HanCodec(energy_scale=100)


def test_the_header() -> None:
    assert decode(LIVE_1).header == {
        "direction": "push",
        "destination": "2B",
        "source": "21",
        "control": "13",
        "length": 226,
        "list_id": "Kamstrup_V0001",
        "maker": "kamstrup",
        "meter_time": "2019-01-21T23:43:10",
        "weekday": 1,
        "clock_status": 0,
        "elements": 25,
        "date_header": "untagged",
    }
    assert decode(HOURLY_3).header["length"] == 300
    assert decode(HOURLY_3).header["elements"] == 35


def test_the_firmware_of_2017_tags_its_date() -> None:
    # han.md 1.3: 09 0C instead of 0C, so 229 bytes and HCS 98 86 (1.1)
    information = LIVE_1[8:-3]
    wire = hdlc(information[:8] + b"\x09" + information[8:])
    assert (len(wire), wire[6:8].hex()) == (229, "9886")
    message = decode(wire)
    assert message.header["date_header"] == "tagged"
    assert message.header["meter_time"] == "2019-01-21T23:43:10"
    assert texts(message)[3] == "2824"


def test_no_date_header() -> None:
    header = decode(
        pushed("02 03 0A 08 4B616D7374727570 0906 0101010700FF 06 00000001", "00")
    ).header
    assert header["date_header"] == "absent"
    assert (header["meter_time"], header["weekday"], header["clock_status"]) == (None, None, None)


def test_a_clock_that_was_never_set() -> None:
    # han.md 2.8: the vendor's example, 2000-01-01 with status 01
    wire = pushed(
        "02 03 0A 08 4B616D7374727570 0906 0001010000FF 090C 07D00101 06 000000 FF 8000 01",
        "0C 07D00101 06 000000 FF 8000 01",
    )
    message = decode(wire)
    assert message.header["meter_time"] is None
    assert (message.header["weekday"], message.header["clock_status"]) == (6, 1)
    assert message.objects[1] == DecodedValue("0-1:1.0.0.255", "07d0010106000000ff800001", None)


def test_one_phase_sends_nulls_for_the_phases_it_lacks() -> None:
    # han.md 2.2: code and value are null, the count stays 25
    wire = pushed(
        "02 0B 0A 0E 4B616D73747275705F5630303031"
        " 0906 01011F0700FF 06 00000182 00 00 00 00"
        " 0906 0101200700FF 12 00E6 00 00"
    )
    message = decode(wire)
    assert message.header["elements"] == 11
    assert values(message) == {
        "list_id": "Kamstrup_V0001",
        "1-1:31.7.0.255": Decimal("3.86"),
        "1-1:32.7.0.255": Decimal(230),
    }


def test_a_null_after_a_code_is_a_missing_value() -> None:
    message = decode(pushed("02 05 0A 01 4B 0906 0101010700FF 00 0906 0101020700FF 06 00000007"))
    assert message.objects[1] == DecodedValue("1-1:1.7.0.255", None, None)
    assert message.objects[2] == DecodedValue("1-1:2.7.0.255", 7, Decimal(7), "W")


def test_values_without_key_or_code_stay_visible() -> None:
    message = decode(
        pushed(
            "02 08 0A 08 4B616D7374727570"
            " 0906 01016309 09FF 06 00000007"  # 1-1:99.9.9
            " 0906 01016309 0AFF 09 02 DEAD"
            " 12 0102"  # no code before it
            " 0906 0101010700FF 06 00000005"
        )
    )
    assert message.objects[1:] == (
        DecodedValue("1-1:99.9.9.255", 7, Decimal(7)),
        DecodedValue("1-1:99.9.10.255", "dead", "dead"),
        DecodedValue("element_6", 258, Decimal(258)),
        DecodedValue("1-1:1.7.0.255", 5, Decimal(5), "W"),
    )
    assert SPEC.key_of("element_6") is None


def test_a_structure_as_a_value_is_shown_as_octets() -> None:
    message = decode(pushed("02 03 0A 01 4B 0906 0101010700FF 02 01 12 0001"))
    assert message.objects[1] == DecodedValue("1-1:1.7.0.255", "0201120001", "0201120001")


@pytest.mark.parametrize(
    ("octets", "raw", "value"),
    [
        ("0A 04 41420000", "AB", "AB"),  # EMBRIQ pads with NULs (han.md 2.5)
        ("0A 02 0000", "", None),
        ("0A 02 41C3", "41c3", "41c3"),
        ("0A 02 417F", "417f", "417f"),
        ("09 02 4142", "AB", "AB"),  # Kaifa writes its texts so
        ("06 00A98AC7", 11111111, Decimal(11111111)),  # push 1: the number as an integer
    ],
)
def test_texts(octets: str, raw: str | int, value: Scalar) -> None:
    message = decode(pushed(f"02 03 0A 08 4B616D7374727570 0906 0101000001FF {octets}"))
    assert message.objects[1] == DecodedValue("1-1:0.0.1.255", raw, value)


@pytest.mark.parametrize(
    ("octets", "value"),
    [("03E8", "1000"), ("03E9", "10.01"), ("56B7", "221.99")],  # han.md 2.7, Bornholm 22199
)
def test_a_voltage_that_cannot_be_volts_is_counted_in_hundredths(octets: str, value: str) -> None:
    message = decode(pushed(f"02 03 0A 08 4B616D7374727570 0906 0101200700FF 12 {octets}"))
    assert str(message.objects[1].value) == value


def test_push_1() -> None:
    # 5512-2584 B1: energies, number and phases every 10 s; codes in that list's order (han.md 2.4)
    message = decode(
        pushed(
            "02 11 0A 0E 4B616D73747275705F5630303031"
            " 0906 0101010800FF 06 000BFBA6"
            " 0906 0101000001FF 06 00A98AC7"
            " 0906 0101150700FF 06 000000BA"
            " 0906 0101210700FF 12 0030"
            " 0906 01010D0700FF 12 0064"
            " 0906 0101160800FF 06 00000000"
            " 0906 0101290800FF 06 00024020"
            " 0906 01013D0800FF 06 FFFFFFFF"
        )
    )
    assert [(o.id, str(o.value), o.unit) for o in message.objects[1:]] == [
        ("1-1:1.8.0.255", "7853.18", "kWh"),
        ("1-1:0.0.1.255", "11111111", None),
        ("1-1:21.7.0.255", "186", "W"),
        ("1-1:33.7.0.255", "0.48", None),
        ("1-1:13.7.0.255", "1.00", None),
        ("1-1:22.8.0.255", "0.00", "kWh"),
        ("1-1:41.8.0.255", "1474.88", "kWh"),
        ("1-1:61.8.0.255", "42949672.95", "kWh"),
    ]


AIDON = (  # han.md 2.5: an array, scaler and unit in the frame, no date header
    "01 06"
    " 02 02 0906 0101000281FF 0A 0B 4149444F4E5F5630303031"
    " 02 03 0906 0100010700FF 06 00003159 02 02 0F 00 16 1B"
    " 02 03 0906 01001F0700FF 10 FFF6 02 02 0F FF 16 21"
    " 02 03 0906 0100200700FF 12 0910 02 02 0F FF 16 23"
    " 02 03 0906 0100010800FF 06 00A72A8A 02 02 0F 01 16 1E"
    " 02 03 0906 01000E0700FF 12 01F4 02 02 0F FF 16 7B"
)


def test_an_aidon_list_by_the_scalers_it_carries() -> None:
    message = decode(hdlc(bytes.fromhex("E6E700 0F 40000000 00" + AIDON), "41 08 83 13"))
    assert (message.header["source"], message.header["list_id"]) == ("0883", "AIDON_V0001")
    assert message.objects == (
        DecodedValue("1-1:0.2.129.255", "AIDON_V0001", "AIDON_V0001"),
        DecodedValue("1-0:1.7.0.255", 12633, Decimal(12633), "W"),
        DecodedValue("1-0:31.7.0.255", -10, Decimal("-1.0"), "A"),
        DecodedValue("1-0:32.7.0.255", 2320, Decimal("232.0"), "V"),
        DecodedValue("1-0:1.8.0.255", 10955402, Decimal(109554020), "Wh"),
        DecodedValue("1-0:14.7.0.255", 500, Decimal("50.0"), "DLMS unit 123"),
    )


def test_array_elements_without_a_code_stay_visible() -> None:
    message = decode(pushed("01 03 02 02 0906 0100010700FF 06 00000001 12 0007 02 01 12 0008"))
    assert [(obj.id, obj.raw, obj.value) for obj in message.objects] == [
        ("1-0:1.7.0.255", 1, None),  # without a scaler its scale is unknown
        ("element_2", 7, Decimal(7)),
        ("element_3", "0201120008", "0201120008"),
    ]


def test_pairs_in_structures_of_their_own() -> None:
    # an Austrian list: a flat pair, then structures
    message = decode(
        pushed(
            "02 04 0906 0100010700FF 06 00000018"
            " 02 02 0906 0000600100FF 09 02 4142"
            " 02 03 0906 01001F0700FF 12 002D 02 02 0F FE 16 21"
        )
    )
    assert message.objects == (
        DecodedValue("1-0:1.7.0.255", 24, None),
        DecodedValue("0-0:96.1.0.255", "AB", "AB"),
        DecodedValue("1-0:31.7.0.255", 45, Decimal("0.45"), "A"),
    )


@pytest.mark.parametrize(
    ("wire", "state", "message"),
    [
        (hdlc(b""), LinkState.BYTES_NO_FRAMES, "it begins empty, not E6 E7 00"),
        (hdlc(b"\xe6\xe6\x00\x0f"), LinkState.BYTES_NO_FRAMES, "it begins E6 E6 00, not E6 E7 00"),
        (hdlc(b"\xe6\xe7\x00"), LinkState.BYTES_NO_FRAMES, "begins with nothing, not 0F"),
        (hdlc(b"\xe6\xe7\x00\xc2"), LinkState.BYTES_NO_FRAMES, "begins with C2, not 0F"),
        (
            hdlc(bytes.fromhex("E6E7000F00000000")),
            LinkState.BYTES_NO_FRAMES,
            "no date header at byte 5",
        ),
        (
            hdlc(bytes.fromhex("E6E7000F000000000C07E3")),
            LinkState.BYTES_NO_FRAMES,
            "the date header at byte 5 is cut",
        ),
        (pushed("02 02 0A 01 4B"), LinkState.BYTES_NO_FRAMES, "an element is missing at byte 23"),
        (pushed("02 01 0A 01 4B 00"), LinkState.BYTES_NO_FRAMES, "1 bytes too many at byte 23"),
        (pushed("12 0001"), LinkState.BYTES_NO_FRAMES, "it is a single value, not a list"),
        (
            pushed("02 04 0A 01 4B 0906 0101010700FF 06 00000001 0906 0101020700FF"),
            LinkState.BYTES_NO_FRAMES,
            "no value follows its last code 1-1:2.7.0.255",
        ),
        (
            pushed("01 01 02 03 0906 0100010700FF 06 00000001 02 01 0F 00"),
            LinkState.BYTES_NO_FRAMES,
            "something else than a scaler and a unit",
        ),
    ],
)
def test_errors_of_unreadable_lists(wire: bytes, state: LinkState, message: str) -> None:
    with pytest.raises(MeterError, match=message) as caught:
        decode(wire)
    assert caught.value.state is state


def test_kaifas_first_list_is_one_number() -> None:
    message = decode(pushed("02 01 06 00000396", "09 0C 07E1090E 04 131F04 FF 8000 00"))
    assert message.objects == (DecodedValue("1-0:1.7.0.255", 918, Decimal(918), "W"),)
    assert message.header["maker"] == "kaifa"


def test_a_kaifa_list_by_its_positions() -> None:
    # recorded (han.md 2.6): MA105H2E, one phase, hourly
    wire = hdlc(
        bytes.fromhex(
            "E6E7000F40000000090C07E50507050E320FFF800000020E09074B464D5F303031"
            "09103131313131313131313131313131313109084D4131303548324506000000000600000000"
            "0600000000060000000006000000420600000"
            "98A090C07E50507050E320FFF80000006000000CC06000000000600000000060000005E"
        ),
        "01 0001 10",
    )
    message = decode(wire)
    assert [(obj.id, str(obj.value), obj.unit) for obj in message.objects[3:]] == [
        ("1-0:1.7.0.255", "0", "W"),
        ("1-0:2.7.0.255", "0", "W"),
        ("1-0:3.7.0.255", "0", "var"),
        ("1-0:4.7.0.255", "0", "var"),
        ("1-0:31.7.0.255", "0.066", "A"),
        ("1-0:32.7.0.255", "244.2", "V"),
        ("0-0:1.0.0.255", "2021-05-07T14:50:15", None),
        ("1-0:1.8.0.255", "0.204", "kWh"),
        ("1-0:2.8.0.255", "0.000", "kWh"),
        ("1-0:3.8.0.255", "0.000", "kvarh"),
        ("1-0:4.8.0.255", "0.094", "kvarh"),
    ]
    assert [obj.value for obj in message.objects[:3]] == ["KFM_001", "1" * 16, "MA105H2E"]


def test_kaifas_energies_of_64_bits() -> None:
    # the Swedish MA304T4 (han.md 2.6): u64 energies, 172 bytes
    numbers = "06 00000001" * 4 + "06 000003E8" * 3 + "06 000008FC" * 3
    body = "02 12 09 07 4B464D5F303031 09 10 " + "31" * 16 + "09 07 4D413330345434" + numbers
    body += "09 0C 07E50507050E320FFF800000" + "15 0000000100000000" * 4
    message = decode(pushed(body, "00"))
    assert str(message.objects[-1].value) == "4294967.296"


def test_a_value_that_a_kaifa_meter_leaves_empty_keeps_its_place() -> None:
    # as the list of 13 above it (han.md 2.6), U2 null
    body = "02 0D 09 07 4B464D5F303031 09 10 " + "31" * 16 + "09 07 4D413330344834"
    body += "06 000005DC" + "06 00000000" * 3 + "06 000009C4" * 3 + "06 000008FC 00 06 000008FD"
    message = decode(pushed(body, "09 0C 07E10913 02 132400 FF 8000 00"))
    assert message.header["maker"] == "kaifa"
    assert [None if obj.value is None else str(obj.value) for obj in message.objects[3:]] == [
        *("1500", "0", "0", "0", "2.500", "2.500", "2.500", "230.0", None, "230.1"),
    ]
    # but a list without identifier is not taken for one of Kaifa's
    assert decode(pushed("02 09" + "00" * 9)).header["maker"] is None


def test_kaifas_swedish_list_has_codes_and_its_own_scales() -> None:
    message = decode(
        pushed(
            "02 06 0906 0100000281FF 09 07 4B464D5F303031 0906 01001F0700FF 06 00000020"
            " 0906 0100200700FF 06 00000912",
            "00",
        )
    )
    assert [str(obj.value) for obj in message.objects[1:]] == ["0.032", "232.2"]


def test_an_unknown_list_is_decoded_by_its_codes() -> None:
    message = decode(pushed("02 03 0A 03 414243 06 00000001 12 0002"))
    assert [obj.id for obj in message.objects] == ["list_id", "element_2", "element_3"]
    assert message.header["maker"] is None
    assert SPEC.fallback_key("element_2") == "obis_element_2"


@given(st.binary(max_size=80))
def test_any_information_is_a_message_or_an_error(data: bytes) -> None:
    for information in (data, bytes.fromhex("E6E7000F0000000000") + data):
        payload = hdlc(information)[1:-3]
        try:
            HanCodec().decode(Frame(b"", payload, "push"))
        except MeterError:
            continue


MOMENT = datetime(2019, 1, 21, 23, 43, 10)  # noqa: DTZ001 - the meter's own time


def live_1() -> list[tuple[str, Element] | None]:
    """The entries of the seed's first list."""
    texts = [(1, bytes.fromhex(METER_ID)), (2, IDS[2].encode())]
    numbers = [2824, 0, 465, 0, 1091, 750, 557, 220, 221, 223]
    types = [axdr.UINT32] * 7 + [axdr.UINT16] * 3
    return [
        *((LIVE_SOURCES[at], Element(axdr.TEXT, text)) for at, text in texts),
        *(
            (source, Element(type_, number))
            for source, type_, number in zip(LIVE_SOURCES[3:], types, numbers, strict=True)
        ),
    ]


def encode(
    list_id: bytes,
    entries: list[tuple[str, Element] | None],
    moment: datetime,
    date_header: DateHeader = "untagged",
) -> bytes:
    body = kamstrup_body(list_id, entries)
    message = apdu.write(datetimes.write(moment), body, date_header)
    return encode_frame(apdu.LLC + message, b"\x2b", b"\x21", 0x13)


def test_a_list_is_encoded_as_the_seed_has_it() -> None:
    assert encode(b"Kamstrup_V0001", live_1(), MOMENT) == LIVE_1


def test_the_other_date_headers_and_nulls_are_encoded() -> None:
    tagged = encode(b"Kamstrup_V0001", live_1(), MOMENT, "tagged")
    assert (len(tagged), tagged[6:8].hex()) == (229, "9886")  # han.md 1.1
    assert decode(tagged).header["date_header"] == "tagged"
    absent = encode(b"K", [None, ("1-1:1.7.0.255", Element(axdr.UINT32, 1))], MOMENT, "absent")
    information = "E6E700 0F 00000000 00 02 05 0A 01 4B 00 00 0906 0101010700FF 06 00000001"
    assert absent == hdlc(bytes.fromhex(information))


numbers = st.integers(0, 2**32 - 1)


@given(st.lists(numbers, min_size=4, max_size=4), st.sampled_from([1, 10]))
def test_encoded_numbers_come_back_exactly(counts: list[int], scale: int) -> None:
    sources = HOURLY_SOURCES[1:]
    entries: list[tuple[str, Element] | None] = [
        (s, Element(axdr.UINT32, n)) for s, n in zip(sources, counts, strict=True)
    ]
    message = decode(encode(b"Kamstrup_V0001", entries, MOMENT), scale)
    assert [obj.raw for obj in message.objects[1:]] == counts
    for obj, count in zip(message.objects[1:], counts, strict=True):
        assert isinstance(obj.value, Decimal)
        assert obj.value * (1000 // scale) == count
