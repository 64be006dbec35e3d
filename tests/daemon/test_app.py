"""The daemon as a process: signals, reload, systemd, errors, and the end within 5 s."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.cli.control_client import send_request
from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.daemon.app import App, DaemonTimeouts, ExitReason
from kamstrup_mqtt.daemon.control_socket import ControlError
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_tcp
from tests.support.broker import Mosquitto, eventually, free_port, running, watching
from tests.support.daemon import Daemon, Meter, daemon, emulated

ROOT = "kamstrup/main"
HEAT = Meter(id="heat", protocol="kmp", model="multical_403", options={"interval": "60s"})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as mosquitto:
        yield mosquitto


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager that receives notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


@pytest.fixture
async def heat(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    async with emulated(HEAT, tmp_path) as entry:
        yield entry


@pytest.fixture
async def process(tmp_path: Path, manager: socket.socket) -> AsyncIterator[Daemon]:
    async with daemon(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as found:
        yield found


class Notifications:
    """The notifications that the service manager received, in order."""

    def __init__(self, manager: socket.socket) -> None:
        self.lines: list[str] = []
        self._manager = manager

    def has(self, line: str) -> bool:
        try:
            while True:
                self.lines += self._manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return line in self.lines

    async def until(self, line: str) -> None:
        await eventually(lambda: self.has(line), f"{line} sent to the service manager")


def mqtt(port: int) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port}


def missing_meter() -> dict[str, Any]:
    return {
        "name": "Nowhere",
        "protocol": "kmp-ascii",
        "port": f"tcp://127.0.0.1:{free_port()}",
    }


def test_the_defaults() -> None:
    assert (DaemonTimeouts().stop, DaemonTimeouts().status, DaemonTimeouts().clock) == (
        5.0,
        5.0,
        5.0,
    )
    assert DaemonTimeouts().detection_grace == 60.0


async def test_notifications_to_systemd(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto, manager: socket.socket
) -> None:
    notifications = Notifications(manager)
    process.configure(mqtt(broker.port), heat, missing_meter())
    await process.start()
    await notifications.until("READY=1")
    await notifications.until("WATCHDOG=1")
    await notifications.until("STATUS=1 of 2 meters online, broker connected")
    assert await process.end() == 0
    await notifications.until("STOPPING=1")


async def test_ready_does_not_wait_for_ports_or_the_broker(
    process: Daemon, manager: socket.socket
) -> None:
    notifications = Notifications(manager)
    process.configure(mqtt(free_port()), missing_meter())
    await process.start()
    await notifications.until("READY=1")
    code, output = await process.command("health")
    assert code == 0, "the daemon is healthy without a broker"
    assert "healthy; 0 of 1 meters online, broker away" in output
    assert await process.end(signal.SIGINT) == 130


async def test_it_ends_in_time_if_the_broker_is_frozen(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto
) -> None:
    process.configure(mqtt(broker.port), heat)
    await process.start()
    async with watching(broker.port) as watcher:
        await watcher.until(f"{ROOT}/bridge/status", "online")
    broker.pause()
    start = time.monotonic()
    assert await process.end() == 0
    assert time.monotonic() - start < 5.0
    broker.resume()


async def test_an_invalid_configuration_is_rejected(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto
) -> None:
    process.configure(mqtt(broker.port), heat)
    await process.start()
    async with watching(broker.port) as watcher:
        await watcher.until(f"{ROOT}/heat/state/values")
        process.configure({"host": "", "port": 99999, "colour": "red"}, heat)
        assert process.process is not None
        process.process.send_signal(signal.SIGHUP)
        await eventually(lambda: "is rejected" in process.log, "rejected")
        assert "config.yaml:1:" in process.log
        assert "colour" in process.log
        assert "99999" in process.log or "port" in process.log
        assert await process.end() == 0


async def test_a_valid_configuration_is_loaded_without_going_offline(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto, manager: socket.socket
) -> None:
    notifications = Notifications(manager)
    process.configure(mqtt(broker.port), heat)
    await process.start()
    async with watching(broker.port) as watcher:
        await watcher.until(f"{ROOT}/bridge/status", "online")
        await watcher.until(f"{ROOT}/heat/state/values")
        pid = process.pid
        watcher.seen.clear()
        process.configure(mqtt(broker.port), heat, missing_meter())
        assert process.process is not None
        process.process.send_signal(signal.SIGHUP)
        await watcher.until(f"{ROOT}/nowhere/status", "offline")
        await watcher.until(f"{ROOT}/bridge/status", "online")
        await notifications.until("RELOADING=1")
        await eventually(
            lambda: notifications.has("READY=1") and notifications.lines.count("READY=1") == 2,
            "ready again",
        )
        assert process.pid == pid
        assert (f"{ROOT}/bridge/status", "offline") not in watcher.seen
        assert await process.end() == 0


async def test_a_second_daemon_with_the_same_state_file(process: Daemon, broker: Mosquitto) -> None:
    process.configure(mqtt(broker.port), missing_meter())
    await process.start()
    await eventually(lambda: ": 1 meter\n" in process.log, "started")
    code, output = await process.command("run", "-c", str(process.config))
    assert code == 2
    assert str(process.pid) in output
    assert "Traceback" not in output
    code, output = await process.command("health")
    assert code == 0, "the control socket of the first remains"


async def test_read_by_the_control_socket(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto
) -> None:
    process.configure(mqtt(broker.port), heat)
    await process.start()
    async with watching(broker.port) as watcher:
        first = await watcher.until(f"{ROOT}/heat/state/values")
        address = str(process.directory / "control.sock")
        with pytest.raises(ControlError, match="no meter attic; there are heat"):
            await asyncio.to_thread(send_request, address, "read", meter="attic")
        assert await asyncio.to_thread(send_request, address, "read", meter="heat") == {"ok": True}
        with pytest.raises(ControlError, match="heat: "):
            await asyncio.to_thread(send_request, address, "read", meter="heat")
        assert '"heat_energy"' in first


async def test_accept_on_the_command_line(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto
) -> None:
    process.configure(mqtt(broker.port), heat)
    await process.start()
    async with watching(broker.port) as watcher:
        await watcher.until(f"{ROOT}/heat/state/values")
        assert await process.command("accept", "heat") == (1, "heat: no total is held back\n")
        code, output = await process.command("accept", "attic")
        assert (code, output) == (1, "kamstrup-mqtt: no meter attic; there are heat\n")


async def test_a_total_that_fell_is_accepted_on_the_command_line(
    tmp_path: Path, process: Daemon, broker: Mosquitto
) -> None:
    def heat(energy: str) -> Meter:
        settings = {"heat_energy": energy, "266": ""}  # one energy register
        return replace(HEAT, options={"interval": "1h"}, settings=settings)

    async with emulated(heat("50.000"), tmp_path) as entry:
        process.configure(mqtt(broker.port), entry)
        await process.start()
        async with watching(broker.port) as watcher:
            assert '"heat_energy": 50.000' in await watcher.until(f"{ROOT}/heat/state/values")
            assert await process.end() == 0
    async with emulated(heat("7.000"), tmp_path) as entry:
        process.configure(mqtt(broker.port), {**entry, "interval": "1s"})
        await process.start()
        async with watching(broker.port) as watcher:
            await watcher.until(f"{ROOT}/bridge/status", "online")
            await eventually(
                lambda: (
                    '"heat_energy": null' in watcher.last[f"{ROOT}/heat/state/values"]
                    or '"heat_energy": 7.000' in watcher.last[f"{ROOT}/heat/state/values"]
                ),
                "held back",
                80,
            )
            code, output = await process.command("accept", "heat")
            assert (code, output) in (
                (0, "heat: accepted heat_energy\n"),
                (1, "heat: no total is held back\n"),  # two readings agreed before
            )
            await eventually(
                lambda: '"heat_energy": 7.000' in watcher.last[f"{ROOT}/heat/state/values"],
                "accepted",
            )
            assert "heat_energy is held back: 7.000 GJ is less than the last" in process.log


async def test_health_without_a_daemon(process: Daemon) -> None:
    code, output = await process.command("health")
    assert code == 1
    assert "no daemon answers at" in output


async def test_run_with_an_invalid_configuration_exits_2(process: Daemon) -> None:
    process.config.write_text("meters: []\n")
    code, output = await process.command("run", "-c", str(process.config))
    assert code == 2
    assert "config.yaml:1:" in output


async def test_a_programming_error_ends_the_process_with_a_traceback(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto
) -> None:
    process.configure(mqtt(broker.port), heat)
    (process.directory / "sitecustomize.py").write_text(
        "from kamstrup_mqtt.mqtt import publish_queue\n"
        "def fail(self): raise ZeroDivisionError('a bug')\n"
        "publish_queue.PublishQueue.tick = fail\n"
    )
    process.environment = {**process.environment, "PYTHONPATH": str(process.directory)}
    code, output = await process.command("run", "-c", str(process.config))
    assert code == 1
    assert "ZeroDivisionError: a bug" in output


@pytest.mark.parametrize("right", [True, False])
async def test_a_clock_that_is_set_corrects_unpublished_readings(
    tmp_path: Path,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
    right: bool,
) -> None:
    """The broker is away, and the host's clock is set to the right or to a wrong time."""
    expected_logs += ["the host's clock was set by", "127.0.0.1"]
    server = await serve_tcp(
        lambda: make_emulator("kamstrup_han_3phase", "han", {}), "127.0.0.1", 0, interval=0.05
    )
    meter = {"name": "Main", "protocol": "han", "port": f"tcp://127.0.0.1:{server.port}"}
    config = Config.model_validate({"mqtt": mqtt(free_port()), "meters": [meter]})
    ahead = -7200.0
    clock = Clock(lambda: time.time() + ahead)
    directories = dict.fromkeys(("STATE_DIRECTORY", "RUNTIME_DIRECTORY"), str(tmp_path))
    app = App(
        config,
        reload=lambda: config,
        environ=directories,
        clock=clock,
        timeouts=DaemonTimeouts(clock=0.01),
        exit_timer=lambda _: None,
    )
    running = asyncio.create_task(app.run())
    try:
        await eventually(lambda: running.done() or bool(last_readings(app)), "a reading")
        await server.close()
        ahead = 0.0 if right else -1e9
        await eventually(
            lambda: any("was set by" in m for m in logged(logging.WARNING)), "the step is logged"
        )
        reading = last_readings(app)[0]
        wrong_by = abs(time.time() - reading.timestamp())
        assert wrong_by < 60 if right else wrong_by > 3600
    finally:
        await server.close()
        app.request_exit(ExitReason.STOPPED)
        await running


