"""Row 5: a poll of eight registers on a line paced at 1200 baud 8N2, against the line's own time.

A pty takes the request at once, so the emulated meter waits for as long as the request would have
been on the wire, and then for its own delay.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from pathlib import Path

from bench.measure import Result
from bench.system import directory
from kamstrup_mqtt.emulators import kmp as emulated
from kamstrup_mqtt.emulators.server import serve_pty
from kamstrup_mqtt.links.address import parse_address
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import PollRequest
from kamstrup_mqtt.protocols.kmp.framing import encode_frame
from kamstrup_mqtt.protocols.kmp.messages import get_register
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters

BAUD, BITS, DELAY, POLLS = 1200, 11, 0.1, 7
REGISTERS = (60, 68, 74, 80, 86, 87, 89, 1004)
REQUEST = len(encode_frame("request", get_register(0x3F, REGISTERS)))


async def polls(path: Path) -> list[float]:
    """Time of each poll by the line's time."""
    kmp = registry.all_protocols()["kmp"]
    meter = await serve_pty(
        lambda: emulated.make("multical_403", {}),
        path,
        baud=BAUD,
        delay=DELAY + REQUEST * BITS / BAUD,
    )
    link = await open_link(parse_address(str(path)), kmp.serial)
    codec = kmp.make_codec()
    exchange = ConversationRunner(link, codec.framer(), Counters(), logging.getLogger("bench"))
    found = []
    try:
        for _ in range(POLLS):
            start = time.perf_counter()
            answer = await exchange.run(codec.poll(PollRequest(sources=REGISTERS)))
            taken = time.perf_counter() - start
            assert len(answer.objects) == len(REGISTERS)
            line = (REQUEST + len(exchange.received)) * BITS / BAUD + DELAY
            found.append(taken / line)
    finally:
        await link.close()
        await meter.close()
    return found


def run() -> list[Result]:
    with directory() as place:
        figure = statistics.median(asyncio.run(polls(place / "meter")))
    return [
        Result(
            row=5,
            what="poll of 8 registers at 1200 baud 8N2",
            ours=f"{figure:.3f} of the line's time",
            other="1",
            figure=figure,
            reach=1.03,
        )
    ]
