"""Meters that do not answer, or not every request, and the meters that share their port.

The links are real TCP connections and ptys; the timeouts are those of the protocols.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.core.model import (
    Diagnosis,
    Identity,
    LinkState,
    Measurement,
    Reading,
    SerialParams,
)
from kamstrup_mqtt.emulators.base import Emulator, Reply
from kamstrup_mqtt.emulators.faults import with_faults
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_pty
from kamstrup_mqtt.links.address import SerialDevice, TcpBridge
from kamstrup_mqtt.links.port import MAX_SILENT_POLLS, SILENT_POLLS, Port
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols import iec62056_21, multical_66
from tests.reading.test_reader import (
    FAST_TIMINGS,
    QUICK,
    Bench,
    Start,
    at,
    meter,
    polling,
    setup_of,
    start,
)
from tests.support.ptys import until

__all__ = ["start"]

NEVER = 3600.0
QUICK_LINE = SerialParams(115200)


class Listening:
    """A KMP meter that keeps the requests; `said` is what it makes of the answer to one."""

    serial = make_emulator("multical_403", "kmp", {}).serial

    def __init__(self, said: Callable[[bytes, bytes], bytes]) -> None:
        self.requests: list[bytes] = []
        self._said = said
        self._meter = make_emulator("multical_403", "kmp", {})

    def receive_data(self, data: bytes) -> Any:
        replies: list[Any] = []
        for part in data.split(b"\x0d")[:-1]:
            self.requests.append(part + b"\x0d")
            for reply in self._meter.receive_data(self.requests[-1]):  # type: ignore[union-attr]
                replies.append(Reply(self._said(self.requests[-1], reply.data)))
        return replies


def mute(_request: bytes, _answer: bytes) -> bytes:
    return b""


def whole(_request: bytes, answer: bytes) -> bytes:
    return answer


HOURS = bytes.fromhex("03EC")
"""Register 1004, in the second request of a 403."""


def damaged_hours(request: bytes, answer: bytes) -> bytes:
    """Where the hours are asked for, the answer has a wrong bit."""
    return answer if HOURS not in request else answer[:5] + b"\xff" + answer[6:]


@asynccontextmanager
async def swallowing() -> AsyncIterator[tuple[TcpBridge, list[bytes]]]:
    """A bridge that takes everything and hands nothing on; what each connection brought."""
    connections: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(b"")
        try:
            while data := await reader.read(1000):
                connections[number] += data
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1]), connections
    finally:
        server.close()


def options(**more: Any) -> dict[str, Any]:
    return {"timings": replace(FAST_TIMINGS, **more)}


async def test_a_bridge_that_returns_nothing_is_reopened(
    start: Start,
    expected_logs: list[str],
    logged: Callable[..., list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected_logs.append("nothing came back: is the head on the meter's eye")
    caplog.set_level(logging.INFO, "kamstrup_mqtt.links")
    async with swallowing() as (address, connections):
        bench = await start(
            setup_of("multical_403", "kmp", serial=QUICK_LINE, interval=0.02), address
        )
        await until(lambda: len(connections) >= 3, 20)
        first, second = (data.count(b"\x0d") for data in connections[:2])
    # three polls without a byte, then six; the first two polls ask twice (is it the register?)
    # one of the six is a whole poll, which asks three times
    assert (first >= SILENT_POLLS, second) == (True, 2 * SILENT_POLLS + 2)
    said = [line for line in logged(logging.INFO) if "reopening the port" in line]
    assert said == [
        f"{address}: no byte was received in 3 polls; reopening the port in case it hangs"
    ]
    assert bench.reader.counters.reconnects == 2


async def test_a_line_that_receives_bytes_is_not_reopened() -> None:
    port = Port(TcpBridge("127.0.0.1", 1))
    assert (SILENT_POLLS, MAX_SILENT_POLLS) == (3, 96)
    for _ in range(10):
        port.record_poll(was_silent=True)
        port.record_poll(was_silent=True)
        port.record_poll(was_silent=False)
    assert port.silent_polls.count < port.silent_polls.threshold == SILENT_POLLS


async def test_a_silent_meter_gets_one_request_until_it_answers(
    start: Start, expected_logs: list[str]
) -> None:
    expected_logs.append("nothing came back")
    there = asyncio.Event()
    sleeper = Listening(lambda _, answer: answer if there.is_set() else b"")
    setup = setup_of("multical_403", "kmp", serial=QUICK_LINE, interval=0.02)
    codec = setup.spec.make_codec(**options(tries=3))
    async with meter(lambda: sleeper) as server:
        bench = await start(replace(setup, codec=codec), at(server), max_silent_polls=1000)
        await until(lambda: bench.reader.counters.timeouts >= 18, 20)
        await bench.next(Diagnosis, link_state=LinkState.NO_BYTES)
        # twice: serial number, three times the registers, and whether it is awake; then once each,
        # and after three of these as at first: it may be silent to the serial number alone
        whole_poll = sleeper.requests[:5]
        assert sleeper.requests[:18] == [*whole_poll * 2, *whole_poll[:1] * 3, *whole_poll]
        there.set()
        reading = await bench.next(Reading)
        assert reading.values["heat_energy"] == Measurement(Decimal("0.303"), "GJ")


async def test_a_meter_that_ignores_one_request_is_read_again(
    start: Start, expected_logs: list[str]
) -> None:
    """It slept, so it is knocked with a request that it never answers: register 1001 has its
    number (decisions: GetSerialNo, else 1001)."""
    expected_logs.append("nothing came back")
    there = asyncio.Event()

    def said(request: bytes, answer: bytes) -> bytes:
        return answer if there.is_set() and request[2] != 0x02 else b""

    setup = setup_of("multical_403", "kmp", serial=QUICK_LINE, interval=0.02)
    async with meter(lambda: Listening(said)) as server:
        bench = await start(setup, at(server), max_silent_polls=1000)
        await until(lambda: polling(bench)._retry.silent_polls >= 3, 20)
        there.set()
        assert (await bench.next(Identity)).source == 1001
        await bench.next(Reading)


async def test_a_read_command_makes_all_tries(start: Start, expected_logs: list[str]) -> None:
    expected_logs.append("nothing came back")
    sleeper = Listening(mute)
    setup = setup_of("multical_403", "kmp", serial=QUICK_LINE, interval=NEVER, battery=True)
    limits = replace(QUICK, max_silent_polls=1, retry_asleep=NEVER, read_battery=0.0)
    async with meter(lambda: sleeper) as server:
        bench = await start(setup, at(server), limits=limits)
        await until(lambda: bench.reader.counters.timeouts == 3)
        bench.reader.request_read()
        await until(lambda: bench.reader.counters.timeouts == 6)


async def test_a_silent_meter_does_not_block_its_neighbour(
    start: Start, expected_logs: list[str]
) -> None:
    """Two meters on one line: 3F answers, 7F does not. With the times of the standard the mute one
    holds the line 15 s at first, for five requests, then 2 s a poll, for one."""
    expected_logs.append("nothing came back")
    both = Listening(whole)
    async with meter(lambda: both) as server:
        spec = registry.all_protocols()["kmp"]
        quick = options(tries=3, pause=0.01)
        mute = setup_of("multical_403", "kmp", serial=QUICK_LINE, interval=0.01)
        alive = replace(mute, codec=spec.make_codec(**quick))
        mute = replace(mute, id="mute", codec=spec.make_codec(**quick, address=0x7F))
        bench = await start(mute, at(server))
        other = Bench(alive, bench.port, bench.state_file, QUICK)
        task = asyncio.create_task(other.run())
        await until(lambda: bench.reader.counters.timeouts >= 11, 20)
        other.rest()
        before = len(both.requests)
        for _ in range(5):
            await other.next(Reading)
        task.cancel()
        await asyncio.wait([task])
    in_vain = [request for request in both.requests[before:] if request[1] == 0x7F]
    assert len(in_vain) <= 10  # one a turn, but for one whole poll among five


async def test_a_request_that_fails_leaves_the_values_of_the_others(
    start: Start, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("part of the values did not come, they are null: an answer came, but its")
    said = damaged_hours
    patchy = Listening(lambda request, answer: said(request, answer))
    setup = setup_of("multical_403", "kmp", serial=QUICK_LINE, interval=0.1)
    async with meter(lambda: patchy) as server:
        bench = await start(setup, at(server))
        reading = await bench.next(Reading)
        assert reading.values["heat_energy"] == Measurement(Decimal("0.303"), "GJ")
        assert reading.values["operating_hours"] == Measurement(None)
        assert bench.state.unsupported == {}
        diagnosis = await bench.next(Diagnosis, link_state=LinkState.OK)
        assert (
            "part of the values did not come: an answer came, but its checksum" in diagnosis.problem
        )
        said = whole
        while (await bench.next(Reading)).values["operating_hours"].value is None:
            pass
        await until(lambda: "all values arrive again" in logged(logging.INFO))
        assert (await bench.next(Diagnosis, problem=None)).link_state is LinkState.OK
    assert len(logged(logging.WARNING)) == 1


async def test_a_group_without_any_value_is_not_published_and_read_soon(
    start: Start, expected_logs: list[str]
) -> None:
    expected_logs.append("part of the values did not come")
    said = damaged_hours
    patchy = Listening(lambda request, answer: said(request, answer))
    setup = setup_of("multical_403", "kmp", serial=QUICK_LINE, interval=0.1)
    rare = ("error_hours", "operating_hours", "info_bits", "info_code", "info_bits_text")
    values = tuple(
        replace(v, group="slow") if v.quantity.key in rare or v.source == "info_text" else v
        for v in setup.plan.values
    )
    plan = replace(setup.plan, values=values, periods={"values": 0.1, "slow": NEVER})
    async with meter(lambda: patchy) as server:
        bench = await start(replace(setup, plan=plan), at(server))
        first = await bench.next(Reading)
        assert first.group == "values"
        assert (await bench.next(Reading)).group == "values"
        said = whole
        slow = await bench.next(Reading, group="slow")
        assert slow.values["operating_hours"] == Measurement(Decimal(7127), "h")


@pytest.mark.parametrize(
    ("model", "protocol", "key", "value", "wake"),
    [
        ("multical_401", "iec62056-21", "heat_energy", Decimal("456.631"), "nul"),
        ("multical_401", "iec62056-21", "heat_energy", Decimal("456.631"), "ident"),
        ("multical_66", "iec62056-21", "heat_energy", Decimal("50.71"), "nul"),
        ("multical_66", "multical-66", "temp1", Decimal("68.11"), "nul"),
        ("multical_66", "multical-66", "temp1", Decimal("68.11"), "ident"),
    ],
)
async def test_a_sleeping_eye_is_woken(
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    protocol: str,
    key: str,
    value: Decimal,
    wake: str,
) -> None:
    monkeypatch.setattr("kamstrup_mqtt.protocols.wakeup.IDENT_REST", 0.01)
    package = {"iec62056-21": iec62056_21, "multical-66": multical_66}[protocol]
    monkeypatch.setattr(package.codec, "WAKE_REST", 0.01)

    def asleep() -> Emulator:
        return with_faults(make_emulator(model, protocol, {}), ["asleep"])

    server = await serve_pty(asleep, tmp_path / "head")
    # no second try: what was not woken does not answer
    setup = setup_of(model, protocol)
    assert setup.spec.timings is not None
    timings = replace(
        setup.spec.timings,
        tries=1,
        response_timeout=0.5,
        inter_byte_timeout=0.05,
        pause=0.01,
        wake=wake,
    )
    codec = setup.spec.make_codec(baudrate=setup.serial.baudrate, timings=timings)
    bench = await start(replace(setup, codec=codec), SerialDevice(str(tmp_path / "head")))
    # a first value under a weak checksum waits for a second
    while (reading := await bench.next(Reading)).values[key].value is None:
        pass
    assert reading.values[key].value == value
    await server.close()