def last_readings(app: App) -> list[datetime]:
    """The times of the meters' last readings."""
    if app._components is None:  # it is not built yet
        return []
    found = app.components.devices.values()
    return [device.last_reading for device in found if device.last_reading is not None]


async def test_a_detected_model_is_read_after_a_restart(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto, manager: socket.socket
) -> None:
    notifications = Notifications(manager)
    process.configure(mqtt(broker.port), {**heat, "model": "auto"})
    await process.start()
    async with watching(broker.port) as watcher:
        text = await watcher.until("homeassistant/device/kamstrup_main_heat/config")
        assert '"model":"MULTICAL 403"' in text.replace(": ", ":")
        assert "heat_energy_precise" in await watcher.until(f"{ROOT}/heat/state/values")
        await eventually(lambda: notifications.has("RELOADING=1"), "restarted")
        assert await process.end() == 0
    assert "the meter is a multical_403" in process.log


async def test_a_detected_model_does_not_interrupt_a_poll(
    process: Daemon, heat: dict[str, Any], broker: Mosquitto
) -> None:
    """An interrupted poll counts: the next poll of a battery meter would be an hour later."""
    make = functools.partial(make_emulator, "multical_601", "kmp")
    server = await serve_tcp(make, "127.0.0.1", 0, delay=0.4)
    slow = {**heat, "name": "slow", "id": "slow", "port": f"tcp://127.0.0.1:{server.port}"}
    meters = ({**entry, "model": "auto", "interval": "1h"} for entry in (heat, slow))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        process.configure(mqtt(broker.port), *meters)
        await process.start()
        async with watching(broker.port) as watcher:
            await watcher.until(f"{ROOT}/heat/state/values")
            await watcher.until(f"{ROOT}/slow/state/values")
        assert await process.end() == 0
    assert "the meter is a multical_601" in process.log


async def test_an_exception_of_a_command_ends_the_daemon(
    tmp_path: Path, heat: dict[str, Any], monkeypatch: pytest.MonkeyPatch, expected_logs: list[str]
) -> None:
    """A programming error outside of the readers ends the process; asyncio would only log it."""
    expected_logs.append("connection refused")

    def broken(*_: object) -> None:
        raise ZeroDivisionError("our fault")

    config = Config.model_validate({"mqtt": mqtt(free_port()), "meters": [heat]})
    directories = dict.fromkeys(("STATE_DIRECTORY", "RUNTIME_DIRECTORY"), str(tmp_path))
    monkeypatch.setattr("kamstrup_mqtt.daemon.control_commands.ControlCommands._health", broken)
    running = asyncio.create_task(App(config, environ=directories, exit_timer=lambda _: None).run())
    address = str(tmp_path / "control.sock")
    await eventually(lambda: running.done() or Path(address).exists(), "the control socket")
    with pytest.raises(ControlError, match="internal error"):
        await asyncio.to_thread(send_request, address, "health")
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(running, 10)
    assert ended.group_contains(ZeroDivisionError, match="our fault")
