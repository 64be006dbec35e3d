"""The emulated MULTICAL: what goes onto the line, byte by byte."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import DecodedValue, SerialParams
from kamstrup_mqtt.emulators.base import Reply
from kamstrup_mqtt.emulators.kmp import KmpEmulator, make
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.detection import detect_model
from kamstrup_mqtt.protocols.base import PollRequest, PollResponse, Send
from kamstrup_mqtt.protocols.kmp import KmpCodec
from tests.support.framing import frames_of, random_splits, single_bytes
from tests.support.kmp_frames import answer, request

MODELS = sorted(registry.models_of("kmp"))


def emulated(model_id: str = "multical_403", **settings: str) -> KmpEmulator:
    return make(model_id, settings)


def objects(emulator: KmpEmulator, *registers: int) -> tuple[DecodedValue, ...]:
    """The decoded answer to one GetRegister."""
    asked = bytes((len(registers),)) + b"".join(n.to_bytes(2, "big") for n in registers)
    (reply,) = emulator.receive_data(request(b"\x3f\x10" + asked))
    codec = KmpCodec()
    (frame,) = frames_of(codec.framer(), [reply.data])
    return codec.decode(frame).objects


def one(emulator: KmpEmulator, register: int) -> DecodedValue:
    (found,) = objects(emulator, register)
    return found


def test_seed_002_is_answered_to_the_byte() -> None:
    # PyKMP's README: 0.303 GJ, 11.388 m³, 0.0 kW, 3 l/h, 61.62 °C, 54.02 °C, 84208 Wh; the frame
    # is built, with two-byte power, flow and temperatures as a 403 answers
    asked = request("3F10 07 003C 0044 0050 004A 0056 0057 010A")
    assert emulated().receive_data(asked) == [
        Reply(
            answer(
                "3F10 003C08 04 43 0000012F 0044 28 04 43 00002C7C 0050 16 02 41 0000"
                "004A 29 02 00 0003 0056 25 02 42 1812 0057 25 02 42 151A 010A 01 04 00 000148F0"
            )
        )
    ]
    # its clock, 20:02:43, and its serial number
    assert emulated().receive_data(bytes.fromhex("803F100103EA4CB70D")) == [
        Reply(bytes.fromhex("403F1003EA2F040000030E33B2320D"))
    ]
    assert emulated().receive_data(bytes.fromhex("803F0235E90D")) == [
        Reply(answer("3F02 0001E240"))
    ]


def test_type() -> None:
    # a MULTICAL 601's answer as it was sniffed: 0001, G1
    assert emulated().receive_data(bytes.fromhex("803F01058A0D")) == [
        Reply(bytes.fromhex("403F0100010701FE580D"))
    ]


@pytest.mark.parametrize("model", ["multical_303", "multical_403", "multical_603", "multical_803"])
def test_register_404_names_the_model(model: str) -> None:
    emulator = emulated(model)
    found = [obj for source in (60, 266, 369, 404) for obj in objects(emulator, source)]
    assert detect_model(found) == model


def test_a_complete_poll() -> None:
    emulator, codec = emulated(), KmpCodec()
    framer = codec.framer()
    listed = registry.all_models()["multical_403"].profiles["kmp"].groups["values"]
    conversation = codec.poll(PollRequest(sources=(*listed, 155), identity=("serial_no", 1001)))
    step = next(conversation)
    found: list[PollResponse] = []
    while not found:
        assert isinstance(step, Send)
        (reply,) = emulator.receive_data(step.data)
        (frame,) = frames_of(framer, [step.data, reply.data])[1:]  # its own echo first
        try:
            step = conversation.send(frame)
        except StopIteration as end:
            found.append(end.value)
    values = {obj.id: str(obj.value) for obj in found[0].objects}
    assert {n: values[n] for n in ("serial_no", 60, 68, 89, "type", "software")} == {
        "serial_no": "123456",
        60: "0.303",
        68: "11.388",
        89: "7.60",
        "type": "0001",
        "software": "G1",
    }
    assert {source for source in listed if isinstance(source, int)} <= set(values)
    made = {source for source in listed if isinstance(source, str)}
    assert found[0].unsupported == {155, *made}  # what this program makes, no meter answers


def test_requests_are_found_in_any_split() -> None:
    asked = bytes.fromhex("803F100103EA4CB70D")
    for chunks in (single_bytes(asked), random_splits(asked, 1)):
        emulator = emulated()
        replies = [reply for chunk in chunks for reply in emulator.receive_data(chunk)]
        assert replies == [Reply(bytes.fromhex("403F1003EA2F040000030E33B2320D"))]
    assert len(emulated().receive_data(asked * 2)) == 2


def test_registers_that_the_meter_lacks_are_left_out() -> None:
    assert [obj.id for obj in objects(emulated(), 155, 60, 9999)] == [60]
    assert emulated().receive_data(request("3F10 01 009B")) == [
        Reply(bytes.fromhex("403F10079A0D"))
    ]


@pytest.mark.parametrize(
    "sent",
    [
        "803F100103EA4CB80D",  # wrong checksum
        "803F10FF",  # no end
        request("7F02").hex(),  # for another destination
        answer("3F02 0001E240").hex(),  # an answer
        request("3F10 09" + "003C" * 9).hex(),  # nine registers
        request("3F09 00000000 00000000").hex(),  # SetClock, to no date
        request("7F09 0001144A 00027715").hex(),  # SetClock, for another destination
        request("3F11 0000 003C 08 04 43 00000000").hex(),  # PutRegister
        "06",
        "55AA",
    ],
)
def test_it_keeps_silent(sent: str) -> None:
    emulator = emulated()
    assert emulator.receive_data(bytes.fromhex(sent)) == []
    assert len(emulator.receive_data(request("3F02"))) == 1


@pytest.mark.parametrize("model_id", MODELS)
def test_every_listed_register_is_answered(model_id: str) -> None:
    profile = registry.all_models()[model_id].profiles["kmp"]
    listed = [*(s for group in profile.groups.values() for s in group), *profile.more]
    emulator = make(model_id, {})
    for register in listed:
        if isinstance(register, int) and model_id != "auto":
            assert one(emulator, register).value is not None
    electric = registry.all_models()[model_id].medium == "electricity"
    line = SerialParams(9600, 8, "N", 1) if electric else SerialParams(1200, 8, "N", 2)
    assert emulator.serial == line


def test_any_kmp_meter_has_every_heat_and_water_register() -> None:
    found = objects(emulated("kmp_meter"), 60, 68, 155, 266, 369, 243, 1001)
    assert [obj.id for obj in found] == [60, 68, 155, 266, 369, 243, 1001]


def test_every_model_has_a_serial_number_of_its_own() -> None:
    serials = [one(make(model_id, {}), 1001).raw for model_id in MODELS]
    assert len(set(serials)) == len(MODELS)
    assert one(emulated(), 1001).raw == 123456


@pytest.mark.parametrize(
    ("settings", "register", "value", "unit"),
    [
        ({"heat_energy": "12.50"}, 60, "12.50", "GJ"),
        ({"60": "12.5", "60.unit": "kWh"}, 60, "12.5", "kWh"),
        ({"0x3C": "-1"}, 60, "-1", "GJ"),
        ({"register_266": "1"}, 266, "1", "Wh"),
        ({"temp1": "185.0001"}, 86, "185.0001", "°C"),
        ({"9999": "5"}, 9999, "5", None),
        ({"9999": "5", "9999.unit": "bar"}, 9999, "5", "bar"),
    ],
)
def test_settings(settings: dict[str, str], register: int, value: str, unit: str | None) -> None:
    found = one(make("multical_403", settings), register)
    assert (found.value, found.unit) == (Decimal(value), unit)
    assert str(found.value) == value


def test_dates_can_be_set() -> None:
    assert one(emulated(meter_date="2024-02-29"), 1003).value == "2024-02-29"


def test_a_register_can_be_left_out() -> None:
    assert objects(emulated(heat_energy=""), 60) == ()


def test_the_identity_can_be_set() -> None:
    emulator = emulated(serial="6892850", type="0004", software="F1", address="0x7F")
    # a MULTICAL 601's serial number, 5512-447's type; both with destination 7F
    assert emulator.receive_data(request("3F02")) == []
    assert emulator.receive_data(request("7F02")) == [Reply(answer("7F02 00692D32"))]
    assert emulator.receive_data(request("7F01")) == [Reply(answer("7F01 0004 0601"))]
    assert emulator.receive_data(request("7F10 01 03E9")) == [
        Reply(answer("7F10 03E9 33 04 00 00692D32"))
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("heat", "1", "'heat' is no setting of this meter; it has serial, .*heat_energy"),
        ("65536", "1", "is no setting"),
        ("type.unit", "kWh", "is no setting"),
        ("60", "warm", "register 60: 'warm' is no number"),
        ("60", "99999999999", "register 60: 99999999999 does not fit into 4 bytes"),
        ("60.unit", "horse", "'horse' is no unit of KMP; choose from .*kWh"),
        ("serial", "-1", "serial is a number up to 4294967295"),
        ("serial", "4294967296", "serial is a number up to"),
        ("type", "1", "type four hex digits"),
        ("software", "1G", "software a letter and a number"),
        ("software", "G256", "software a letter and a number"),
        ("address", "x", "address a byte"),
        ("address", "256", "address a byte"),
    ],
)
def test_a_wrong_setting_is_named(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("multical_403", {name: text})
