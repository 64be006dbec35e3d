"""One meter's reader against emulated meters on TCP and ptys. Values: seed 002 (MULTICAL 403)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.model import Diagnosis, Identity, LinkState, Measurement, Reading
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.daemon.supervisor import Supervisor
from kamstrup_mqtt.emulators.base import Emulator
from kamstrup_mqtt.emulators.faults import with_faults
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import Server, serve_pty, serve_tcp
from kamstrup_mqtt.links.address import SerialDevice, TcpBridge
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.plan import ReadingPlan, default_values
from kamstrup_mqtt.protocols.base import PolledCodec, PollRequest, PollTimings
from kamstrup_mqtt.protocols.han import HanCodec
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.poll_reader import PollReader
from kamstrup_mqtt.reading.reader import Reader, ReaderConfig, ReaderTimeouts
from kamstrup_mqtt.storage.state_file import StateFile
from tests.support.broker import eventually
from tests.support.ptys import until
from tests.support.virtual_line import LineTimeLoop

QUICK = ReaderTimeouts(
    no_bytes=0.1,
    no_frames=0.1,
    retry_first=0.02,
    retry_cap=0.05,
    retry_asleep=0.03,
    restart_first=0.01,
    restart_cap=0.02,
    port_check_interval=0.02,
    reopen_grace=0.02,
    idle_check=0.01,
)
FAST_TIMINGS = PollTimings(
    response_timeout=0.05, inter_byte_timeout=0.05, total_timeout=0.5, pause=0.0, tries=1
)
FAST = {"timings": FAST_TIMINGS}


class Bench:
    """A reader, what it needs, and what it told."""

    def __init__(
        self, setup: ReaderConfig, port: Port, state_file: StateFile, limits: ReaderTimeouts
    ) -> None:
        self.clock = Clock()
        self.report_queue = ReportQueue()
        self.report_queue.set_consumer(self._take)
        self._reports: asyncio.Queue[object] = asyncio.Queue()
        self.state_file = state_file
        self.state = state_file.meter(setup.id).reader
        self.port = port
        self.deadline = Heartbeat("reader", self.clock.monotonic)
        self.reader = Reader(
            setup, port, self.report_queue, state_file, self.clock, self.deadline, timeouts=limits
        )
        self.reports: list[object] = []

    async def run(self) -> None:
        """Run the reader as the daemon does."""
        await Supervisor([self.reader], self.clock.monotonic).run()

    def _take(self) -> None:
        for report in self.report_queue.take_all():
            self._reports.put_nowait(report)

    def rest(self) -> list[object]:
        """The reports that `next_poll` has not looked at yet."""
        self._take()
        return [self._reports.get_nowait() for _ in range(self._reports.qsize())]

    async def next(self, kind: type, **fields: object) -> Any:
        """The next report of that kind with these fields."""
        async with asyncio.timeout(20):
            while True:
                report = await self._reports.get()
                self.reports.append(report)
                if isinstance(report, kind) and all(
                    getattr(report, name) == value for name, value in fields.items()
                ):
                    return report


def polling(bench: Bench) -> PollReader:
    reader = bench.reader._poll_reader
    assert reader is not None
    return reader


def setup_of(model: str, protocol: str, **changes: Any) -> ReaderConfig:
    spec = registry.all_protocols()[protocol]
    profile = registry.all_models()[model].profiles[protocol]
    options = {"energy_scale": 10} if protocol == "han" else FAST if protocol == "kmp" else {}
    setup = ReaderConfig(
        id="meter",
        name="Meter",
        spec=spec,
        codec=spec.make_codec(**options),
        plan=ReadingPlan(
            protocol=protocol,
            profile=profile,
            values=default_values(protocol, profile),
            periods={},
            accept_unlisted=spec.is_pushed,
        ),
        serial=profile.serial or spec.serial,
        interval=None if spec.is_pushed else 0.1,
    )
    return replace(setup, **changes)


Start = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def start(expected_logs: list[str]) -> AsyncIterator[Start]:
    # the emulated meter goes before the reader does, perhaps in the middle of a poll
    expected_logs += ["the bridge closed the connection", "the connection broke"]
    running: list[tuple[asyncio.Task[None], Bench]] = []

    async def start(
        setup: ReaderConfig,
        address: SerialDevice | TcpBridge,
        *,
        state_file: StateFile | None = None,
        limits: ReaderTimeouts = QUICK,
        **port: Any,
    ) -> Bench:
        state_file = state_file or StateFile(None, Clock())
        own = Port(address, **({"first_backoff": 0.01, "backoff_cap": 0.02} | port))
        bench = Bench(setup, own, state_file, limits)
        running.append((asyncio.create_task(bench.run()), bench))
        return bench

    yield start
    for task, bench in running:
        task.cancel()
        await asyncio.wait([task])
        await bench.port.close()


@asynccontextmanager
async def meter(make: Callable[[], Emulator], **manner: Any) -> AsyncIterator[Server]:
    server = await serve_tcp(make, "127.0.0.1", 0, **manner)
    try:
        yield server
    finally:
        await server.close()


def multical() -> Emulator:
    return make_emulator("multical_403", "kmp", {})


def at(server: Server) -> TcpBridge:
    return TcpBridge("127.0.0.1", server.port)


def test_default_timeouts() -> None:
    limits = ReaderTimeouts()
    assert (limits.no_bytes, limits.no_frames, limits.reopen_after) == (30, 30, 300)
    assert limits.unsupported_retry == 86400
    assert (limits.retry_first, limits.retry_cap, limits.retry_asleep) == (5, 60, 900)
    assert (limits.restart_first, limits.restart_cap) == (1, 60)
    assert (limits.read_mains, limits.read_battery) == (10, 900)
    assert (limits.diagnosis_interval, limits.port_check_interval, limits.idle_check) == (
        60,
        15,
        20,
    )
    assert limits.reopen_grace == 1


async def test_a_multical_is_polled(start: Start) -> None:
    async with meter(multical) as server:
        bench = await start(setup_of("multical_403", "kmp"), at(server))
        identity = await bench.next(Identity)
        assert (identity.serial, identity.source) == ("123456", "serial_no")
        reading = await bench.next(Reading)
        assert reading.meter == "meter"
        assert reading.group == "values"
        assert abs(datetime.now(UTC) - reading.time) < timedelta(seconds=5)
        assert reading.values["heat_energy"] == Measurement(Decimal("0.303"), "GJ")
        assert reading.values["volume"] == Measurement(Decimal("11.388"), "m³")
        diagnosis = await bench.next(Diagnosis)
        assert diagnosis.link_state is LinkState.OK
        assert diagnosis.port_gone_since is None
        assert diagnosis.counters["frames"] > 0
        assert bench.state.last_poll is not None
        await bench.next(Reading)  # and again after its interval
        assert not bench.deadline.is_late(0)


async def test_a_multical_on_a_pty_with_an_echo(start: Start, tmp_path: Path) -> None:
    server = await serve_pty(multical, tmp_path / "head", echo=True)
    bench = await start(setup_of("multical_403", "kmp"), SerialDevice(str(tmp_path / "head")))
    reading = await bench.next(Reading)
    assert reading.values["heat_energy"] == Measurement(Decimal("0.303"), "GJ")
    assert bench.reader.counters.echoes > 0
    await server.close()


async def test_a_han_meter_is_read(start: Start) -> None:
    def make() -> Emulator:
        return make_emulator("kamstrup_han_3phase", "han", {"power_import": "1234"})

    async with meter(make, interval=0.05) as server:
        bench = await start(setup_of("kamstrup_han_3phase", "han"), at(server))
        assert (await bench.next(Identity)).serial
        live = await bench.next(Reading, group="live")
        assert live.values["power_import"] == Measurement(Decimal(1234), "W")
        assert (await bench.next(Diagnosis)).link_state is LinkState.OK
        assert bench.reader.request_read() == "this meter sends by itself and cannot be asked"
        await bench.next(Reading, group="live")
        assert [type(report) for report in bench.reports].count(Identity) == 1


async def test_silence_of_a_han_meter_is_reported(start: Start, expected_logs: list[str]) -> None:
    expected_logs.append("nothing came for")

    def make() -> Emulator:
        return make_emulator("kamstrup_han_3phase", "han", {})

    async with meter(make, interval=1000) as server:
        setup = setup_of("kamstrup_han_3phase", "han")
        profile = replace(setup.plan.profile, periods={})
        setup = replace(setup, plan=replace(setup.plan, profile=profile))
        limits = replace(QUICK, reopen_after=0.3)
        bench = await start(setup, at(server), limits=limits)
        diagnosis = await bench.next(Diagnosis, link_state=LinkState.NO_BYTES)
        assert "is the meter's port switched on" in diagnosis.last_error
        await until(lambda: bench.reader.counters.reconnects > 0)  # in case the bridge is stuck


async def test_rubbish_on_a_pushed_line_is_reported(start: Start, expected_logs: list[str]) -> None:
    expected_logs.append("bytes come, but no whole list")

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"\x55" * 20)
                await asyncio.sleep(0.01)
        finally:
            writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    address = TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1])
    setup = setup_of("kamstrup_han_3phase", "han")
    profile = replace(setup.plan.profile, periods={})
    setup = replace(setup, plan=replace(setup.plan, profile=profile))
    bench = await start(setup, address)
    await bench.next(Diagnosis, link_state=LinkState.BYTES_NO_FRAMES)
    server.close()


async def test_a_head_that_is_unplugged_and_plugged_in_again(
    start: Start, tmp_path: Path, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("does not exist: is the adapter plugged in")
    path = tmp_path / "head"
    server = await serve_pty(multical, path)
    bench = await start(setup_of("multical_403", "kmp"), SerialDevice(str(path)))
    await bench.next(Diagnosis, link_state=LinkState.OK)
    await server.close()
    gone = await bench.next(Diagnosis, link_state=LinkState.PORT_MISSING)
    assert gone.port_gone_since is not None
    server = await serve_pty(multical, path)
    back = await bench.next(Diagnosis, link_state=LinkState.OK)
    assert back.port_gone_since is None
    assert back.counters["reconnects"] == 1
    await bench.next(Reading)
    assert len(logged(logging.WARNING)) == 1  # transitions, not repetitions
    await server.close()


async def test_an_idle_port_that_goes_is_noticed_before_the_next_poll(
    start: Start, tmp_path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("does not exist")
    path = tmp_path / "head"
    server = await serve_pty(multical, path)
    setup = setup_of("multical_403", "kmp", interval=3600.0, battery=True)
    bench = await start(setup, SerialDevice(str(path)))
    await bench.next(Diagnosis, link_state=LinkState.OK)
    await server.close()
    await bench.next(Diagnosis, link_state=LinkState.PORT_MISSING)
    server = await serve_pty(multical, path)
    assert (await bench.next(Diagnosis, link_state=LinkState.OK)).port_gone_since is None
    assert [type(report) for report in bench.reports].count(Reading) == 1  # not polled for that
    await server.close()


async def test_a_bridge_that_accepts_and_closes_is_reported_once(
    start: Start, logged: Callable[[int], list[str]], expected_logs: list[str]
) -> None:
    # it closes, or it resets what came too late: each is told once
    expected_logs.append("the connection broke")
    accepted = 0

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    setup = setup_of("multical_403", "kmp", interval=0.5)
    bench = await start(setup, TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1]))
    async with server:
        gone = await bench.next(Diagnosis)
        assert gone.port_gone_since is not None
        await eventually(lambda: accepted > 20, "tried again and again")
    assert len(logged(logging.WARNING)) == 1
    assert len(logged(logging.INFO)) <= 2
    assert bench.port.gone_since == gone.port_gone_since  # so that it goes offline after a minute
    bench.reports += bench.rest()
    states = {report.link_state for report in bench.reports if isinstance(report, Diagnosis)}
    assert states <= {LinkState.REFUSED, LinkState.PORT_MISSING}


async def test_a_meter_that_is_silent(start: Start, expected_logs: list[str]) -> None:
    expected_logs.append("nothing came back")

    class Asleep:
        serial = setup_of("multical_403", "kmp").serial
        requests = 0

        def receive_data(self, data: bytes) -> list[Any]:
            Asleep.requests += 1
            return []

    async with meter(Asleep) as server:
        bench = await start(setup_of("multical_403", "kmp"), at(server))
        diagnosis = await bench.next(Diagnosis)
        assert diagnosis.link_state is LinkState.NO_BYTES
        assert diagnosis.counters["timeouts"] >= 1
        await until(lambda: Asleep.requests > 2)  # it is asked again


async def test_a_battery_meter_that_answered_badly_is_left_alone(
    start: Start, expected_logs: list[str]
) -> None:
    expected_logs.append("checksum is wrong")
    requests = []
    closed = asyncio.Event()

    async def damaged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            requests.append(data)
            writer.write(bytes.fromhex("40 3F 02 01 23 45 67 E9 57 0D"))
        writer.close()
        await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(damaged, "127.0.0.1", 0)
    address = TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1])
    setup = setup_of("multical_403", "kmp", interval=3600.0, battery=True)
    bench = await start(setup, address, idle_timeout=0.02)
    await bench.next(Diagnosis, link_state=LinkState.CHECKSUM)
    assert polling(bench)._schedule.next_poll - bench.clock.monotonic() > 3000
    assert not any(isinstance(report, Reading) for report in bench.reports)  # never published
    await bench.port.close()
    server.close()
    await asyncio.wait_for(closed.wait(), 10)


async def test_a_poll_is_due_an_interval_after_the_last_one(start: Start) -> None:
    state_file = StateFile(None, Clock())
    state_file.meter("meter").reader.last_poll = datetime.now(UTC) - timedelta(seconds=100)
    async with meter(multical) as server:
        setup = setup_of("multical_403", "kmp", interval=3600.0)
        bench = await start(setup, at(server), state_file=state_file)
        rest = polling(bench)._schedule.next_poll - bench.clock.monotonic()
        assert 3500 - 1 < rest < 3500 + 60  # and a phase of its own
        assert bench.reader.request_read() is None
        await bench.next(Reading)


async def test_read_commands_have_a_limit(start: Start) -> None:
    async with meter(multical) as server:
        setup = setup_of("multical_403", "kmp", interval=3600.0)
        bench = await start(setup, at(server))
        await bench.next(Reading)
        assert bench.reader.request_read() is None
        await bench.next(Reading)
        assert "at most once in 10 s" in (bench.reader.request_read() or "")
        assert bench.reader.counters.refused_reads == 1
        battery = await start(replace(setup, battery=True), at(server))
        assert battery.reader.request_read() is None
        assert "at most once in 900 s" in (battery.reader.request_read() or "")
        await battery.next(Reading)


async def test_a_register_that_the_meter_does_not_have(start: Start) -> None:
    def make() -> Emulator:
        return make_emulator("multical_403", "kmp", {"volume": ""})

    async with meter(make) as server:
        bench = await start(setup_of("multical_403", "kmp"), at(server))
        reading = await bench.next(Reading)
        assert reading.values["volume"].value is None
        assert reading.values["heat_energy"].value == Decimal("0.303")
        await until(lambda: 68 in bench.state.unsupported)
        assert 68 not in polling(bench)._unsupported.sources_to_read(("values",))
        assert 60 in polling(bench)._unsupported.sources_to_read(("values",))
        second = await bench.next(Reading)
        assert second.values["volume"].value is None
        state_file = bench.state_file
        again = Bench(bench.reader.config, bench.port, state_file, QUICK)
        assert 68 not in polling(again)._unsupported.sources_to_read(
            ("values",)
        )  # also after a restart
        state_file.meter("meter").reader.unsupported[68] = datetime.now(UTC) - timedelta(days=2)
        later = Bench(bench.reader.config, bench.port, state_file, QUICK)
        assert 68 in polling(later)._unsupported.sources_to_read(("values",))


async def test_a_value_that_came_before_is_not_given_up_at_once(start: Start) -> None:
    state_file = StateFile(None, Clock())
    state_file.meter("meter").reader.seen_keys = ("volume",)

    def make() -> Emulator:
        return make_emulator("multical_403", "kmp", {"volume": ""})

    async with meter(make) as server:
        bench = await start(setup_of("multical_403", "kmp"), at(server), state_file=state_file)
        await bench.next(Reading)
        assert 68 not in bench.state.unsupported
        await until(lambda: 68 in bench.state.unsupported)


async def test_a_crash_does_not_end_the_reader(
    start: Start,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected_logs.append("internal error")
    setup = setup_of("kamstrup_han_3phase", "han")
    codec = setup.codec
    bad = 3

    class Buggy(HanCodec):
        def decode(self, frame: Any) -> Any:
            nonlocal bad
            bad -= 1
            if bad >= 0:
                raise ZeroDivisionError("our bug")
            return codec.decode(frame)

    def make() -> Emulator:
        return make_emulator("kamstrup_han_3phase", "han", {})

    async with meter(make, interval=0.03) as server:
        bench = await start(replace(setup, codec=Buggy()), at(server))
        shown = await bench.next(Diagnosis)
        assert "internal error (ZeroDivisionError)" in shown.last_error
        await bench.next(Reading)
        assert bench.reader.counters.internal_errors == 3
        assert bench.reader.counters.reconnects == 0
    reports = [m for m in logged(logging.ERROR) if "internal error" in m]
    assert len(reports) == 1  # once per place
    assert "7e a0" in reports[0]
    assert any(record.exc_info for record in caplog.records)


async def test_a_list_that_cannot_be_read_is_dropped(
    start: Start, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs += ["the key is wrong", "please report it"]
    setup = setup_of("kamstrup_han_3phase", "han")
    profile = replace(setup.plan.profile, periods={})

    class Locked(HanCodec):
        def decode(self, frame: Any) -> Any:
            raise MeterError(LinkState.WRONG_KEY, "the key is wrong")

    def make() -> Emulator:
        return make_emulator("kamstrup_han_3phase", "han", {})

    plan = replace(setup.plan, profile=profile)
    async with meter(make, interval=0.02) as server:
        bench = await start(replace(setup, codec=Locked(), plan=plan), at(server))
        diagnosis = await bench.next(Diagnosis)
        assert diagnosis.link_state is LinkState.WRONG_KEY
        assert diagnosis.counters["internal_errors"] == 0
        assert diagnosis.counters["undecrypted"] == 1
        assert diagnosis.problem == "the key is wrong"
    assert not [m for m in logged(logging.WARNING) if "please report it" in m]


async def test_two_meters_share_a_port(start: Start) -> None:
    async with meter(multical) as server:
        setup = setup_of("multical_403", "kmp")
        bench = await start(setup, at(server))
        other = Bench(replace(setup, id="other"), bench.port, bench.state_file, QUICK)
        task = asyncio.create_task(other.run())
        for _ in range(3):
            assert (await bench.next(Reading)).meter == "meter"
            assert (await other.next(Reading)).meter == "other"
        task.cancel()
        await asyncio.wait([task])


async def test_without_a_clock_there_is_no_time(start: Start) -> None:
    async with meter(multical) as server:
        bench = await start(setup_of("multical_403", "kmp"), at(server))
        bench.clock.not_before = datetime(2100, 1, 1, tzinfo=UTC)
        assert (await bench.next(Reading)).time is None
        assert bench.state.last_poll is None


# Totals that cannot be


class Changing:
    """A MULTICAL 403 whose registers the test sets while it runs; without 266, so that there is
    one energy."""

    serial = make_emulator("multical_403", "kmp", {}).serial

    def __init__(self, **settings: str) -> None:
        self.set(**settings)

    def set(self, **settings: str) -> None:
        self._now = make_emulator("multical_403", "kmp", {"266": "", **settings})

    def receive_data(self, data: bytes) -> Any:
        return self._now.receive_data(data)  # type: ignore[union-attr]  # it is polled


SUSPICIOUS = replace(QUICK, recheck_delay=0.05, read_mains=0.0, diagnosis_interval=0.0)


async def test_a_falling_total_is_held_back_and_read_once_more(
    start: Start, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("heat_energy is held back: 0.000 GJ is less than the last accepted 50.000")
    changing = Changing(heat_energy="50.000", volume="100.00")
    async with meter(lambda: changing) as server:
        setup = setup_of("multical_403", "kmp", interval=3600.0)
        bench = await start(setup, at(server), limits=SUSPICIOUS)
        await bench.next(Reading)
        assert bench.state.totals["heat_energy"].value == Decimal("50.000")
        changing.set(heat_energy="0.000", volume="100.01")
        bench.reader.request_read()
        reading = await bench.next(Reading)
        assert reading.values["heat_energy"] == Measurement(None, "GJ")
        assert reading.values["volume"] == Measurement(Decimal("100.01"), "m³")
        diagnosis = await bench.next(Diagnosis)
        assert diagnosis.link_state is LinkState.OK
        assert diagnosis.counters["implausible"] == 1
        assert (
            "0.000 GJ is less than the last accepted 50.000 GJ"
            in diagnosis.held_back["heat_energy"]
        )
        changing.set(heat_energy="50.001", volume="100.01")  # it was a slip
        reading = await bench.next(Reading)  # not asked by anybody, and not due for an hour
        assert reading.values["heat_energy"] == Measurement(Decimal("50.001"), "GJ")
        await until(lambda: "heat_energy is accepted again" in logged())
        assert (await bench.next(Diagnosis)).held_back == {}


async def test_two_readings_that_agree_replace_the_total(
    start: Start, expected_logs: list[str]
) -> None:
    expected_logs.append("heat_energy is held back")
    changing = Changing(heat_energy="50.000")
    async with meter(lambda: changing) as server:
        setup = setup_of("multical_403", "kmp", interval=3600.0)
        bench = await start(setup, at(server), limits=SUSPICIOUS)
        await bench.next(Reading)
        changing.set(heat_energy="7.000")
        bench.reader.request_read()
        assert (await bench.next(Reading)).values["heat_energy"].value is None
        assert (await bench.next(Reading)).values["heat_energy"].value == Decimal("7.000")


async def test_a_held_total_is_read_again_only_once(start: Start, expected_logs: list[str]) -> None:
    expected_logs.append("heat_energy is held back")
    changing = Changing(heat_energy="50.000")
    async with meter(lambda: changing) as server:
        setup = setup_of("multical_403", "kmp", interval=3600.0)
        bench = await start(setup, at(server), limits=SUSPICIOUS)
        await bench.next(Reading)
        changing.set(heat_energy="9000.000")
        bench.reader.request_read()
        await bench.next(Reading)
        changing.set(heat_energy="3.000")  # wild, and another one each time
        assert (await bench.next(Reading)).values["heat_energy"].value is None
        assert polling(bench)._schedule.next_poll - bench.clock.monotonic() > 3000
        assert not [r for r in bench.rest() if isinstance(r, Reading)]


async def test_held_totals_are_accepted_by_the_user(
    start: Start, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("heat_energy is held back")
    changing = Changing(heat_energy="50.000", volume="100.00")
    async with meter(lambda: changing) as server:
        setup = setup_of("multical_403", "kmp", interval=3600.0)
        limits = replace(SUSPICIOUS, recheck_delay=3600.0)
        bench = await start(setup, at(server), limits=limits)
        await bench.next(Reading)
        assert bench.reader.accept_held() == ()
        changing.set(heat_energy="7.000", volume="100.00")
        bench.reader.request_read()
        assert (await bench.next(Reading)).values["heat_energy"].value is None
        assert bench.reader.accept_held() == ("heat_energy",)
        assert "accepted by the user: heat_energy" in logged()
        reading = await bench.next(Reading)
        assert reading.values["heat_energy"] == Measurement(Decimal("7.000"), "GJ")
        assert reading.values["volume"] == Measurement(Decimal("100.00"), "m³")
        assert bench.state.totals["heat_energy"].value == Decimal("7.000")


async def test_another_meter_is_not_judged_by_the_totals_of_the_first(
    start: Start, expected_logs: list[str]
) -> None:
    expected_logs.append("connection refused")  # between the two, on a slow machine
    changing = Changing(heat_energy="50.000", serial="1")
    async with meter(lambda: changing) as server:
        setup = setup_of("multical_403", "kmp", interval=0.05)
        bench = await start(setup, at(server), limits=SUSPICIOUS)
        await bench.next(Reading)
        await server.close()
    changing.set(heat_energy="7.000", serial="2")
    async with meter(lambda: changing) as server:
        bench.port.address = at(server)
        assert (await bench.next(Identity)).serial in ("1", "2")
        while (reading := await bench.next(Reading)).values["heat_energy"].value != Decimal(7):
            assert reading.values["heat_energy"].value == Decimal("50.000")


async def test_a_first_total_under_a_weak_checksum_is_read_twice(start: Start) -> None:
    def make() -> Emulator:
        return make_emulator("e685_382", "kmp-ascii", {"energy_import": "9032"})

    async with meter(make) as server:
        setup = setup_of("e685_382", "kmp-ascii", interval=3600.0)
        bench = await start(setup, at(server), limits=SUSPICIOUS)
        assert (await bench.next(Reading)).values["energy_import"].value is None
        reading = await bench.next(Reading)
        assert reading.values["energy_import"] == Measurement(Decimal(9032), "kWh")


# MULTICAL in full


async def test_the_offset_of_a_602_survives_a_restart(
    start: Start, expected_logs: list[str]
) -> None:
    expected_logs.append("connection refused")  # the first reader goes on when its meter is gone
    values = {"heat_energy": "35.812", "60.unit": "MWh", "155": "271211.3"}

    def make() -> Emulator:
        return make_emulator("multical_602", "kmp", values)

    state_file = StateFile(None, Clock())
    async with meter(make) as server:
        bench = await start(setup_of("multical_602", "kmp"), at(server), state_file=state_file)
        first = await bench.next(Reading)
        assert first.values["heat_energy_precise"] == Measurement(Decimal("35812.0000"), "kWh")
        await until(lambda: bench.state.learned.energy_offset_wh is not None)
    assert bench.state.learned.energy_offset_wh == "35540788.7"
    values["155"] = "271999.9"
    bench.state.totals.clear()  # no time passes in a test; the guard would miss it
    async with meter(make) as server:
        bench = await start(setup_of("multical_602", "kmp"), at(server), state_file=state_file)
        later = await bench.next(Reading)
        assert later.values["heat_energy_precise"] == Measurement(Decimal("35812.7886"), "kWh")


async def test_a_slow_group_is_read_rarely(start: Start) -> None:
    setup = setup_of("multical_403", "kmp")
    moved = tuple(
        replace(value, group="slow") if value.quantity.key == "operating_hours" else value
        for value in setup.plan.values
    )
    plan = replace(setup.plan, values=moved, periods={"values": 0.02, "slow": 60.0})
    async with meter(multical) as server:
        bench = await start(replace(setup, plan=plan, interval=0.02), at(server))
        groups = [(await bench.next(Reading)).group for _ in range(5)]
        assert sorted(groups[:2]) == ["slow", "values"]
        assert groups[2:] == ["values"] * 3
        readings = [report for report in bench.reports if isinstance(report, Reading)]
        assert all("operating_hours" not in later.values for later in readings[2:])


async def test_a_sleeping_meter_is_woken(start: Start, expected_logs: list[str]) -> None:
    def make() -> Emulator:
        return with_faults(multical(), ["asleep"])

    setup = setup_of("multical_403", "kmp")
    spec = registry.all_protocols()["kmp"]
    async with meter(make) as server:
        codec = spec.make_codec(timings=replace(FAST_TIMINGS, wake="nul"))
        bench = await start(replace(setup, codec=codec), at(server))
        assert (await bench.next(Reading)).values["volume"].value == Decimal("11.388")


async def test_the_model_is_detected_and_stored(start: Start) -> None:
    found: list[str] = []
    async with meter(multical) as server:
        setup = setup_of("auto", "kmp", on_model_found=found.append, interval=3600.0)
        bench = await start(setup, at(server))
        await until(lambda: bool(found))
        assert found == ["multical_403"]
        assert bench.state.learned.model == "multical_403"
        assert not any(isinstance(report, Reading) for report in bench.reports)


async def test_an_unknown_model_is_read_with_the_generic_list(
    start: Start, expected_logs: list[str]
) -> None:
    expected_logs.append("the model could not be found out")

    def make() -> Emulator:
        return make_emulator("kmp_meter", "kmp", {"60": "", "68": ""})

    async with meter(make) as server:
        bench = await start(setup_of("auto", "kmp", on_model_found=lambda _: None), at(server))
        assert (await bench.next(Reading)).values["flow"].value == Decimal(3)


async def test_requests_are_counted(start: Start) -> None:
    async with meter(multical) as server:
        bench = await start(setup_of("multical_403", "kmp", interval=3600.0), at(server))
        await bench.next(Reading)
        # serial number, 12 values in two requests, type
        assert bench.reader.counters.requests_per_day(bench.clock.monotonic()) == 4
        diagnosis = await bench.next(Diagnosis)
        assert diagnosis.counters["requests_per_day"] == 4
        later = bench.clock.monotonic() + 25 * 3600
        assert bench.reader.counters.requests_per_day(later) == 0
        bench.reader.counters.record_request(later)
        assert len(bench.reader.counters.requests) == 1


@pytest.mark.parametrize(
    ("registers", "requests"),
    [
        ((60, 266, 68, 74, 80, 86, 87, 89), 1),
        ((*range(123, 131), *range(138, 146), 60, 68, 74, 99), 3),
    ],
)
def test_a_poll_on_a_line_of_1200_baud(registers: tuple[int, ...], requests: int) -> None:
    """At most 1.03 × (the answers' time on the wire, 11 bits a byte, and the meter's delay), by
    the line's own time: what else the machine is busy with does not count."""
    delay = 0.3
    answers: list[int] = []

    class Counted:
        """Counts what the meter answers."""

        def __init__(self) -> None:
            self.meter = multical()
            self.serial = self.meter.serial

        def receive_data(self, data: bytes) -> list[Any]:
            replies = self.meter.receive_data(data)  # type: ignore[union-attr]
            answers.extend(len(reply.data) for reply in replies)
            return replies

    spec = registry.all_protocols()["kmp"]

    async def poll() -> None:
        async with meter(Counted, baud=1200, delay=delay) as server:
            link = await open_link(at(server), spec.serial)
            codec = cast(PolledCodec, spec.make_codec())
            exchange = ConversationRunner(
                link, codec.framer(), Counters(), logging.getLogger("test")
            )
            begin = asyncio.get_running_loop().time()
            answer = await exchange.run(codec.poll(PollRequest(sources=registers)))
            took = asyncio.get_running_loop().time() - begin
            await link.close()
        assert {obj.id for obj in answer.objects} == set(registers)
        assert len(answers) == requests
        assert took / (sum(answers) * 11 / 1200 + requests * delay) <= 1.03

    with asyncio.Runner(loop_factory=LineTimeLoop) as runner:
        runner.run(poll())
