"""A list of a known layout comes out as if it had been walked, whatever is in it."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Frame, Message
from kamstrup_mqtt.protocols.han import HanCodec, HdlcFramer
from kamstrup_mqtt.protocols.han.framing import header_end
from tests.support.framing import frames_of
from tests.support.han_recordings import HOURLY_1, HOURLY_2, LIVE_1, LIVE_2, LIVE_3, hdlc
from tests.support.shared_vectors import shared_vectors

RECORDED = (LIVE_1, LIVE_2, LIVE_3, HOURLY_1, HOURLY_2)
SCALES = (10, 1, None)


def frame_of(data: bytes) -> Frame:
    (frame,) = frames_of(HdlcFramer(), [data])
    return frame


def outcome(codec: HanCodec, frame: Frame, *, plain: bool) -> tuple[Any, ...]:
    """What comes out of a frame, in the order of the header too; `plain`: by the walk alone."""
    try:
        message: Message = codec._walk(frame) if plain else codec.decode(frame)
    except MeterError as error:
        return (error.state, str(error))
    return (list(message.header.items()), message.objects, str(message.objects))


def agree(frames: list[Frame], scale: int | None) -> None:
    """Two codecs in the same state all along: one that walks each list, one that knows some."""
    walking, knowing = HanCodec(energy_scale=scale), HanCodec(energy_scale=scale)
    for frame in frames:
        assert outcome(knowing, frame, plain=False) == outcome(walking, frame, plain=True)


@pytest.mark.parametrize("scale", SCALES)
def test_meters_whose_layouts_are_shared_keep_what_is_their_own(scale: int | None) -> None:
    number = b"243101040"
    assert all(number in data for data in RECORDED)
    meters = []
    for own in (number, b"243101041"):
        frames = [frame_of(data) for data in RECORDED]
        payloads = [frame.payload.replace(number, own) for frame in frames]
        frames = [Frame(p, p, "push") for p in payloads for _ in range(2)]
        meters.append((frames, HanCodec(energy_scale=scale), HanCodec(energy_scale=scale)))
    for pair in zip(*(frames for frames, _, _ in meters), strict=True):
        for frame, (_, walking, knowing) in zip(pair, meters, strict=True):
            assert outcome(knowing, frame, plain=False) == outcome(walking, frame, plain=True)


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


@pytest.mark.parametrize("scale", SCALES)
def test_recorded_lists_in_turn(scale: int | None) -> None:
    agree([frame_of(data) for data in RECORDED * 2], scale)


def test_the_second_list_of_a_layout_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = HanCodec(energy_scale=10)
    codec.decode(frame_of(LIVE_1))
    monkeypatch.setattr(HanCodec, "_walk", lambda *_: pytest.fail("walked"))
    objects = {obj.id: obj for obj in codec.decode(frame_of(LIVE_3)).objects}
    # 0x1530 and 0x08AB in the frame (recorded.py)
    assert (objects["1-1:1.7.0.255"].raw, str(objects["1-1:31.7.0.255"].value)) == (5424, "22.19")


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
def test_every_vector(vector: dict[str, Any]) -> None:
    framer = HdlcFramer()
    frames = frames_of(framer, [bytes.fromhex(vector["hex"])])
    rng = random.Random(1)
    for frame in frames:
        variants = [changed(frame, rng, count) for count in (1, 1, 1, 2, 8)]
        for scale in SCALES:
            agree([frame, frame, *variants, frame], scale)


def test_layouts_are_not_kept_without_end() -> None:
    codec = HanCodec(energy_scale=10)
    information = bytes.fromhex("E6E700 0F 00000000 00 0204")
    numbers = bytes.fromhex("0906 0101010700FF 06 00000001 0906 0101020700FF 06 00000002")
    for size in range(1, 20):
        text = bytes((0x0A, size)) + b"Kamstrup_V000000000000"[:size]
        body = information[:-1] + b"\x05" + text + numbers
        codec.decode(frame_of(hdlc(body)))
    assert len(codec._list_cache._by_size._by_size) <= 8


def test_the_scale_of_currents_that_a_known_list_shows() -> None:
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
