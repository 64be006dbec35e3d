"""Serial links on real ptys."""

from __future__ import annotations

import asyncio
import os
import stat
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links import error_messages, serial_line
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link
from kamstrup_mqtt.links.serial_line import SerialLink
from tests.support.ptys import FakeDevice, until

KMP = SerialParams(1200, stopbits=2)


async def open_device(device: FakeDevice, params: SerialParams = KMP):
    return await open_link(SerialDevice(str(device.path)), params)


async def test_defaults(device: FakeDevice) -> None:
    link = await open_device(device)
    assert (OPEN_TIMEOUT, link.idle_timeout, link.params) == (10.0, 1.0, KMP)
    await link.close()


async def test_bytes_are_passed_in_both_directions(device: FakeDevice) -> None:
    link = await open_device(device)
    await link.write(bytes(range(256)))
    assert await device.receive(256) == bytes(range(256))
    device.send(b"\x40\x3f")
    assert await link.read() == b"\x40\x3f"
    await link.close()


async def test_the_line_is_configured(device: FakeDevice) -> None:
    link = await open_device(device)
    speed = termios.tcgetattr(device.program_end)
    assert speed[4] == speed[5] == termios.B1200
    assert speed[2] & termios.CSTOPB
    await link.configure(SerialParams(2400))
    assert termios.tcgetattr(device.program_end)[5] == termios.B2400
    assert not termios.tcgetattr(device.program_end)[2] & termios.CSTOPB
    await link.close()


async def test_a_pty_ignores_the_parity(device: FakeDevice) -> None:
    ascii_line = SerialParams(1200, parity="E", stopbits=2)
    for params in (ascii_line, SerialParams(300, 7, "E")):
        link = await open_device(device, params)
        assert link.params == params
        await link.write(b"@")
        assert await device.receive(1) == b"@"
        await link.configure(ascii_line)
        await link.close()


