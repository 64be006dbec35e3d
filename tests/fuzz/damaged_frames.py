"""Millions of damaged frames: none raises, none hangs, and hardly one is taken for good.

A checksum lets a randomly damaged frame through with a probability r: 2⁻¹⁶ (CRC-16), 2⁻⁸ (LRC),
2⁻⁷ (BCC of seven bits). Of N damaged frames at most N·r + 5·√(N·r) may be taken.
"""

from __future__ import annotations

import functools
import gc
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue
from kamstrup_mqtt.emulators.han import make
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import Frame
from tests.fuzz.targets import HAN, KMP, LOGS
from tests.protocols.multical_66.test_multical_66 import ONE, TWO
from tests.support import iec_recordings as iec
from tests.support import kmp_ascii_recordings as kmp_ascii

UNCHECKED = ("manufacturer", "ident")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One protocol, frames of it, the bits of its checksum (None: it has none, so anything may be
    taken). `highest`: a byte on the line; `pairs`: the bytes of a frame are pairs of digits on the
    line. `fresh_codec`: with a new codec, which remembers nothing."""

    protocol: str
    frames: Sequence[bytes]
    bits: int | None
    highest: int = 0xFF
    pairs: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    fresh_codec: bool = False


def pushed(model: str, **settings: str) -> tuple[bytes, ...]:
    """The list of 10 s and the hourly one of an emulated meter."""
    return tuple(
        make(model, {**settings, "hourly": hourly}).push(NOON) for hourly in ("never", "always")
    )


NOON = datetime(2026, 1, 21, 12, 0, 10)  # noqa: DTZ001 - the meter's own time
EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
SEALED = {"encryption_key": EK.hex(), "authentication_key": AK.hex()}
KEYS = {"encryption_key": EK, "authentication_key": AK}

LINES: Mapping[str, Line] = {
    "kmp": Line(protocol="kmp", frames=(*KMP[1:6], LOGS[-1]), bits=16),
    "han": Line(protocol="han", frames=HAN, bits=16, options={"energy_scale": 10}),
    "han_push1": Line(
        protocol="han",
        frames=pushed("kamstrup_han_3phase", list="push1"),
        bits=16,
        options={"energy_scale": 1},
    ),
    "han_aidon": Line(protocol="han", frames=pushed("aidon_3phase"), bits=16),
    "han_kaifa": Line(protocol="han", frames=pushed("kaifa_3phase"), bits=16),
    "han_encrypted": Line(
        protocol="han",
        frames=pushed("kamstrup_han_3phase", **SEALED),
        bits=16,
        options={"energy_scale": 10, **KEYS},
        fresh_codec=True,
    ),
    "han_untagged": Line(
        protocol="han",
        frames=pushed("kamstrup_han_3phase", security="20", **SEALED),
        bits=16,
        options={"energy_scale": 10, **KEYS},
        fresh_codec=True,
    ),
    "kmp_ascii": Line(
        protocol="kmp-ascii",
        frames=(kmp_ascii.IDENTITY_ANSWER, kmp_ascii.ENERGY_ANSWER, kmp_ascii.TARIFFS_ANSWER),
        bits=8,
        pairs=True,
    ),
    "iec62056_21": Line(
        protocol="iec62056-21",
        frames=(iec.OFFICIAL, iec.SEED),
        bits=7,
        highest=0x7F,
        options={"bcc": "sum", "parity": "hardware"},
    ),
    "iec62056_21_7e1": Line(
        protocol="iec62056-21",
        frames=(iec.OFFICIAL_7E1,),
        bits=7,  # and the parity of each character, which makes it far less
        options={"bcc": "sum"},
    ),
    "multical_66": Line(protocol="multical-66", frames=(ONE, TWO), bits=None, highest=0x7F),
}


def damaged(chance: random.Random, line: Line, frame: bytes) -> bytes:
    """The frame after a bad line; an LRC is one of bytes, so its bytes are what is damaged."""
    if line.pairs:
        sound = bytes.fromhex(frame[1:-1].decode())
        return frame[:1] + damage(chance, sound, line.highest).hex().upper().encode() + b"\r"
    return damage(chance, frame, line.highest)


def damage(chance: random.Random, frame: bytes, highest: int) -> bytes:
    """One to eight bytes are others now; sometimes a piece is missing, or was sent twice."""
    damaged = bytearray(frame)
    for _ in range(chance.randint(1, 8)):
        damaged[chance.randrange(len(damaged))] = chance.randint(0, highest)
    kind = chance.random()
    if kind < 0.1:
        at = chance.randrange(len(damaged))
        del damaged[at : at + chance.randint(1, 4)]
    elif kind < 0.2:
        at = chance.randrange(len(damaged))
        damaged[at:at] = damaged[at : at + chance.randint(1, 4)]
    return bytes(damaged)


def taken(make: Callable[[], Any], framer: Any, data: bytes) -> set[tuple[DecodedValue, ...]]:
    """Return the objects of every frame that was accepted as valid."""
    found = set()
    framer.receive_data(data)
    framer.end_burst()
    while (event := framer.next_event()) is not None:
        if isinstance(event, Frame) and event.direction != "request":
            try:
                message = make().decode(event)
            except MeterError:
                continue
            # the identification of a readout stands before what its BCC covers
            objects = tuple(o for o in message.objects if o.id not in UNCHECKED)
            if objects:
                found.add(objects)
    return found


@dataclass(frozen=True, slots=True)
class Result:
    """`grown`: kB by which the process became larger."""

    damaged: int
    accepted: int
    allowed: float
    seconds: float
    grown: int


def memory() -> int:
    """kB that this process has in memory."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def run(name: str, number: int, seed: int = 1) -> Result:
    """Damage `number` frames; raises whatever a decoder raises that it must not."""
    line = LINES[name]
    chance = random.Random(seed)
    make = functools.partial(registry.all_protocols()[line.protocol].make_codec, **line.options)
    codec = make()
    make_codec = make if line.fresh_codec else lambda: codec
    good = set[tuple[DecodedValue, ...]]()
    for frame in line.frames:
        found = taken(make_codec, codec.framer(), frame)
        assert found, f"{name}: an undamaged frame is not read"
        good |= found
    framer = codec.framer()
    accepted, before = 0, memory()
    start = time.monotonic()
    for n in range(number):
        if n % 1000 == 0:
            framer = codec.framer()
        data = damaged(chance, line, line.frames[n % len(line.frames)])
        accepted += len(taken(make_codec, framer, data) - good)
    expected = number * 2.0**-line.bits if line.bits is not None else math.inf
    allowed = expected + 5 * math.sqrt(expected)
    return Result(number, accepted, allowed, time.monotonic() - start, memory() - before)
