"""`kamstrup-mqtt decode`: exit codes, JSON, and the spelling of hex."""

from __future__ import annotations

import subprocess
from decimal import Decimal

import pytest

from kamstrup_mqtt.cli.decode import parse_hex
from tests.support.commandline import LIMIT, command, environment, kamstrup_mqtt

# Seed 002: PyKMP asks register 1002 of a MULTICAL 403 and reads 20:02:43.
REQUEST = "803F100103EA4CB70D"
ANSWER = "403F1003EA2F040000030E33B2320D"

# kmp.md 2.3: a 602 answers register 155 with 271 211.3 Wh.
WATT_HOURS = "403F10009B01044100296231A0EC0D"

# Seed 000: FE 95 of a 685-382 (README and comment of the driver).
TARIFFS = b"HFE950100002348000023470000000196\r".hex()

# Seed 003, the 10 s list; its masked meter id is replaced by sixteen "1", and the FCS is adapted.
HAN_LIST = (
    "7E A0 E2 2B 21 13 23 9A E6 E7 00 0F 00 00 00 00 0C 07 E3 01 1F 04 0D 24 0A FF 80 00 00"
    " 02 19 0A 0E 4B 61 6D 73 74 72 75 70 5F 56 30 30 30 31"
    " 09 06 01 01 00 00 05 FF 0A 10 31 31 31 31 31 31 31 31 31 31 31 31 31 31 31 31"
    " 09 06 01 01 60 01 01 FF 0A 12 36 38 34 31 31 32 31 42 4E 32 34 33 31 30 31 30 34 30"
    " 09 06 01 01 01 07 00 FF 06 00 00 0E BB 09 06 01 01 02 07 00 FF 06 00 00 00 00"
    " 09 06 01 01 03 07 00 FF 06 00 00 01 C4 09 06 01 01 04 07 00 FF 06 00 00 00 00"
    " 09 06 01 01 1F 07 00 FF 06 00 00 05 C1 09 06 01 01 33 07 00 FF 06 00 00 03 27"
    " 09 06 01 01 47 07 00 FF 06 00 00 03 91 09 06 01 01 20 07 00 FF 12 00 DC"
    " 09 06 01 01 34 07 00 FF 12 00 DE 09 06 01 01 48 07 00 FF 12 00 DD"
)


