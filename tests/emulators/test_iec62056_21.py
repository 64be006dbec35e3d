"""Emulated meters with an optical eye: the 685-382, the MULTICAL 401, a mode C meter."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.core.model import DecodedValue, SerialParams
from kamstrup_mqtt.emulators import iec62056_21
from kamstrup_mqtt.emulators.base import PolledEmulator, Reply
from kamstrup_mqtt.protocols.base import Configure, Frame, PollRequest, PollResponse, Send
from kamstrup_mqtt.protocols.iec62056_21 import SPEC
from tests.support import iec_recordings
from tests.support.framing import events_of

SIGN_ON = bytes.fromhex("AF 3F 21 8D 0A")
ACK_000 = bytes.fromhex("06 30 30 30 8D 0A")
ACK_050 = bytes.fromhex("06 30 35 30 8D 0A")
MULTICAL_BLOCK = (
    b"\x020.0(00002742640)6.8(0456.631*GJ)6.26(3447.381*m3)6.31(0040345*h)!\r\n\x03\x10"
)
"""kmp.md 3.3, the MULTICAL 401; sum of the characters behind STX, ETX included: D10 & 7F = 10."""


def even(text: bytes) -> bytes:
    """Even parity in bit 7, counted from the digits of the byte."""
    return bytes(c + 0x80 * (f"{c:b}".count("1") % 2) for c in text)


def ask(model: str, *requests: bytes, **settings: str) -> list[Reply]:
    meter = iec62056_21.make(model, settings)
    return [reply for request in requests for reply in meter.receive_data(request)]


def carry_out(meter: PolledEmulator) -> tuple[PollResponse, list[int]]:
    """Our own codec reads the meter; the answer, and the speeds that the reader set."""
    codec = SPEC.make_codec()
    framer = codec.framer()
    poll = codec.poll(PollRequest(sources=()))  # type: ignore[attr-defined]
    speeds: list[int] = []
    waiting: list[bytes] = []
    step = next(poll)
    try:
        while True:
            result: Frame | None = None
            if isinstance(step, Configure):
                speeds.append(step.baudrate)
            elif isinstance(step, Send):
                waiting += [reply.data for reply in meter.receive_data(step.data)]
                if step.expects_response:
                    (result,) = (e for e in events_of(framer, waiting) if isinstance(e, Frame))
                    waiting = []
            step = poll.send(result)
    except StopIteration as stop:
        assert isinstance(stop.value, PollResponse)  # noqa: PT017 - a generator's return value
        return stop.value, speeds


@pytest.mark.parametrize("request_", [SIGN_ON, bytes.fromhex("AF3F210A")])
def test_the_685_382_answers_the_readout_of_the_seed(request_: bytes) -> None:
    assert ask("e685_382", request_) == [Reply(even(iec_recordings.SEED))]
    single = [request_[n : n + 1] for n in range(len(request_))]
    assert ask("e685_382", *single) == [Reply(even(iec_recordings.SEED))]


def test_a_reader_that_sends_no_parity_bits_gets_none() -> None:
    assert ask("e685_382", b"/?!\r\n") == [Reply(iec_recordings.SEED)]
    assert ask("e685_382", b"\x00/?!\n") == [Reply(iec_recordings.SEED)]


def test_set_to_other_values() -> None:
    (reply,) = ask(
        "e685_382", b"/?!\r\n", energy_import="9033", peak_power="18.3", customer_number="54042"
    )
    assert b"\x020.0(54042)\r\n1.20(0009033*kWh)\r\n" in reply.data
    assert b"\r\n1.6(000018,3*kW)\r\n" in reply.data
    assert reply.data[-1] == sum(reply.data[21:-1]) % 128
    (reply,) = ask("e685_382", b"/?!\r\n", peak_power="2")
    assert b"\r\n1.6(000002,0*kW)\r\n" in reply.data


def test_only_its_own_address_wakes_a_meter() -> None:
    assert ask("e685_382", b"/?0010865272!\r\n") == [Reply(iec_recordings.SEED)]
    assert ask("e685_382", b"/?10865273!\r\n") == []
    assert ask("e685_382", b"noise\x02\x03\x04" + iec_recordings.IDENT + b"\x06000\r\n") == []


def test_the_multical_401_waits_for_the_acknowledgement() -> None:
    assert ask("multical_401", SIGN_ON) == [Reply(even(b"/KAM0MC\r\n"))]
    assert ask("multical_401", SIGN_ON, ACK_000, ACK_000) == [
        Reply(even(b"/KAM0MC\r\n")),
        Reply(even(MULTICAL_BLOCK)),
    ]


def test_a_mode_c_meter_changes_its_speed_and_back() -> None:
    ident, switch, readout = ask("iec_meter", SIGN_ON, ACK_050)
    assert ident == Reply(even(b"/ISk5ME172-0000\r\n"))
    assert switch == Reply(b"", 9600)
    assert readout.baudrate == 300
    stayed = ask("iec_meter", SIGN_ON, ACK_000)[1]
    assert stayed == Reply(readout.data)


def test_our_own_reader_reads_them() -> None:
    answer, speeds = carry_out(iec62056_21.make("multical_401", {}))
    assert speeds == []
    assert DecodedValue("0.0", "00002742640", "00002742640") in answer.objects
    answer, speeds = carry_out(iec62056_21.make("iec_meter", {"energy_import": "1.5"}))
    assert speeds == [300, 9600, 300]
    assert [obj.raw for obj in answer.objects if obj.id == "1.8.0"] == ["0000001.500"]
    assert answer.learned == {"bcc": "xor"}
    answer, speeds = carry_out(iec62056_21.make("e685_382", {}))
    assert (len(answer.objects), speeds) == (10, [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heat_energy": "1"}, "heat_energy: unknown; choose from customer_number, energy_import"),
        ({"energy_import": "12345678"}, "energy_import=12345678: a number of 7 digits and 0 dec"),
        ({"peak_power": "1.55"}, "peak_power=1.55: a number of 6 digits and 1 decimals"),
        ({"peak_power": "high"}, "peak_power=high: a number"),
        ({"customer_number": "a(b"}, "up to 32 ASCII characters without"),
    ],
)
def test_invalid_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        iec62056_21.make("e685_382", settings)


def test_the_emulated_models() -> None:
    assert iec62056_21.make("e685_382", {}).serial == SPEC.serial
    serial = SerialParams(300, 8, "N", 2, dtr=False, rts=True)
    assert iec62056_21.make("multical_401", {}).serial == serial
    with pytest.raises(ValueError, match="multical_601 cannot be emulated; choose from e685_382"):
        iec62056_21.make("multical_601", {})
