"""Every recorded frame of the shared collection, where that is at hand."""

from __future__ import annotations

import random
import re
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Frame, Message
from kamstrup_mqtt.protocols.han import HanCodec, HdlcFramer
from kamstrup_mqtt.protocols.han.cipher import Keys, unwrap
from tests.support.framing import events_of, frames_of
from tests.support.han_recordings import hdlc
from tests.support.shared_vectors import shared_vectors


def vectors(*kinds: str) -> list[Any]:
    return shared_vectors("han.json", lambda v: v["kind"] in kinds and bool(v["hex"]))


def information(vector: dict[str, Any]) -> bytes:
    """The information field of a vector that is less than a frame."""
    data = bytes.fromhex(vector["hex"])
    before = {"llc": "", "apdu": "E6E700", "body": "E6E7000F0000000000"}[vector["kind"]]
    return bytes.fromhex(before) + data


NUMBER_MASKED = 11111111
"""The collection's frames have this meter number, some of its decoded values the real one."""


KAIFA = {
    "id": "0-0:96.1.0.255",
    "type": "0-0:96.1.7.255",
    "P+": "1-0:1.7.0.255",
    "P-": "1-0:2.7.0.255",
    "Q+": "1-0:3.7.0.255",
    "Q-": "1-0:4.7.0.255",
    "I1": "1-0:31.7.0.255",
    "I2": "1-0:51.7.0.255",
    "I3": "1-0:71.7.0.255",
    "U1": "1-0:32.7.0.255",
    "U2": "1-0:52.7.0.255",
    "U3": "1-0:72.7.0.255",
    "clock": "0-0:1.0.0.255",
    "A+": "1-0:1.8.0.255",
    "A-": "1-0:2.8.0.255",
    "R+": "1-0:3.8.0.255",
    "R-": "1-0:4.8.0.255",
    "list_id": "1-0:0.2.129.255",
}
"""Names of the positions in Kaifa's lists in the collection (Kaifa HAN OBIS codes KFM_001)."""

WRONG = {
    "amsreader_gh111-2": "the reader's firmware had decrypted the list in place: its envelope says"
    " encrypted, its tag fits nothing; no meter sends that",
    "amsreader_gh247-2": "as gh111-2; the FCS is wrong too",
    "amsreader_gh194-1": "as gh247-2",
    "amsreader_gh194-3": "as gh247-2",
    "hassAMS_KAMSTRUP_INCORRECT_HEADER_CRC": "made with a wrong HCS, to be refused",
    "hassAMS_KAMSTRUP_INCORRECT_PKG_CRC": "made with a wrong FCS, to be refused",
    "amsreader_gh175-1": "one byte was damaged on the line: the FCS is wrong",
}
"""Sources with a decoded value beside bytes that must not be decoded, and why."""


@pytest.mark.parametrize("vector", vectors("hdlc", "llc", "apdu", "body"))
def test_sources_that_are_not_decoded_are_named(vector: dict[str, Any]) -> None:
    damaged = vector["kind"] == "hdlc" and not vector["fcs_ok"]
    sealed = vector["encrypted"] and not has_key(vector)
    if vector["decoded"] is not None:
        assert (damaged or bool(sealed)) is (vector["name"] in WRONG)


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
    values = {k: v for k, v in decoded["values"].items() if not k.startswith("_")}
    if decoded["kind"] == "kaifa-positional":
        values = {KAIFA[key]: value for key, value in values.items()}
    expected = {key: raw_of(value) for key, value in values.items()}
    found = {str(obj.id): obj.raw for obj in message.objects}
    if found.get("1-1:0.0.1.255") == NUMBER_MASKED:
        expected["1-1:0.0.1.255"] = NUMBER_MASKED
    assert found == expected
    assert message.header["elements"] == decoded["elements"]
    for obj in message.objects:
        sent = values[str(obj.id)]
        if isinstance(sent, dict) and "scaler" in sent:
            assert obj.unit == sent["unit"]
            assert obj.value == Decimal(sent["raw"]).scaleb(sent["scaler"])
    if clock := decoded.get("header_time"):
        assert message.header["weekday"] == clock["weekday"]
        unset = clock["local"].startswith("2000") or int(clock["status"], 16) & 1
        assert message.header["meter_time"] == (None if unset else clock["local"])


def codec_of(vector: dict[str, Any]) -> HanCodec:
    if not has_key(vector):
        return HanCodec()
    keys = vector["keys"]
    encryption, authentication = (
        bytes.fromhex(keys[name]) for name in ("encryption_key", "authentication_key")
    )
    return HanCodec(encryption_key=encryption, authentication_key=authentication)


