"""`fast_path=False` switches the fast path off, in framers and decoders."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import Frame, Framer
from kamstrup_mqtt.protocols.fast_path.han import ListTemplate
from kamstrup_mqtt.protocols.fast_path.iec62056_21 import ReadoutTemplate
from kamstrup_mqtt.protocols.fast_path.kmp import AnswerTemplate
from kamstrup_mqtt.protocols.han import HdlcFramer
from kamstrup_mqtt.protocols.iec62056_21.framing import IecFramer
from tests.support import iec_recordings
from tests.support.framing import drain
from tests.support.han_recordings import LIVE_1, LIVE_3
from tests.support.kmp_frames import answer

WIRES = {
    "han": (LIVE_1, LIVE_3),
    "kmp": (answer("3F10 003C 02 04 42 0001E240 0044 37 02 00 04D2"),) * 2,
    "iec62056-21": (iec_recordings.SEED,) * 2,
}
TEMPLATES = {"han": ListTemplate, "kmp": AnswerTemplate, "iec62056-21": ReadoutTemplate}


def decode(protocol: str, wires: Sequence[bytes], **options: bool) -> int:
    """The number of objects of the last message."""
    codec = registry.find_protocol(protocol).make_codec(**options)
    framer: Framer = codec.framer()
    count = 0
    for wire in wires:
        framer.receive_data(wire)
        framer.end_burst()
        (frame,) = drain(framer)
        assert isinstance(frame, Frame)
        count = len(codec.decode(frame).objects)
    return count


@pytest.mark.parametrize("protocol", sorted(WIRES))
def test_template_reads_the_second_message(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Frame] = []
    template = TEMPLATES[protocol]
    original = template.read

    def counted(self: object, frame: Frame) -> object:
        read.append(frame)
        return original(self, frame)

    monkeypatch.setattr(template, "read", counted)
    objects = decode(protocol, WIRES[protocol])
    assert [frame.raw for frame in read] == [WIRES[protocol][1]]
    read.clear()
    assert decode(protocol, WIRES[protocol], fast_path=True) == objects
    assert len(read) == 1
    read.clear()
    assert decode(protocol, WIRES[protocol], fast_path=False) == objects
    assert read == []


@pytest.mark.parametrize(
    ("protocol", "framer", "method"),
    [
        ("han", HdlcFramer, "_scan"),
        ("iec62056-21", IecFramer, "_receive_byte"),
    ],
)
def test_framer_takes_the_second_message_in_one_step(
    protocol: str, framer: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bytes] = []
    wires = WIRES[protocol]
    original = getattr(framer, method)

    def counted(self: object, *arguments: object, **options: object) -> object:
        calls.append(current)
        return original(self, *arguments, **options)

    monkeypatch.setattr(framer, method, counted)
    for fast_path, stepwise in ((True, False), (False, True)):
        codec = registry.find_protocol(protocol).make_codec(fast_path=fast_path)
        line = codec.framer()
        calls.clear()
        for n, wire in enumerate(wires):
            current = b"%d" % n
            line.receive_data(wire)
            frame = line.next_event()
            assert isinstance(frame, Frame)
            codec.decode(frame)
        assert b"0" in calls
        assert (b"1" in calls) is stepwise


@pytest.mark.parametrize("protocol", sorted(registry.all_protocols()))
def test_every_codec_takes_the_option(protocol: str) -> None:
    make = registry.find_protocol(protocol).make_codec
    assert type(make(fast_path=False)) is type(make())
