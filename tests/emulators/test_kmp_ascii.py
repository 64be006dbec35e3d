"""The emulated 685-382 answers the seed's bytes, and what it is set to."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import Scalar, SerialParams
from kamstrup_mqtt.emulators import kmp_ascii
from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.kmp_ascii import SPEC
from tests.support import kmp_ascii_recordings


def ask(request: bytes, **settings: str) -> bytes:
    meter = kmp_ascii.make("e685_382", settings)
    return b"".join(reply.data for reply in meter.receive_data(request))


def values(request: bytes, **settings: str) -> dict[str, Scalar]:
    codec = SPEC.make_codec()
    framer = codec.framer()
    framer.receive_data(ask(request, **settings))
    event = framer.next_event()
    assert isinstance(event, Frame)
    return {str(SPEC.key_of(obj.id)): obj.value for obj in codec.decode(event).objects}


@pytest.mark.parametrize(
    ("request_", "answer"),
    list(zip(kmp_ascii_recordings.ALL[::2], kmp_ascii_recordings.ALL[1::2], strict=True)),
)
def test_it_answers_the_bytes_of_the_seed(request_: bytes, answer: bytes) -> None:
    assert ask(request_) == answer
    meter = kmp_ascii.make("e685_382", {})
    replies = [r for byte in request_ for r in meter.receive_data(bytes((byte,)))]
    assert [reply.data for reply in replies] == [answer]


def test_settings_with_the_values_of_the_readme() -> None:
    """Seed 000, README: the second listing."""
    settings = {
        "meter_type": "685382OK10",
        "meter_id": "123456",
        "customer_number": "12345678",
        "energy_import": "9032",
        "register_fe90_1": "0",
        "operating_hours": "57377",
        "energy_import_high_res": "9032.33",
        "peak_power": "1559",
        "customer_number_2": "12345678",
        "production_number": "168339478",
        "energy_import_2": "9032",
        "energy_import_tariff_1": "9031",
        "energy_import_tariff_2": "1",
    }
    # 12345678 = BC614E, 57377 = E021, 168339478 = 0A08A816
    assert ask(kmp_ascii_recordings.ENERGY_REQUEST, **settings)[:-3] == (
        b"HFE90000023480000" + b"00000000E021000DC8410000061700BC614E0000000000000000" + b"0A08A816"
    )
    assert ask(kmp_ascii_recordings.IDENTITY_REQUEST, **settings)[63:79] == b"40E201004E61BC00"
    assert (
        ask(kmp_ascii_recordings.TARIFFS_REQUEST, **settings) == kmp_ascii_recordings.TARIFFS_ANSWER
    )


def test_fields_with_the_same_total_follow_the_setting() -> None:
    assert values(kmp_ascii_recordings.ENERGY_REQUEST, energy_import="9033")[
        "energy_import_high_res"
    ] == Decimal("9033.33")
    assert values(kmp_ascii_recordings.TARIFFS_REQUEST, energy_import="9033") == {
        "energy_import_2": Decimal(9033),
        "energy_import_tariff_1": Decimal(9032),
        "energy_import_tariff_2": Decimal(1),
    }
    tariffs = values(
        kmp_ascii_recordings.TARIFFS_REQUEST, energy_import="5", energy_import_tariff_2="7"
    )
    assert tariffs["energy_import_tariff_1"] == Decimal(9031)
    energy = values(
        kmp_ascii_recordings.ENERGY_REQUEST, energy_import="9033", energy_import_high_res="9033.4"
    )
    assert energy["energy_import_high_res"] == Decimal("9033.40")


def test_memory_by_any_range() -> None:
    assert ask(b"@FE010001000AF6\r") == b"HFE01" + b"685382OK10".hex().upper().encode() + b"C6\r"
    assert len(ask(b"@FE0100010100FF\r")) == 520  # 256 bytes and the command, their LRC, H, CR
    assert ask(b"@FE0100010101FE\r") == b""  # 257 bytes
    assert ask(b"@FE0100020001FE\r") == b""  # the end before the start


@pytest.mark.parametrize(
    "request_",
    [
        b"@FE920070\r",
        b"@FE0101\r",
        b"@FE010001FF\r",
        b"@FE9073\r",
        kmp_ascii_recordings.ENERGY_ANSWER,
    ],
)
def test_unknown_requests_are_not_answered(request_: bytes) -> None:
    assert ask(request_) == b""


def test_a_second_lrc_is_ignored() -> None:
    assert ask(b"@FE907200\r") == kmp_ascii_recordings.ENERGY_ANSWER
    assert ask(b"@FE95006D00\r") == kmp_ascii_recordings.TARIFFS_ANSWER


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"energy": "1"}, "energy: unknown; choose from meter_type, meter_id"),
        ({"energy_import": "9032.5"}, "energy_import=9032.5: a number from 0, in kWh"),
        ({"peak_power": str(1 << 32)}, "a number from 0, in W"),
        ({"energy_import_high_res": "1.234"}, "with up to 2 decimals, in kWh"),
        ({"meter_id": "abc"}, "in units"),
        ({"meter_type": "eleven char"}, "up to 10 ASCII characters"),
        ({"meter_type": ""}, "up to 10 ASCII characters"),
    ],
)
def test_invalid_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kmp_ascii.make("e685_382", settings)


def test_only_the_685_382_is_emulated() -> None:
    with pytest.raises(ValueError, match="multical_601 cannot be emulated; choose e685_382"):
        kmp_ascii.make("multical_601", {})
    assert kmp_ascii.make("e685_382", {}).serial == SerialParams(1200, 8, "E", 2)