def has_key(vector: dict[str, Any]) -> object:
    keys = vector["keys"]  # a text where the collection only says who has them
    return isinstance(keys, dict) and re.fullmatch("[0-9A-F]{32}", keys["encryption_key"])


@pytest.mark.parametrize("vector", vectors("hdlc", "raw", "mbus"))
def test_frames(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"].replace("XX", "00"))
    frames = frames_of(HdlcFramer(), [data])
    assert len(frames) == (1 if vector["fcs_ok"] else 0)
    for frame in frames:
        if vector["name"] == "synthetic_enc_badtag":
            with pytest.raises(MeterError, match="encrypted with another key: the tag"):
                codec_of(vector).decode(frame)
        elif vector["encrypted"] and not has_key(vector):
            with pytest.raises(MeterError, match="the list is encrypted and there is no key"):
                HanCodec().decode(frame)
        else:
            check(vector, codec_of(vector).decode(frame))


@pytest.mark.parametrize("vector", vectors("llc", "apdu", "body"))
def test_vectors_without_a_frame(vector: dict[str, Any]) -> None:
    (frame,) = frames_of(HdlcFramer(), [hdlc(information(vector))])
    if not vector["encrypted"] and vector["decoded"] is not None:
        check(vector, HanCodec().decode(frame))
    elif vector["name"] == "amsreader_gh539-4":  # an Austrian list that the collection left out
        found = {obj.id: str(obj.value) for obj in HanCodec().decode(frame).objects}
        assert found["1-0:32.7.0.255"] == "233.0"
        assert found["1-0:31.7.0.255"] == "0.45"
    else:
        with pytest.raises(MeterError):
            codec_of(vector).decode(frame)


@pytest.mark.parametrize("vector", vectors("hdlc", "apdu"))
def test_encrypted_ones_give_the_plaintext_beside_them(vector: dict[str, Any]) -> None:
    """Also of messages that are no list (dlmscosem_ggc_dummykey)."""
    if not (has_key(vector) and vector.get("plain_apdu")):
        return
    keys = Keys(
        bytes.fromhex(vector["keys"]["encryption_key"]),
        bytes.fromhex(vector["keys"]["authentication_key"]),
    )
    data = bytes.fromhex(vector["hex"])
    if vector["kind"] == "hdlc":
        data = data[data.index(b"\xe6\xe7\x00") + 3 : -3]
    found = keys.open(unwrap(data)).hex().upper()
    at = found.find("0101000001FF06") + 14  # the number, which is masked in the plaintext alone
    masked = found[:at] + "00A98AC7" + found[at + 8 :] if at > 14 else found
    assert vector["plain_apdu"] in (found, masked)


@pytest.mark.parametrize("vector", vectors("raw"))
def test_the_signature_of_a_wrong_parity(vector: dict[str, Any]) -> None:
    """Real captures (gh355) and simulated ones; what is broken otherwise is not called so."""
    (*_, last) = events_of(HdlcFramer(), [bytes.fromhex(vector["hex"])])
    assert isinstance(last, DroppedBytes)
    wrong = vector["name"].startswith(("synthetic_wrong_parity", "amsreader_gh355"))
    assert (last.reason is DropReason.PARITY) is wrong


def test_a_stream_with_shared_flags_and_one_with_garbage() -> None:
    found = [vector.values[0] for vector in vectors("stream")]
    for vector in found:
        expected = {"synthetic_stream_shared_flag": 2, "jalla2000_messy_stream": 2}[vector["name"]]
        assert len(frames_of(HdlcFramer(), [bytes.fromhex(vector["hex"])])) == expected


def test_all_of_them_in_one_stream_in_random_chunks() -> None:
    """Every frame with a valid FCS is found."""
    good = [v.values[0] for v in vectors("hdlc")]
    rng = random.Random(3)
    wires = [bytes.fromhex(v["hex"].replace("XX", "00")) for v in good]
    stream = b"".join(wires) * 5
    expected = 5 * sum(1 for v in good if v["fcs_ok"])
    framer, found, at = HdlcFramer(), 0, 0
    while at < len(stream):
        size = rng.randint(1, 400)
        found += sum(
            isinstance(e, Frame) for e in events_of(framer, [stream[at : at + size]], quiet=False)
        )
        at += size
    framer.end_burst()
    found += sum(isinstance(e, Frame) for e in events_of(framer, [b""]))
    assert found == expected
