"""The fast path and the reference parser agree on every recording, damaged or not.

Each stream goes through framer and codec of both, with everything that they learn on the way.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.meters.vectors import Vector as ModelVector
from tests.meters.vectors import readings
from tests.support import han_recordings, iec_recordings
from tests.support.framing import random_splits, single_bytes
from tests.support.kmp_frames import answer, request
from tests.support.parsers import ParserPair
from tests.support.shared_vectors import Vector, shared_vectors

KMP = (
    answer("3F10 003C 02 04 42 0001E240 0044 37 02 00 04D2 0056 25 02 C2 04D2"),
    # hours of three bytes, a clock, a number of eight bytes, nothing, an unknown unit
    answer(
        "3F10 003C 02 04 42 0001E240 03EC 2E 03 00 01E240 03EA 2F 04 00 000180AF"
        "0100 33 08 00 0000000000000001 0101 33 00 00 0102 7E 01 00 07"
    ),
    answer("3F02 0001E240"),
    answer("3F01 0004 0601"),
    request("3F10 01 003C"),
    b"\x06",
)
IEC = (
    iec_recordings.OFFICIAL,
    iec_recordings.OFFICIAL_7E1,
    iec_recordings.SEED,
    iec_recordings.ISKRA,
    iec_recordings.MODE_D,
    iec_recordings.TWO_SETS,
)
RECORDINGS = {"han": han_recordings.SEED, "kmp": KMP, "iec62056-21": IEC}
SHARED = {
    "han": [
        *shared_vectors("han.json", lambda v: bool(v["hex"])),
        *shared_vectors("han_segments.json", lambda v: bool(v.get("hex"))),
    ],
    "kmp": shared_vectors("kmp.json", lambda v: v["protocol"] == "KMP"),
    "iec62056-21": shared_vectors("iec62056_21.json", lambda v: bool(v["hex"])),
}
OPTIONS = {
    "han": ({"energy_scale": 10}, {"energy_scale": 1}, {}),
    "kmp": ({},),
    "iec62056-21": ({}, {"bcc": "none"}),
}
PROTOCOLS = sorted(RECORDINGS)


def pairs(protocol: str) -> list[ParserPair]:
    return [ParserPair(protocol, **options) for options in OPTIONS[protocol]]


def damaged(wire: bytes, rng: random.Random) -> bytes:
    """With a changed, a lost or an added byte."""
    position = rng.randrange(len(wire))
    kept = position + rng.choice((0, 1, 1))
    return wire[:position] + rng.choice((b"", rng.randbytes(1))) + wire[kept:]


def pieces_of(wire: bytes, rng: random.Random) -> Sequence[bytes]:
    """In one piece, in several, or byte by byte."""
    return rng.choice(([wire], [wire], random_splits(wire, rng.randrange(99)), single_bytes(wire)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_recordings_twice_over(protocol: str) -> None:
    counts = [pair.check_stream([*RECORDINGS[protocol], b""] * 2) for pair in pairs(protocol)]
    assert max(counts) == 2 * len(RECORDINGS[protocol])


def vectors() -> list[object]:
    return [
        pytest.param(protocol, *param.values, id=f"{protocol}-{param.id}", marks=param.marks)
        for protocol, params in SHARED.items()
        for param in params
    ]


@pytest.mark.parametrize(("protocol", "vector"), vectors())
def test_shared_vector_repeated_and_damaged(protocol: str, vector: Vector) -> None:
    wire = bytes.fromhex(vector.get("hex_stuffed_by_us") or vector["hex"])
    rng = random.Random(1)
    spoilt = [damaged(wire, rng) for _ in range(4)] if wire else []
    for pair in pairs(protocol):
        pair.check_stream([wire, b"", wire, b"", wire, *spoilt, b"", wire, *single_bytes(wire)])
        pair.check_stream([b"", wire])


@pytest.mark.parametrize("vector", readings(lambda vector: vector.protocol in PROTOCOLS))
def test_vector_of_every_model_repeated_and_damaged(vector: ModelVector) -> None:
    rng = random.Random(1)
    pair = ParserPair(vector.protocol, **vector.options)
    wires = vector.wires
    assert pair.check_stream([*wires, b""]) >= 1
    pair.check_stream([*wires, b"", *(damaged(wire, rng) for wire in wires), b"", *wires, b""])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=150)
@given(data=st.data())
def test_random_streams(protocol: str, data: st.DataObject) -> None:
    """Good and damaged messages, whole or in pieces, with silences and noise in between."""
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    pair = data.draw(st.sampled_from(pairs(protocol)))
    for _ in range(data.draw(st.integers(1, 8))):
        wire = data.draw(st.sampled_from(RECORDINGS[protocol]))
        kind = data.draw(st.sampled_from(("good", "good", "good", "damaged", "noise", "silence")))
        if kind == "damaged":
            wire = damaged(wire, rng)
        elif kind == "noise":
            wire = rng.randbytes(rng.randrange(1, 40))
        pair.check_stream([b""] if kind == "silence" else pieces_of(wire, rng))
    pair.check_stream([b""])
