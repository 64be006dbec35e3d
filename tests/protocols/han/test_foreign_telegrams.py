"""Telegrams of other ports are called by their name."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason
from kamstrup_mqtt.protocols.han.framing import HdlcFramer
from tests.support.framing import events_of
from tests.support.han_recordings import LIVE_1

# the beginning of amsreader's gh433-2 (Kaifa MA309M, Austria), and of gh1067-2 (Kaifa, Poland)
M_BUS = bytes.fromhex("68FAFA6853FF000167DB084B464D65509B624181F8200022E253") + bytes(60)
P1 = b"/KFM5KAIFA-METER\r\n\r\n0-0:1.0.0(251215172330W)\r\n1-0:1.8.0(000001.000*kWh)\r\n!D770\r\n"


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (M_BUS, DropReason.M_BUS),
        (P1, DropReason.P1),
        (b"1.000*kWh)\r\n!D770\r\n" + P1, DropReason.P1),  # from its middle on
        (b"\x68\x10\x11\x68 no such telegram", DropReason.GARBAGE),
        (b"/home/\r\n", DropReason.GARBAGE),
    ],
)
def test_other_ports_telegrams(wire: bytes, reason: DropReason) -> None:
    assert events_of(HdlcFramer(), [wire]) == [DroppedBytes(reason, wire)]
    assert events_of(HdlcFramer(), [wire[:30], wire[30:], LIVE_1])[0] == DroppedBytes(reason, wire)