async def test_a_line_that_cannot_be_configured(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the error of glibc if the driver rejects the parity
    monkeypatch.setattr(serial_line, "_is_pty", lambda path: False)
    for _ in range(2):
        with pytest.raises(LinkError, match="refuses the line's settings"):
            await open_device(device, SerialParams(1200, parity="E", stopbits=2))
    await (await open_device(device)).close()


async def test_the_speed_is_changed_after_the_bytes_have_left(device: FakeDevice) -> None:
    link = await open_device(device, SerialParams(1200))
    loop = asyncio.get_running_loop()
    start = loop.time()
    await link.write(b"x" * 12)
    await link.set_baudrate(9600)
    assert loop.time() - start >= 0.1  # 12 characters of 10 bits at 1200 baud
    assert termios.tcgetattr(device.program_end)[5] == termios.B9600
    assert link.params == SerialParams(9600)
    await link.close()


@pytest.mark.parametrize(
    ("params", "seconds"),
    [
        (SerialParams(1200, stopbits=2), 12 * 11 / 1200),
        (SerialParams(1200, parity="E", stopbits=2), 12 * 12 / 1200),
        (SerialParams(300, 7, "E"), 12 * 10 / 300),
    ],
)
async def test_time_on_the_wire(device: FakeDevice, params: SerialParams, seconds: float) -> None:
    link = await open_device(device)
    link.params = params
    assert link.wire_time(12) == pytest.approx(seconds)
    await link.close()


async def test_unread_input_is_discarded(device: FakeDevice) -> None:
    link = await open_device(device)
    device.send(b"old")
    await until(lambda: link._unread)  # type: ignore[attr-defined]
    assert link.discard_input() == b"old"
    assert link.discard_input() == b""
    await link.close()


async def test_a_cancelled_read_loses_no_bytes(device: FakeDevice) -> None:
    link = await open_device(device)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(link.read(), 0.01)
    device.send(b"kept")
    assert await link.read() == b"kept"
    await link.close()


async def test_unread_bytes_are_bounded(device: FakeDevice) -> None:
    link = await open_device(device)
    for _ in range(100):
        link.data_received(b"x" * 1000)  # type: ignore[attr-defined]
    link.data_received(b"end")  # type: ignore[attr-defined]
    kept = link.discard_input()
    assert len(kept) == 65536
    assert kept.endswith(b"xend")
    await link.close()


async def test_a_device_unplugged_during_a_read(device: FakeDevice) -> None:
    link = await open_device(device)
    reading = asyncio.create_task(link.read())
    await asyncio.sleep(0)
    device.unplug()
    with pytest.raises(LinkError, match="does not exist") as error:
        await asyncio.wait_for(reading, 5)
    assert error.value.state is LinkState.PORT_MISSING
    for call in (lambda: link.write(b"x"), link.drain, lambda: link.set_baudrate(300)):
        with pytest.raises(LinkError):
            await call()
    with pytest.raises(LinkError):
        link.discard_input()
    with pytest.raises(LinkError):
        await link.configure(SerialParams(300))
    await link.close()


async def test_a_lost_device_whose_name_remains(device: FakeDevice, tmp_path: Path) -> None:
    link = await open_device(device)
    target = tmp_path / "file"
    target.touch()
    device.unplug()
    device.path.symlink_to(target)
    with pytest.raises(LinkError, match="the device is gone"):
        await asyncio.wait_for(link.read(), 5)
    await link.close()


async def test_a_port_that_does_not_send_is_lost(device: FakeDevice) -> None:
    link = await open_device(device)

    async def write_on() -> None:
        for _ in range(100):
            await link.write(bytes(4096))

    with pytest.raises(LinkError, match="the port does not send") as error:
        await write_on()
    assert error.value.state is LinkState.NO_BYTES
    await asyncio.wait_for(link.close(), 5)


async def test_a_missing_device() -> None:
    with pytest.raises(LinkError, match="/dev/ttyNone does not exist: is the adapter plugged in"):
        await open_link(SerialDevice("/dev/ttyNone"), KMP)


async def test_a_missing_device_lists_those_present(tmp_path: Path) -> None:
    (tmp_path / "usb-head-if00").touch()
    assert f"present: {tmp_path}/usb-head-if00" in str(
        error_messages.port_missing("/dev/x", tmp_path)
    )
    assert "is empty" in str(error_messages.port_missing("/dev/x", tmp_path / "none"))


async def test_a_path_that_is_no_tty(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(LinkError, match="is not a serial port") as error:
        await open_link(SerialDevice(str(path)), KMP)
    assert error.value.state is LinkState.REFUSED


async def test_a_busy_port_names_the_other_program(device: FakeDevice) -> None:
    first = await open_device(device)
    with pytest.raises(LinkError, match="another program uses the port") as error:
        await open_device(device)
    assert error.value.state is LinkState.BUSY
    await first.close()
    again = await open_device(device)
    await again.close()


def test_processes_that_hold_a_device_are_found(device: FakeDevice, tmp_path: Path) -> None:
    process = tmp_path / "proc" / "4711"
    (process / "fd").mkdir(parents=True)
    (process / "fd" / "0").symlink_to("/dev/null")
    (process / "fd" / "3").symlink_to(os.path.realpath(device.path))
    (process / "comm").write_text("minicom\n")
    (tmp_path / "proc" / "4712").mkdir()
    assert error_messages.processes_using(str(device.path), tmp_path / "proc") == [
        "minicom (pid 4711)"
    ]


def test_permission_denied(device: FakeDevice) -> None:
    error = error_messages.serial_error(str(device.path), 13, "denied")
    assert error.state is LinkState.REFUSED
    for part in ("permission denied", "usermod -aG", "SupplementaryGroups=", "group_add"):
        assert part in str(error)
    assert "group unknown" in str(error_messages.serial_error("/dev/none", 13, ""))


def test_other_errors() -> None:
    assert "I/O error" in str(error_messages.serial_error("/dev/x", 5, ""))
    assert "cannot be opened: odd" in str(error_messages.serial_error("/dev/x", None, "odd"))


async def test_an_open_that_hangs_times_out(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, closed = threading.Event(), threading.Event()

    class Late:
        def close(self) -> None:
            closed.set()

    def hang(path: str, params: SerialParams) -> Late:
        gate.wait(10)
        return Late()

    monkeypatch.setattr(serial_line, "_open", hang)
    with pytest.raises(LinkError, match=r"takes more than 0\.05 s"):
        await open_link(SerialDevice(str(device.path)), KMP, open_timeout=0.05)
    gate.set()
    await until(closed.is_set)  # the late port is closed


async def test_dtr_and_rts_are_set_during_the_open(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[tuple[bool, bool, bool]] = []
    monkeypatch.setattr(
        serial_line.serial.Serial,
        "_update_dtr_state",
        lambda port: states.append((port.is_open, port.dtr, port.rts)),
    )
    link = await open_device(device, SerialParams(300, dtr=False, rts=True))
    assert states == [(False, False, True)]  # during open(), before is_open is set
    await link.close()


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/dev/ttyUSB0", "write its name in /dev/serial/by-id"),
        ("/dev/ttyACM12", "may be another device after the next start"),
    ],
)
def test_unstable_names_are_warned_of(path: str, part: str) -> None:
    assert part in (error_messages.unstable_name_warning(SerialDevice(path)) or "")


def test_the_warning_names_the_stable_name(tmp_path: Path) -> None:
    link = tmp_path / "usb-FTDI-if00"
    link.symlink_to("/dev/ttyUSB0")
    assert f"write {link} instead" in (
        error_messages.unstable_name_warning(SerialDevice("/dev/ttyUSB0"), tmp_path) or ""
    )


@pytest.mark.parametrize("path", ["/dev/serial/by-id/usb-x", "/dev/ttyAMA0", "/dev/ttyS0"])
def test_stable_names_are_not_warned_of(path: str) -> None:
    assert error_messages.unstable_name_warning(SerialDevice(path)) is None


def test_ptys_are_detected(device: FakeDevice) -> None:
    assert stat.S_ISCHR(os.stat(device.path).st_mode)


class Time:
    """The loop, except that the test runs the calls of `call_later`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.due.append((delay, call))
        return self._loop.call_later(3600, call)


async def test_reading_pauses_until_a_frame_can_be_complete(device: FakeDevice) -> None:
    """228 bytes at 2400 baud 8N1 take 0.95 s; the first 8 contain the length."""
    link = await open_device(device, SerialParams(2400))
    assert isinstance(link, SerialLink)
    link._loop = time = Time()  # type: ignore[assignment]
    device.send(bytes(8))
    assert await link.read() == bytes(8)
    link.expect_bytes(72)
    # 72 bytes of 10 bits: 0.3 s; reading resumes 0.02 s earlier, the latency of slow adapters
    assert [delay for delay, _ in time.due] == [pytest.approx(0.28)]
    device.send(bytes(40))
    reading = asyncio.create_task(link.read())
    for _ in range(5):
        await asyncio.sleep(0)
    assert link.last_byte < time.time()
    assert not link._unread  # still in the kernel's buffer
    time.due.pop()[1]()
    await until(lambda: len(link._unread) == 40)
    # 32 are missing: paused again, for their time on the wire
    assert [delay for delay, _ in time.due] == [pytest.approx(32 * 10 / 2400 - 0.02)]
    assert not reading.done()
    time.due.pop()[1]()
    device.send(bytes(32))
    assert await asyncio.wait_for(reading, 5) == bytes(72)
    await link.close()


async def test_reading_does_not_pause_if_bytes_are_waiting(device: FakeDevice) -> None:
    """An emulated meter is faster than the line."""
    link = await open_device(device, SerialParams(2400))
    assert isinstance(link, SerialLink)
    link._loop = time = Time()  # type: ignore[assignment]
    transport = link._transport
    assert transport is not None
    transport.pause_reading()
    device.send(bytes(200))
    await until(lambda: link._port.in_waiting == 200)
    link.expect_bytes(200)
    assert time.due == []
    transport.resume_reading()
    assert await asyncio.wait_for(link.read(), 5) == bytes(200)
    await link.close()


async def test_reading_does_not_pause_for_a_few_bytes(device: FakeDevice) -> None:
    link = await open_device(device, SerialParams(2400))
    assert isinstance(link, SerialLink)
    link._loop = time = Time()  # type: ignore[assignment]
    link.expect_bytes(9)  # 37 ms minus LEAD
    assert time.due == []
    await link.close()


async def test_a_pause_is_shorter_than_the_idle_timeout(device: FakeDevice) -> None:
    link = await open_device(device, SerialParams(300))
    assert isinstance(link, SerialLink)
    link._loop = time = Time()  # type: ignore[assignment]
    link.expect_bytes(2049)  # over a minute
    assert [delay for delay, _ in time.due] == [link.idle_timeout / 2]
    await link.close()


async def test_discarding_the_input_ends_a_pause(device: FakeDevice) -> None:
    """A reader that drops a frame wants its bytes."""
    link = await open_device(device, SerialParams(2400))
    assert isinstance(link, SerialLink)
    device.send(b"abc")
    await until(lambda: len(link._unread) == 3)
    link.expect_bytes(2000)
    assert link.discard_input() == b"abc"
    device.send(b"def")
    assert await asyncio.wait_for(link.read(), 5) == b"def"  # not paused, any byte is enough
    await link.close()


async def test_a_device_unplugged_during_a_pause(device: FakeDevice) -> None:
    link = await open_device(device, SerialParams(2400))
    link.expect_bytes(2000)
    device.unplug()
    with pytest.raises(LinkError, match="does not exist"):
        await asyncio.wait_for(link.read(), 5)
    await link.close()


async def test_a_link_closed_during_a_pause(device: FakeDevice) -> None:
    link = await open_device(device, SerialParams(2400))
    link.expect_bytes(2000)
    await link.close()
    with pytest.raises(LinkError, match="was closed"):
        await link.read()


async def test_continuous_reading_loses_no_bytes(device: FakeDevice) -> None:
    link = await open_device(device, SerialParams(2400))
    assert isinstance(link, SerialLink)
    link.start_continuous()
    for _ in range(66):
        link.data_received(b"x" * 1000)
    assert link._is_paused
    device.send(b"waits outside")
    assert await link.read() == b"x" * 66_000
    assert await asyncio.wait_for(link.read(), 5) == b"waits outside"
    await link.close()


async def test_read_within_a_time(device: FakeDevice) -> None:
    link = await open_device(device)
    assert await link.read_within(0.01) == b""
    device.send(b"x")
    assert await link.read_within(5) == b"x"
    device.unplug()
    with pytest.raises(LinkError):
        await link.read_within(5)
    with pytest.raises(LinkError):
        await link.read_within(5)
    await link.close()