def fcs(data: bytes) -> bytes:
    """CRC-16/X-25, bit by bit, low byte first."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x8408 if register & 1 else 0)
    return (register ^ 0xFFFF).to_bytes(2, "little")


def han_list() -> bytes:
    inner = bytes.fromhex(HAN_LIST)[1:]
    return b"\x7e" + inner + fcs(inner) + b"\x7e"


def test_a_response_as_json() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", ANSWER)
    assert (result.code, result.err) == (0, "")
    (line,) = result.lines
    assert line["input"] == 0
    assert line["frame"]["direction"] == "answer"
    assert line["objects"] == [
        {"id": 1002, "key": "meter_clock", "raw": 200243, "value": "20:02:43", "unit": None}
    ]
    assert line["readings"] == {"meter_clock": "20:02:43"}


def test_a_request_as_json() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", REQUEST)
    assert result.code == 0
    (line,) = result.lines
    assert line["frame"]["direction"] == "request"
    assert (line["objects"], line["readings"]) == ([], {})


def test_numbers_keep_their_digits_and_a_register_without_a_name_is_shown() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", WATT_HOURS)
    assert '"value": 271211.3' in result.out
    assert result.lines[0]["objects"] == [
        {
            "id": 155,
            "key": "register_155",
            "raw": 2712113,
            "value": Decimal("271211.3"),
            "unit": "Wh",
        }
    ]
    assert result.lines[0]["readings"] == {"register_155": Decimal("271211.3")}


def test_readings_are_in_the_unit_of_their_key() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp-ascii", "--json", TARIFFS)
    assert result.code == 0
    assert result.lines[0]["readings"] == {
        "energy_import_2": 9032,
        "energy_import_tariff_1": 9031,
        "energy_import_tariff_2": 1,
    }


def test_a_han_list_and_its_assumed_energy_scale() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "han", "--json", han_list().hex(" "))
    assert (result.code, result.err) == (0, "")
    (line,) = result.lines
    frame = line["frame"]
    assert (frame["list_id"], frame["direction"]) == ("Kamstrup_V0001", "push")
    assert (frame["energy_scale"], frame["energy_scale_assumed"]) == (10, True)
    readings = line["readings"]
    assert readings["power_import"] == 0x0EBB
    assert readings["current_l1"] == Decimal("14.73")
    assert readings["voltage_l3"] == 0xDD
    assert readings["meter_type"] == "6841121BN243101040"
    given = kamstrup_mqtt(
        *("decode", "--protocol", "han", "--json", "--energy-scale", "1"), han_list().hex()
    )
    frame = given.lines[0]["frame"]
    assert (frame["energy_scale"], frame["energy_scale_assumed"]) == (1, False)


def test_dropped_bytes_are_shown_between_frames() -> None:
    damaged = ANSWER[:-4] + "330D"
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", damaged, ANSWER)
    assert result.code == 1
    first, second = result.lines
    assert first == {"input": 0, "dropped": "checksum", "raw": damaged.lower()}
    assert second["input"] == 1
    assert second["readings"] == {"meter_clock": "20:02:43"}


def test_a_truncated_recording_is_dropped() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", ANSWER[:12])
    assert result.code == 1
    assert result.lines == [{"input": 0, "dropped": "truncated", "raw": "403f1003ea2f"}]


def test_invalid_contents_with_a_valid_checksum_are_malformed() -> None:
    # GetRegister answer cut inside the register number; CRC-16/XMODEM of 3F 10 03 bit by bit
    register = 0
    for byte in b"\x3f\x10\x03":
        register ^= byte << 8
        for _ in range(8):
            register = ((register << 1) ^ (0x1021 if register & 0x8000 else 0)) & 0xFFFF
    wire = "403f1003" + register.to_bytes(2, "big").hex() + "0d"
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", wire)
    assert result.code == 1
    (line,) = result.lines
    assert (line["dropped"], line["raw"]) == ("malformed", wire)
    assert line["error"]


def test_bytes_that_the_framer_skips_are_garbage() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", "00")
    assert result.code == 1
    assert result.lines == [{"input": 0, "dropped": "garbage", "raw": "00"}]


def test_invalid_hex_is_named_and_the_other_lines_are_decoded() -> None:
    stdin = f"{ANSWER}\n40 3F xx\n\n{ANSWER}\n403\n".encode()
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", stdin=stdin)
    assert result.code == 2
    assert [line["input"] for line in result.lines] == [0, 3]
    assert result.err.splitlines() == [
        "line 2: character 7: 'x' is not a hex digit",
        "line 5: character 3: the last byte has only one hex digit (3 digits in all)",
    ]


def test_arguments_of_single_bytes_form_one_recording() -> None:
    separate = [ANSWER[i : i + 2] for i in range(0, len(ANSWER), 2)]
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", *separate)
    assert result.code == 0
    assert result.lines[0]["readings"] == {"meter_clock": "20:02:43"}


def test_tables() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", WATT_HOURS, ANSWER[:-2])
    assert result.code == 1
    assert "register_155  271211.3  Wh    2712113" in result.out
    assert "recording 2: dropped, truncated: 403f1003ea2f040000030e33b232" in result.out
    han = kamstrup_mqtt("decode", "--protocol", "han", han_list().hex())
    assert "energy_scale 10, energy_scale_assumed yes" in han.out


def test_lines_are_decoded_as_they_arrive() -> None:
    with subprocess.Popen(
        command("decode", "--protocol", "kmp", "--json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{ANSWER}\n".encode())
        process.stdin.flush()
        assert b"20:02:43" in process.stdout.readline()  # before the input ends
        process.stdin.close()
        assert process.wait(LIMIT) == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--protocol", "mbus", "00"), "choose from"),
        (("--protocol", "kmp", "--energy-scale", "10", ANSWER), "--energy-scale is for"),
        (("--protocol", "han", "--energy-scale", "7", "00"), "invalid choice"),
        ((ANSWER,), "--protocol"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt("decode", *args)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_valid_frame_in_noise_is_a_success() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", "--json", f"FFFF{ANSWER}")
    first, second = result.lines
    assert first == {"input": 0, "dropped": "garbage", "raw": "ffff"}
    assert second["input"] == 0
    assert result.code == 0


def test_nothing_to_decode() -> None:
    result = kamstrup_mqtt("decode", "--protocol", "kmp", stdin=b"")
    assert result.code == 1
    assert "nothing to decode" in result.err


@pytest.mark.parametrize(
    "text",
    ["403f10", "40 3F 10", "0x40 0x3f 0x10", "0x403F10", "40:3f:10", "40,3F,10", " 4 03 f10\n"],
)
def test_accepted_spellings_of_hex(text: str) -> None:
    assert parse_hex(text) == b"\x40\x3f\x10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("40 3G", "character 5: 'G' is not a hex digit"),
        ("40\x1b3F", r"character 3: '\x1b' is not a hex digit"),
        ("40 3", "character 4: the last byte has only one hex digit (3 digits in all)"),
        ("0x4", "character 2: 'x' is not a hex digit"),
    ],
)
def test_invalid_hex_is_named_with_its_position(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_hex(text)
    assert str(caught.value) == message


def test_a_telegram_of_another_kind_of_port_is_named() -> None:
    found = kamstrup_mqtt("decode", "--protocol", "han", "68FAFA6853FF000167DB084B464D6550")
    assert found.code == 1
    assert "dropped, m_bus: 68fafa68" in found.out
    assert "this kind of HAN port is not supported" in found.out
