"""Encrypted lists. The ciphertext was made with the counting keys of public DLMS examples by two
independent implementations (shared vectors: synthetic_enc_nve_10s_sc30 and its kin)."""

from __future__ import annotations

import importlib.util
from datetime import datetime

import pytest

from kamstrup_mqtt.core.errors import ConfigError, MeterError, ReplayError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.emulators.han import make
from kamstrup_mqtt.protocols.base import Frame, Timestamp
from kamstrup_mqtt.protocols.han import HanCodec, HdlcFramer
from kamstrup_mqtt.protocols.han.cipher import CounterGuard, Keys, unwrap
from tests.support.framing import frames_of
from tests.support.han_recordings import LIVE_1, hdlc
from tests.support.han_session import process

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
TITLE = bytes.fromhex("4B414D4500000001")
NOW = datetime(2019, 1, 21, 23, 43, 10)  # noqa: DTZ001 - the meter's own time

# dlms-cosem, tests/test_general_global_cipher.py: EK = AK = "MYDUMMYGLOBALKEY", SC 30, length 3B
DUMMY = bytes.fromhex(
    "DB082F192291991641033B30000001E5025CE9D2271FD78BE8C204211A916A9D7F587E0A7A814CADEA89E9593F01"
    "F92EA8C087B5BDFDEFEAB6BECF282DFE49C08F5BE6DC8400"
)
DUMMY_PLAIN = "0F000001DB000922125A8591360000000049000000110000000A5A8513D014800000000D0000000A0100"


def frame(fault: str = "none", **settings: str) -> Frame:
    (found,) = frames_of(HdlcFramer(), [wire(fault=fault, **settings)])
    return found


def wire(**settings: str) -> bytes:
    keys = {"encryption_key": EK.hex(), "authentication_key": AK.hex()}
    return make("kamstrup_han_3phase", {**keys, **settings}).push(NOW)


def codec(encryption: bytes | None = EK, authentication: bytes | None = AK) -> HanCodec:
    return HanCodec(encryption_key=encryption, authentication_key=authentication)


def test_a_published_example() -> None:
    key = b"MYDUMMYGLOBALKEY"
    assert Keys(key, key).open(unwrap(DUMMY)).hex().upper() == DUMMY_PLAIN


@pytest.mark.parametrize(("security", "size"), [("30", 258), ("20", 246)])
def test_a_list_with_a_tag_and_without(security: str, size: int) -> None:
    # han.md 1.1 and 4.4: the list of 10 s has 258 bytes encrypted, 246 without a tag
    assert len(wire(security=security)) == size
    message = codec().decode(frame(security=security, frame_counter="7"))
    assert {obj.id: obj.raw for obj in message.objects}["1-1:1.7.0.255"] == 4187
    assert message.header["security"] == security
    assert message.header["frame_counter"] == 7
    assert message.header["system_title"] == "4B414D4500000001"
    assert message.header["destination"] == "41"


def test_without_a_tag_the_encryption_key_is_enough() -> None:
    assert codec(authentication=None).decode(frame(security="20")).objects


@pytest.mark.parametrize(
    ("keys", "settings", "message"),
    [
        ((None, None), {}, "there is no key: set `encryption_key` \\(GPK60; with it comes GPK61"),
        ((None, None), {"security": "20"}, "there is no key: set `encryption_key` \\(GPK60\\)"),
        ((EK, None), {}, "there is no key: set `authentication_key` \\(GPK61\\)"),
        ((EK, EK), {}, "with another key: the tag of the list does not fit"),
        ((AK, EK), {}, "with another key: encryption_key and authentication_key are swapped"),
        ((AK, AK), {"security": "20"}, "with another key: the decrypted bytes are no list"),
        ((EK, AK), {"fault": "tag"}, "with another key: the tag"),
    ],
)
def test_keys_that_do_not_open_it(
    keys: tuple[bytes | None, bytes | None], settings: dict[str, str], message: str
) -> None:
    with pytest.raises(MeterError, match=message) as caught:
        codec(*keys).decode(frame(**settings))
    assert caught.value.state is LinkState.WRONG_KEY


@pytest.mark.parametrize(
    ("apdu", "why"),
    [
        ("DB 07 4B414D45000000 05", "the system title is not 8 bytes long"),
        ("DB 08 4B414D4500000001", "no length at byte 10"),
        ("DB 08 4B414D4500000001 06 30", "6 bytes announced, 1 there"),
        ("DB 08 4B414D4500000001 03 30 0000", "3 bytes are too few"),
        ("DB 08 4B414D4500000001 12 10 00000001" + "00" * 13, "security control 10 is not one"),
        ("DB 08 4B414D4500000001 07 A0 00000001 0000", "security control A0 is not one"),
        ("DB 08 4B414D4500000001 81 07 30 00000001 0000", "7 bytes are too few"),
    ],
)
def test_envelopes_that_cannot_be_read(apdu: str, why: str) -> None:
    with pytest.raises(MeterError, match=why) as caught:
        codec().decode(Frame(b"", hdlc(bytes.fromhex("E6E700" + apdu))[1:-3], "push"))
    assert caught.value.state is LinkState.BYTES_NO_FRAMES


def test_keys_have_sixteen_bytes() -> None:
    with pytest.raises(ConfigError, match="the authentication key has 3 bytes; it must have 16"):
        HanCodec(encryption_key=EK, authentication_key=b"abc")
    assert repr(EK) not in repr(Keys(EK, AK))


def test_without_the_package_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'kamstrup-mqtt\[encryption\]'"):
        codec()
    (found,) = frames_of(HanCodec().framer(), [LIVE_1])
    assert HanCodec().decode(found).objects  # what is not encrypted needs no package


def test_counters_must_rise() -> None:
    guard = CounterGuard()
    for counter in (5, 6, 9):
        assert guard.check(TITLE, counter) is None
    for counter in (9, 6, 5):  # the same, and others that do not rise among themselves
        with pytest.raises(ReplayError, match=f"frame counter {counter} came after 9"):
            guard.check(TITLE, counter)
    assert guard.check(TITLE, 10) is None


def test_three_that_rise_among_themselves_are_a_restart() -> None:
    guard = CounterGuard()
    guard.check(TITLE, 1000)
    for counter in (1, 2):
        with pytest.raises(ReplayError):
            guard.check(TITLE, counter)
    assert "restarted at 3 (it was 1000)" in str(guard.check(TITLE, 3))
    assert guard.check(TITLE, 4) is None
    assert guard.check(b"other123", 1) is None  # every meter has separate counters


def test_the_codec_drops_replayed_lists_and_warns_of_a_restart() -> None:
    reader = codec()
    reader.decode(frame(frame_counter="50"))
    with pytest.raises(ReplayError):
        reader.decode(frame(frame_counter="50"))
    with pytest.raises(ReplayError):
        reader.decode(frame(frame_counter="1"))
    with pytest.raises(ReplayError):
        reader.decode(frame(frame_counter="2"))
    message = reader.decode(frame(frame_counter="3"))
    processed = process(reader, message, Timestamp(None, 1.0))
    assert [(level, "restarted" in text) for level, text in processed.update.log[:1]] == [
        (30, True)
    ]
    assert not process(
        reader, reader.decode(frame(frame_counter="4")), Timestamp(None, 2.0)
    ).update.log
