"""The frames that were collected outside the repository; run where that collection is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.decimal_json import format_decimal
from kamstrup_mqtt.core.model import DecodedValue
from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.kmp import KmpCodec
from kamstrup_mqtt.protocols.kmp.framing import KmpFramer, encode_frame
from tests.support.framing import check_framer, events_of
from tests.support.shared_vectors import Vector, shared_vectors

VECTORS = shared_vectors("kmp.json", lambda vector: vector["protocol"] == "KMP")


def wire_of(vector: Vector) -> bytes:
    return bytes.fromhex(vector.get("hex_stuffed_by_us") or vector["hex"])


@pytest.mark.parametrize("vector", VECTORS)
def test_vector(vector: Vector) -> None:
    wire = wire_of(vector)
    frames = [event for event in events_of(KmpFramer(), [wire]) if isinstance(event, Frame)]
    if not vector["verified"]:
        assert frames == []
        return
    (frame,) = frames
    if vector["decoded"] == "ACK":
        assert (frame.kind, frame.raw) == ("ack", b"\x06")
        return
    check_framer(KmpFramer, wire, [frame])
    assert frame.payload == bytes.fromhex(vector["unstuffed"])[:-2]
    assert frame.direction == ("request" if vector["direction"] == "request" else "answer")
    assert encode_frame(frame.direction, frame.payload) == wire
    check_decoded(frame, vector["decoded"])


def check_decoded(frame: Frame, decoded: Vector) -> None:
    message = KmpCodec().decode(frame)
    assert message.header["destination"] == decoded["dest"]
    if "data" in decoded:
        assert message.header["data"] == decoded["data"]
    if "type" in decoded:
        assert (message.header["type"], message.header["software"]) == (
            decoded["type"],
            decoded["sw"],
        )
    if "serial" in decoded:
        assert [obj.value for obj in message.objects] == [str(decoded["serial"])]
    if decoded.get("cmd") == "GetRegister":
        check_registers(frame, decoded["registers"])


def check_registers(frame: Frame, registers: list[Any]) -> None:
    message = KmpCodec().decode(frame)
    if frame.direction == "request":
        assert message.header["registers"] == registers
        return
    assert [obj.id for obj in message.objects] == [register["id"] for register in registers]
    for obj, register in zip(message.objects, registers, strict=True):
        check_register(obj, register)


def check_register(obj: DecodedValue, register: Vector) -> None:
    shown, raw = str(register["value"]), register["raw"]
    if isinstance(obj.value, Decimal):
        assert format_decimal(obj.value) == shown
        assert obj.raw == int(raw, 16)
    elif register["unit"] == "0x35":
        assert obj.raw == raw
        assert obj.value == "T".join(shown.split(" ")[-2:])
    elif register["unit"] == "0x30":
        assert obj.value == f"20{shown}"
    else:
        assert (register["unit"], obj.value) == ("0x2F", shown)
