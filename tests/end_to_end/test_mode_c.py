"""A meter in mode C on a pty: the speed of the line changes and changes back.

The meter in this test is not our emulator: it checks the speed of the line (both ends of a pty
share it), and sends rubbish at any other than its own. IEC 62056-21, 5.4 and 6.3; characters with
even parity as in iec62056_21.md 6.
"""

from __future__ import annotations

import asyncio
import logging
import os
import termios
import tty
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.protocols.base import PollRequest, PollResponse
from kamstrup_mqtt.protocols.iec62056_21.codec import TIMINGS, IecCodec
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters

SIGN_ON = bytes.fromhex("AF 3F 21 8D 0A")
ACK_050 = bytes.fromhex("06 30 35 30 8D 0A")
# /XYZ5TEST CR LF
IDENT = bytes.fromhex("AF D8 59 5A 35 D4 C5 53 D4 8D 0A")
# STX 1.8.0(12*kWh) CR LF ! CR LF ETX BCC; the XOR after STX is 67, with parity E7
READOUT = bytes.fromhex("82 B1 2E B8 2E 30 28 B1 B2 AA EB D7 E8 A9 8D 0A 21 8D 0A 03 E7")
LINE = SerialParams(300)


class Meter:
    """The meter's end of the pty, and the speeds that it saw."""

    def __init__(self, near: int, *, echo: bool) -> None:
        self._near = near
        self._echo = echo
        self._heard = bytearray()
        self.speeds: list[int] = []

    def readable(self) -> None:
        data = os.read(self._near, 4096)
        if self._echo:
            os.write(self._near, data)
        self._heard += data
        if self._heard == SIGN_ON:
            self._answer(termios.B300, IDENT)
        elif self._heard == ACK_050:
            self._answer(termios.B9600, READOUT)

    def _answer(self, baudrate: int, data: bytes) -> None:
        self._heard.clear()

        def say() -> None:
            speed: int = termios.tcgetattr(self._near)[5]
            self.speeds.append(speed)
            os.write(self._near, data if speed == baudrate else b"\xff\x13" * 10)

        # six characters take 0.2 s at 300 baud, which a pty does not simulate; 0.2 s reaction time
        asyncio.get_running_loop().call_later(0.4, say)


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    near, far = os.openpty()
    tty.setraw(far)
    os.set_blocking(near, False)
    yield near, os.ttyname(far)
    os.close(near)
    os.close(far)


async def poll(port: Port, codec: IecCodec) -> PollResponse:
    async with port.lease(LINE) as link:
        exchange = ConversationRunner(
            link, codec.framer(), Counters(), logging.getLogger("kamstrup_mqtt")
        )
        return await exchange.run(codec.poll(PollRequest(sources=("1.8.0",))))


@pytest.mark.parametrize("echo", [False, True])
async def test_the_line_changes_its_speed_and_changes_back(
    pty: tuple[int, str], echo: bool
) -> None:
    near, path = pty
    meter = Meter(near, echo=echo)
    asyncio.get_running_loop().add_reader(near, meter.readable)
    port, codec = (
        Port(SerialDevice(path)),
        IecCodec(timings=replace(TIMINGS, tries=1), reaction=0.02),
    )
    try:
        for _ in range(2):
            values = {obj.id: obj.value for obj in (await poll(port, codec)).objects}
            assert values["1.8.0"] == Decimal(12)
            assert termios.tcgetattr(near)[5] == termios.B300
    finally:
        asyncio.get_running_loop().remove_reader(near)
        await port.close()
    assert meter.speeds == [termios.B300, termios.B9600] * 2
