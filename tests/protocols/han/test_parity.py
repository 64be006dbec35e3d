"""The signature of a line of 8N1 read as 8E1 (han.md 3.2)."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.emulators.parity_fault import misread_as_8e1
from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason
from kamstrup_mqtt.protocols.han import HdlcFramer
from kamstrup_mqtt.protocols.han.parity import ParityMonitor
from tests.support.framing import events_of
from tests.support.han_recordings import HOURLY_1, LIVE_1, LIVE_2, hdlc

# typed from han.md 3.2: what a real capture begins with
BEGINS = bytes.fromhex("7E 13 2B 48 A2 D2 E6 1E 0F 00 00 E8")


def reasons(framer: HdlcFramer, *bursts: bytes) -> list[DropReason]:
    found = [event for burst in bursts for event in events_of(framer, [burst])]
    return [event.reason for event in found if isinstance(event, DroppedBytes)]


def test_the_simulated_receiver_gives_the_recorded_bytes() -> None:
    seen = misread_as_8e1(LIVE_1)
    assert (len(seen), seen[:12]) == (158, BEGINS)
    assert misread_as_8e1(HOURLY_1)[:8].hex(" ").upper() == "7E 68 69 0A 13 04 DE 00"


@pytest.mark.parametrize("wire", [LIVE_1, LIVE_2, HOURLY_1])
def test_known_lists_are_recognised_at_once(wire: bytes) -> None:
    assert reasons(HdlcFramer(), misread_as_8e1(wire))[-1] is DropReason.PARITY


def test_an_unknown_list_is_recognised_by_similar_bursts() -> None:
    wire = hdlc(b"\xe6\xe7\x00\x0f" + bytes(range(150)), "31 21 13")
    burst = misread_as_8e1(wire)
    found = reasons(HdlcFramer(), *[burst] * 4)
    assert DropReason.PARITY not in found[:2]
    assert found[-1] is DropReason.PARITY


def test_bursts_without_wrong_parity() -> None:
    framer = HdlcFramer()
    noise = bytes(range(256))
    assert DropReason.PARITY not in reasons(framer, noise, noise[1:], noise, b"\x7e" * 100)
    assert DropReason.PARITY not in reasons(HdlcFramer(), *[LIVE_1[:200]] * 4)  # cut, but right
    assert DropReason.PARITY not in reasons(HdlcFramer(), *[b"\x7e\x00" * 10] * 4)  # short
    assert DropReason.PARITY not in reasons(HdlcFramer(), *[b"\x7e\x00" * 900] * 4)  # long
    assert reasons(HdlcFramer(), *[misread_as_8e1(LIVE_1) + LIVE_2] * 3) != []
    assert DropReason.PARITY not in reasons(HdlcFramer(), *[misread_as_8e1(LIVE_1) + LIVE_2] * 3)


def test_a_silence_without_bytes_has_no_event() -> None:
    watch = ParityMonitor()
    assert not watch.end_burst()
    watch.receive_data(BEGINS + bytes(100))
    watch.mark_valid()
    assert not watch.end_burst()
    watch.receive_data(BEGINS + bytes(100))
    assert watch.end_burst()
