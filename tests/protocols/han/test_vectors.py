"""Every recorded frame of the shared collection, where that is at hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.errors import MeterError
from kamstrup_mqtt.protocols.base import Message
from kamstrup_mqtt.protocols.han import HanCodec, HdlcFramer
from tests.framing import frames_of
from tests.protocols.han.recorded import hdlc
from tests.shared_vectors import shared_vectors


def vectors(*kinds: str) -> list[Any]:
    return shared_vectors("han.json", lambda v: v["kind"] in kinds and bool(v["hex"]))


def information(vector: dict[str, Any]) -> bytes:
    """The information field of a vector that is less than a frame."""
    data = bytes.fromhex(vector["hex"])
    before = {"llc": "", "apdu": "E6E700", "body": "E6E7000F0000000000"}[vector["kind"]]
    return bytes.fromhex(before) + data


NUMBER_MASKED = 11111111
"""The collection's frames have this meter number, some of its decoded values the real one."""


def raw_of(expected: object) -> object:
    """A value of the collection as our raw value."""
    if isinstance(expected, dict):
        return expected["raw"]
    if isinstance(expected, str):
        text = expected.replace("\0", "")
        return text if text.isprintable() else expected.encode("latin-1").hex()
    return expected


def check(vector: dict[str, Any], message: Message) -> None:
    decoded = vector["decoded"]
    expected = {key: raw_of(v) for key, v in decoded["values"].items() if not key.startswith("_")}
    found = {str(obj.id): obj.raw for obj in message.objects}
    if found.get("1-1:0.0.1.255") == NUMBER_MASKED:
        expected["1-1:0.0.1.255"] = NUMBER_MASKED
    assert found == expected
    assert message.header["elements"] == decoded["elements"]
    for obj in message.objects:
        sent = decoded["values"][str(obj.id)]
        if isinstance(sent, dict) and "scaler" in sent:
            assert obj.unit == sent["unit"]
            assert obj.value == Decimal(sent["raw"]).scaleb(sent["scaler"])
    if clock := decoded.get("header_time"):
        assert message.header["weekday"] == clock["weekday"]
        unset = clock["local"].startswith("2000") or int(clock["status"], 16) & 1
        assert message.header["meter_time"] == (None if unset else clock["local"])


@pytest.mark.parametrize("vector", vectors("hdlc", "raw", "mbus"))
def test_frames(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"].replace("XX", "00"))
    frames = frames_of(HdlcFramer(), [data])
    assert len(frames) == (1 if vector["fcs_ok"] else 0)
    decoded = vector["decoded"] or {}
    for frame in frames:
        if vector["encrypted"]:
            with pytest.raises(MeterError, match="the list is encrypted"):
                HanCodec().decode(frame)
        elif decoded["kind"] == "kamstrup" or decoded["kind"] == "obis+scaler":
            check(vector, HanCodec().decode(frame))
        else:
            with pytest.raises(MeterError, match="not supported yet"):
                HanCodec().decode(frame)


def is_plain(vector: dict[str, Any]) -> bool:
    """A list in clear. (Some readers decrypted in place: a header of cipher, a clear list.)"""
    return not vector["encrypted"] and vector["decoded"] is not None


@pytest.mark.parametrize("vector", vectors("llc", "apdu", "body"))
def test_what_is_less_than_a_frame(vector: dict[str, Any]) -> None:
    (frame,) = frames_of(HdlcFramer(), [hdlc(information(vector))])
    if is_plain(vector) and vector["decoded"]["kind"] in ("kamstrup", "obis+scaler"):
        check(vector, HanCodec().decode(frame))
    elif vector["name"] == "amsreader_gh539-4":  # an Austrian list that the collection left out
        found = {obj.id: str(obj.value) for obj in HanCodec().decode(frame).objects}
        assert found["1-0:32.7.0.255"] == "233.0"
        assert found["1-0:31.7.0.255"] == "0.45"
    else:
        with pytest.raises(MeterError):
            HanCodec().decode(frame)


@pytest.mark.parametrize("vector", vectors("stream"))
def test_a_stream_with_shared_flags_and_one_with_garbage(vector: dict[str, Any]) -> None:
    expected = {"synthetic_stream_shared_flag": 2, "jalla2000_messy_stream": 2}[vector["name"]]
    assert len(frames_of(HdlcFramer(), [bytes.fromhex(vector["hex"])])) == expected
