"""Checks for framers: the same bytes in all ways in which a line can deliver them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from kamstrup_mqtt.protocols.base import Event, Frame, Framer

MakeFramer = Callable[[], Framer]

NOISE = bytes.fromhex("00 55 AA FF 11 00")
"""Bytes that start no frame in any of the four protocols."""


def drain(framer: Framer) -> Iterator[Event]:
    """Yield the available events."""
    while (event := framer.next_event()) is not None:
        yield event


def events_of(framer: Framer, chunks: Iterable[bytes], *, quiet: bool = True) -> list[Event]:
    """Return the events of `chunks`; with `quiet`, a silence follows."""
    found: list[Event] = []
    for chunk in chunks:
        framer.receive_data(chunk)
        found += drain(framer)
    if quiet:
        framer.end_burst()
        found += drain(framer)
    return found


def frames_of(framer: Framer, chunks: Iterable[bytes]) -> list[Frame]:
    """Return only the frames."""
    return [event for event in events_of(framer, chunks) if isinstance(event, Frame)]


def single_bytes(wire: bytes) -> list[bytes]:
    """Split `wire` into single bytes."""
    return [wire[n : n + 1] for n in range(len(wire))]


def random_splits(wire: bytes, seed: int) -> list[bytes]:
    """Split `wire` at up to eight random places. Chunks may be empty."""
    rng = random.Random(seed)
    cuts = sorted(rng.randint(0, len(wire)) for _ in range(rng.randint(1, 8)))
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


def check_framer(
    make_framer: MakeFramer,
    wire: bytes,
    frames: Sequence[Frame],
    *,
    noise: bytes = NOISE,
    splits: int = 20,
) -> None:
    """Check that `wire` yields exactly `frames`, in any chunks and with noise before and after it.

    Whole; byte by byte; in random splits; followed by more; noise before; truncated before.
    """
    expected = list(frames)
    whole = events_of(make_framer(), [wire])
    assert [e for e in whole if isinstance(e, Frame)] == expected, "whole"
    assert events_of(make_framer(), single_bytes(wire)) == whole, "byte by byte"
    for seed in range(splits):
        assert events_of(make_framer(), random_splits(wire, seed)) == whole, f"split {seed}"
    assert frames_of(make_framer(), [wire + wire]) == expected * 2, "followed by more"
    assert frames_of(make_framer(), [wire, wire]) == expected * 2, "followed by more, later"
    for chunks in ([noise + wire], single_bytes(noise + wire)):
        assert frames_of(make_framer(), chunks) == expected, "noise before"
    if expected:
        first = len(expected[0].raw)
        for cut in range(1, min(first, len(wire))):
            found = frames_of(make_framer(), [wire[:cut] + wire])[-len(expected) :]
            # the last byte of the truncated frame may be the flag that starts the first one
            lost_flag = expected[0]._replace(raw=expected[0].raw[1:])
            assert found[1:] == expected[1:], f"truncated at {cut} before"
            assert found[0] in (expected[0], lost_flag), f"truncated at {cut} before"
