"""Frames found again in damaged streams: as many as are in them with a right FCS.

The oracle below looks at every byte of a stream, the plain way and with bit-wise checksums.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from kamstrup_mqtt.emulators.parity_fault import misread_as_8e1
from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason, Frame
from kamstrup_mqtt.protocols.han.framing import HdlcFramer
from tests.support.framing import drain, events_of
from tests.support.han_recordings import SEED, fcs, hdlc

STREAMS = 150

# addresses of one to four bytes; 7E, A0 and FF inside; the last byte of the FCS 7E, as LIVE_2's is
OTHERS = (
    hdlc(b"\xe6\xe7\x00\x0f" + b"\x7e\xa0\x7e" * 5, "41 08 83 13"),
    hdlc(b"\xe6\xe7\x00\x0f" + bytes(range(256)), "01 02 01 10"),
    hdlc(b"\xe6\xe7\x00\x0f" + b"\xff" * 40, "02 04 06 09 02 04 06 09 13"),
    hdlc(b"\xe6\xe7\x00\x0f" + b"\xa0\x0a" * 30, "02 05 03 13"),
    b"\x7e" + bytes.fromhex("A007 2B2113") + fcs(bytes.fromhex("A007 2B2113")) + b"\x7e",
)
FRAMES = (*SEED, *OTHERS)


def oracle(stream: bytes) -> Iterator[bytes]:
    """The payloads of all frames in `stream`, from its beginning, none inside another."""
    at = 0
    while at < len(stream):
        payload = _payload_at(stream, at)
        if payload is None:
            at += 1
        else:
            yield payload
            at += len(payload) + 2


def _payload_at(stream: bytes, at: int) -> bytes | None:
    length = int.from_bytes(stream[at : at + 2], "big") & 0x7FF
    if stream[at] & 0xF0 != 0xA0 or length < 7 or at + length > len(stream):
        return None
    end = at + 2
    for _ in range(2):  # the addresses: up to four bytes each, the last one odd
        odd = [n for n in range(end, end + 4) if stream[n : n + 1] and stream[n] & 1]
        if not odd:
            return None
        end = odd[0] + 1
    end += 1  # the control byte
    if end + 2 > at + length or fcs(stream[at:end]) != stream[end : end + 2]:
        return None
    last = at + length - 2
    if fcs(stream[at:last]) != stream[last : last + 2]:
        return None
    return stream[at:last]


def damaged(wire: bytes, rng: random.Random) -> bytes:
    """One frame as a bad line brings it; often whole."""
    at = rng.randrange(len(wire))
    return rng.choice(
        (
            wire,
            wire,
            wire[1:],
            wire[:-1],
            wire[1:-1],
            wire[:at] + bytes([wire[at] ^ 1 << rng.randrange(8)]) + wire[at + 1 :],
            wire[:at] + wire[at + rng.randint(1, 11) :],
            wire[:at] + rng.randbytes(rng.randint(1, 4)) + wire[at:],
            wire[:at],
            wire[at:],
            misread_as_8e1(wire),
        )
    )


def fill(rng: random.Random) -> bytes:
    """Bytes between two frames: none, flags, an idle line, noise full of starts."""
    size = rng.randint(0, 40)
    starts = b"".join(
        rng.choice((b"\x7e", b"\xa0", b"\xa7\xff", b"\x7e\xa0\xe2\x2b\x21\x13", b"\x23\x9a"))
        for _ in range(size // 4)
    )
    noise = (b"\xff" * size, b"\x7e" * size, rng.randbytes(size), starts)
    return rng.choice((b"", b"", b"\x7e", *noise))


def stream_of(rng: random.Random) -> bytes:
    return b"".join(damaged(rng.choice(FRAMES), rng) + fill(rng) for _ in range(rng.randint(1, 9)))


def chunks_of(stream: bytes, rng: random.Random) -> list[bytes]:
    cuts = [0]
    while cuts[-1] < len(stream):
        cuts.append(cuts[-1] + rng.choice((1, 2, 16, 114, 500)))
    return [stream[a:b] for a, b in itertools.pairwise(cuts)]


def payloads(framer: HdlcFramer, chunks: list[bytes]) -> list[bytes]:
    return [e.payload for e in events_of(framer, chunks) if isinstance(e, Frame)]


@pytest.mark.parametrize("wire", FRAMES)
def test_the_oracle_recognises_a_frame(wire: bytes) -> None:
    assert list(oracle(wire)) == [wire[1:-3]]


@pytest.mark.parametrize("seed", range(STREAMS))
def test_every_frame_in_a_stream_is_found(seed: int) -> None:
    rng = random.Random(seed)
    stream = stream_of(rng)
    expected = list(oracle(stream))
    assert payloads(HdlcFramer(), [stream]) == expected
    assert payloads(HdlcFramer(), chunks_of(stream, rng)) == expected


def test_a_recording_of_a_thousand_frames() -> None:
    rng = random.Random(2026)
    sent = [damaged(rng.choice(FRAMES), rng) + fill(rng) for _ in range(1000)]
    stream = b"".join(sent)
    found = payloads(HdlcFramer(), chunks_of(stream, rng))
    assert found == list(oracle(stream))
    assert len(found) > 400  # or nothing would have been tried


def test_every_byte_is_returned_exactly_once() -> None:
    """Every byte is in one event, except flags between frames."""
    rng = random.Random(7)
    stream = b"".join(damaged(rng.choice(FRAMES), rng) + fill(rng) for _ in range(100))
    told = b"".join(event.raw for event in events_of(HdlcFramer(), chunks_of(stream, rng)))
    assert told.replace(b"\x7e", b"") == stream.replace(b"\x7e", b"")


def test_a_little_noise_between_segments_is_no_lost_segment() -> None:
    first, last = hdlc(b"\xe6\xe7\x00\x0fAB", segmented=True), hdlc(b"CD")
    framer = HdlcFramer()
    events = events_of(framer, [first, b"\xff\xff", last])
    assert [type(event) for event in events] == [DroppedBytes, Frame]
    assert events[1].raw == first + last  # type: ignore[union-attr]
    # as much as the shortest segment may have been one
    for noise in (b"\xff" * 7, hdlc(b"X")[:-3]):
        framer.receive_data(first + noise + last)
        kinds = [e.reason for e in drain(framer) if isinstance(e, DroppedBytes)]
        framer.end_burst()
        kinds += [e.reason for e in drain(framer) if isinstance(e, DroppedBytes)]
        assert DropReason.TRUNCATED in kinds


class OneByOne(HdlcFramer):
    """Checks each start separately."""

    def _skip_false_starts(self) -> None:
        pass


assert hasattr(HdlcFramer, "_skip_false_starts"), "the tests below compare a framer with itself"


EVEN, STARTS = bytes(range(0, 256, 2)), bytes(range(0xA0, 0xB0))


def noise(rng: random.Random) -> bytes:
    """Noise full of false starts, with a true one now and then."""
    size = rng.randrange(1, rng.choice((5, 50, 1500)))
    kind = rng.randrange(8)
    if kind < 2:  # the same over and over; the first is the bench's
        return (b"\x7e\xa7\xff" if kind else rng.randbytes(rng.randrange(1, 14))) * size
    if kind == 2:
        return bytes(rng.choices(STARTS, k=size))
    if kind == 3:  # addresses that do not end, lengths that are too small
        return bytes(rng.choices(b"\x7e\xa0\xa8\xa7\x06\x07\x00\x02\x01", k=size))
    if kind == 4:
        return rng.choice((b"", b"\x7e")) + b"\xa7\xff" + bytes(rng.choices(EVEN, k=size % 9))
    if kind == 5:  # a header that is right, and no frame
        header = bytes((rng.choice(STARTS), rng.randrange(256), 0x2B, 0x21, 0x13))
        return (b"\x7e"[: rng.randrange(2)] + header + fcs(header)) * (size % 40)
    frame = rng.choice(FRAMES)
    return frame if kind == 6 else frame[: rng.randrange(len(frame))]


@pytest.mark.parametrize("seed", range(40))
def test_stepping_over_starts_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    fast, plain = HdlcFramer(), OneByOne()
    for _ in range(rng.randrange(1, 20)):
        chunk = b"".join(noise(rng) for _ in range(rng.randrange(1, 4)))
        size = rng.choice((1, 7, 900, 4096)) if len(chunk) < 500 else 4096
        for at in range(0, len(chunk), size):
            is_quiet = rng.random() < 0.1
            for framer in (fast, plain):
                framer.receive_data(chunk[at : at + size])
                if is_quiet:
                    framer.end_burst()
            assert list(drain(fast)) == list(drain(plain))
            assert fast.bytes_needed == plain.bytes_needed
    assert events_of(fast, []) == events_of(plain, [])


@pytest.mark.parametrize("noise", ["7EA7FF", "A7", "A7FF00000000", "A7FF0000000001"])
def test_noise_that_repeats_itself_is_not_looked_at_piece_by_piece(noise: str) -> None:
    """A few reads of a header for 1024 bytes, not one for each start; nor are they searched again
    for each."""
    piece = bytes.fromhex(noise)
    looked = 0

    class Counting(HdlcFramer):
        def _header(self, at: int) -> int | DropReason | None:
            nonlocal looked
            looked += 1
            return super()._header(at)

    events_of(Counting(), [piece * (10_240 // len(piece))])
    assert looked < 120
