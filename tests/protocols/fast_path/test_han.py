"""Templates for HAN lists."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.fast_path.han import ListTemplate, make_template
from kamstrup_mqtt.protocols.fast_path.layout import MAX_LAYOUTS, TemplateDecoder
from kamstrup_mqtt.protocols.han import HanCodec, HdlcFramer
from kamstrup_mqtt.protocols.han.framing import header_end
from kamstrup_mqtt.protocols.han.scales import CurrentScale
from tests.support.framing import frames_of
from tests.support.han_recordings import HOURLY_1, HOURLY_2, LIVE_1, LIVE_2, LIVE_3, hdlc
from tests.support.parsers import ParserPair
from tests.support.shared_vectors import shared_vectors

RECORDED = (LIVE_1, LIVE_2, LIVE_3, HOURLY_1, HOURLY_2)
SCALES = (10, 1, None)


def frame_of(data: bytes) -> Frame:
    (frame,) = frames_of(HdlcFramer(), [data])
    return frame


def agree(frames: list[Frame], scale: int | None) -> None:
    ParserPair("han", energy_scale=scale).check_frames(frames)


def template_of(frame: Frame, current: CurrentScale | None = None) -> ListTemplate | None:
    message = HanCodec(energy_scale=10, fast_path=False).decode(frame)
    return make_template(frame, message, 10, current or CurrentScale())


def read(learned: Frame, other: Frame) -> dict[Any, tuple[Any, str]]:
    """Raw and value of the objects of `other`, read by a template made of `learned`."""
    template = template_of(learned)
    assert template is not None
    message = template.read(other)
    assert message is not None
    return {obj.id: (obj.raw, str(obj.value)) for obj in message.objects}


def changed(frame: Frame, rng: random.Random, count: int) -> Frame:
    """The frame with other bytes, as if its checksums were right; its addresses end, or it would
    be none."""
    while True:
        payload = bytearray(frame.payload)
        for _ in range(count):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        with contextlib.suppress(ValueError):
            if header_end(payload, 0) is not None:
                return frame._replace(payload=bytes(payload))


def test_other_numbers_in_a_known_layout() -> None:
    objects = read(frame_of(LIVE_1), frame_of(LIVE_3))
    # 0x1530 and 0x08AB in the frame
    assert objects["1-1:1.7.0.255"] == (5424, "5424")
    assert objects["1-1:31.7.0.255"] == (2219, "22.19")
    assert objects["1-1:96.1.1.255"] == ("684112" + "1BN243101040", "684112" + "1BN243101040")


def test_a_clock_that_is_sent_twice() -> None:
    objects = read(frame_of(HOURLY_1), frame_of(HOURLY_2))
    assert objects["0-1:1.0.0.255"] == ("07e3011d020a0005ff800000", "2019-01-29T10:00:05")
    other = frame_of(HOURLY_2)
    clock = bytes.fromhex("07E3011D020A0005FF800000")
    at = other.payload.rindex(clock)
    payload = other.payload[:at] + bytes.fromhex("07E3011D02 17") + other.payload[at + 6 :]
    objects = read(frame_of(HOURLY_1), other._replace(payload=payload))
    assert objects["0-1:1.0.0.255"] == ("07e3011d02170005ff800000", "2019-01-29T23:00:05")


def test_no_template_for_a_list_with_fewer_than_two_numbers() -> None:
    body = "E6E700 0F 00000000 00 0203 0A01 4B 0906 0101010700FF 06 00000001"
    assert template_of(frame_of(hdlc(bytes.fromhex(body)))) is None
    body = "E6E700 0F 00000000 00 0204 0906 0101010700FF 06 00000001 0906 0101020700FF 06 00000002"
    assert template_of(frame_of(hdlc(bytes.fromhex(body)))) is not None


def test_no_template_for_an_encrypted_list() -> None:
    body = bytes.fromhex("E6E700 DB 08 4B414D0000000001 05 30 00000001")
    assert make_template(frame_of(hdlc(body)), Message({}), 10, CurrentScale()) is None


def test_templates_of_one_meter_are_bounded() -> None:
    current = CurrentScale()
    decoder = TemplateDecoder(
        HanCodec(energy_scale=10, fast_path=False).decode,
        lambda frame, message: make_template(frame, message, 10, current),
    )
    information = bytes.fromhex("E6E700 0F 00000000 00 0205")
    numbers = bytes.fromhex("0906 0101010700FF 06 00000001 0906 0101020700FF 06 00000002")
    for size in range(1, 20):
        text = bytes((0x0A, size)) + b"Kamstrup_V000000000000"[:size]
        decoder.decode(frame_of(hdlc(information + text + numbers)))
    assert 1 <= len(decoder.templates) <= MAX_LAYOUTS


@settings(max_examples=300)
@given(data=st.data())
def test_random_changes(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    frame = frame_of(data.draw(st.sampled_from(RECORDED)))
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    frames = [frame, *(changed(frame, rng, count) for count in counts), frame]
    agree(frames, data.draw(st.sampled_from(SCALES)))


@pytest.mark.parametrize(
    "vector", shared_vectors("han.json", lambda v: v["kind"] == "hdlc" and bool(v["fcs_ok"]))
)
def test_random_changes_of_every_vector(vector: dict[str, Any]) -> None:
    frames = frames_of(HdlcFramer(), [bytes.fromhex(vector["hex"])])
    rng = random.Random(1)
    for frame in frames:
        variants = [changed(frame, rng, count) for count in (1, 1, 1, 2, 8)]
        for scale in SCALES:
            agree([frame, frame, *variants, frame], scale)


def test_a_known_list_may_show_the_scale_of_the_currents() -> None:
    """A three-wire transformer meter: its type says that r is to be divided by the root of 3. So
    half the currents of LIVE_1 prove nothing (r = 0.53), and ten times those are of 0.001 A."""
    frame = frame_of(LIVE_1)
    payload = frame.payload.replace(b"684112", b"685112")
    assert payload != frame.payload
    first, second = (frame._replace(payload=_currents(payload, times)) for times in (0.5, 10))
    agree([first, first, second, first], 10)
    codec = HanCodec(energy_scale=10)
    codec.decode(first)
    amperes = {obj.id: obj for obj in codec.decode(second).objects}["1-1:31.7.0.255"]
    # 0x0443 in the frame
    assert (amperes.raw, str(amperes.value)) == (10910, "10.910")


def _currents(payload: bytes, times: float) -> bytes:
    changed = bytearray(payload)
    for group in (0x1F, 0x33, 0x47):
        at = payload.index(bytes((1, 1, group, 7, 0, 0xFF, 6))) + 7
        count = int.from_bytes(payload[at : at + 4], "big")
        changed[at : at + 4] = round(count * times).to_bytes(4, "big")
    return bytes(changed)
