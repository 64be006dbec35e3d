"""Millions of damaged frames: none raises, none hangs, and hardly one is taken for good.

A checksum lets a randomly damaged frame through with a probability r: 2⁻¹⁶ (CRC-16), 2⁻⁸ (LRC),
2⁻⁷ (BCC of seven bits). Of N damaged frames at most N·r + 5·√(N·r) may be taken.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kamstrup_mqtt import registry
from kamstrup_mqtt.errors import MeterError
from kamstrup_mqtt.model import Object
from kamstrup_mqtt.protocols.base import Frame
from tests.fuzz.targets import HAN, KMP
from tests.protocols.iec62056_21 import recorded as iec
from tests.protocols.kmp_ascii import recorded as kmp_ascii

Damage = Callable[[random.Random, bytearray], None]

UNCHECKED = ("manufacturer", "ident")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One protocol, frames of it, the bits of its checksum, and what a byte on it can be."""

    protocol: str
    frames: Sequence[bytes]
    bits: int
    highest: int = 0xFF
    options: Mapping[str, Any]


LINES: Mapping[str, Line] = {
    "kmp": Line(protocol="kmp", frames=KMP[1:6], bits=16, options={}),
    "han": Line(protocol="han", frames=HAN, bits=16, options={"energy_scale": 10}),
    "kmp_ascii": Line(
        protocol="kmp-ascii",
        frames=(kmp_ascii.IDENTITY_ANSWER, kmp_ascii.ENERGY_ANSWER, kmp_ascii.TARIFFS_ANSWER),
        bits=8,
        options={},
    ),
    "iec62056_21": Line(
        protocol="iec62056-21",
        frames=(iec.OFFICIAL, iec.SEED),
        bits=7,
        highest=0x7F,
        options={"bcc": "sum", "parity": "hardware"},
    ),
}


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


def taken(codec: Any, framer: Any, data: bytes) -> set[tuple[Object, ...]]:
    """What was read out of it: the objects of every frame that was taken for good."""
    found = set()
    framer.receive_data(data)
    framer.silence()
    while (event := framer.next_event()) is not None:
        if isinstance(event, Frame) and event.direction != "request":
            try:
                message = codec.decode(event)
            except MeterError:
                continue
            # the identification of a readout stands before what its BCC covers
            objects = tuple(o for o in message.objects if o.id not in UNCHECKED)
            if objects:
                found.add(objects)
    return found


@dataclass(frozen=True, slots=True)
class Result:
    damaged: int
    accepted: int
    allowed: float
    seconds: float


def run(name: str, number: int, seed: int = 1) -> Result:
    """Damage `number` frames; raises whatever a decoder raises that it must not."""
    line = LINES[name]
    chance = random.Random(seed)
    codec = registry.all_protocols()[line.protocol].codec(**line.options)
    good = set[tuple[Object, ...]]()
    for frame in line.frames:
        found = taken(codec, codec.framer(), frame)
        assert found, f"{name}: an undamaged frame is not read"
        good |= found
    framer = codec.framer()
    accepted = 0
    start = time.monotonic()
    for n in range(number):
        if n % 1000 == 0:
            framer = codec.framer()
        data = damage(chance, line.frames[n % len(line.frames)], line.highest)
        accepted += len(taken(codec, framer, data) - good)
    expected = number * 2.0**-line.bits
    return Result(number, accepted, expected + 5 * math.sqrt(expected), time.monotonic() - start)
