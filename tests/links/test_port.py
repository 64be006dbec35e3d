"""A port shared by several meters and reopened after failures."""

from __future__ import annotations

import asyncio
import errno
import random
import termios
from pathlib import Path

import pytest

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links import serial_line
from kamstrup_mqtt.links.address import SerialDevice, TcpBridge
from kamstrup_mqtt.links.port import Port
from tests.support.ptys import FakeDevice, until

KMP = SerialParams(1200, stopbits=2)


class NoJitter(random.Random):
    """Jitter that shortens nothing."""

    def uniform(self, a: float, b: float) -> float:
        assert (a, b) == (0.5, 1.0)
        return b


def port_at(path: Path, **limits: float) -> Port:
    return Port(SerialDevice(str(path)), rng=NoJitter(), **limits)  # type: ignore[arg-type]


async def lease_error(port: Port) -> LinkError:
    with pytest.raises(LinkError) as error:
        async with port.lease(KMP):
            pass
    return error.value


async def test_the_line_stays_open_between_leases(device: FakeDevice) -> None:
    port = port_at(device.path)
    assert not port.is_open
    async with port.lease(KMP) as first:
        pass
    async with port.lease(KMP) as second:
        assert second is first
    assert port.is_open
    await port.close()
    assert not port.is_open


async def test_each_lease_configures_the_line(device: FakeDevice) -> None:
    port = port_at(device.path)
    async with port.lease(KMP) as link:
        assert link.params == KMP
    async with port.lease(SerialParams(300)) as link:
        assert link.params == SerialParams(300)
        await link.set_baudrate(9600)
    async with port.lease(SerialParams(300)) as link:
        assert link.params == SerialParams(300)
    await port.close()


async def test_leases_are_granted_in_order(device: FakeDevice) -> None:
    port = port_at(device.path)
    order: list[int] = []
    deadlines: list[float] = []

    async def use(number: int) -> None:
        async with port.lease(KMP, deadlines.append):
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(use(number))
    assert order == [0, 1, 2, 3, 4]
    assert set(deadlines) == {30.0, 40.0}
    await port.close()


async def test_a_cancelled_request_does_not_block_the_port(device: FakeDevice) -> None:
    port = port_at(device.path)

    async def use() -> None:
        async with port.lease(KMP):
            pass

    async with port.lease(KMP):
        waiting = asyncio.create_task(use())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(5), port.lease(KMP):
        pass
    await port.close()


async def test_the_back_off_doubles_up_to_its_cap_until_a_reading_succeeds(
    tmp_path: Path,
) -> None:
    port = port_at(tmp_path / "none", first_backoff=0.01, backoff_cap=0.04)
    pauses = []
    for _ in range(4):
        error = await lease_error(port)
        assert error.state is LinkState.PORT_MISSING
        pauses.append(port.retry_in())
        again = await lease_error(port)  # not retried before the pause is over
        assert str(again) == str(error)
        await asyncio.sleep(port.retry_in())  # the pause itself is the subject
    assert pauses == pytest.approx([0.01, 0.02, 0.04, 0.04], abs=0.005)
    port.mark_success()
    await lease_error(port)
    assert port.retry_in() == pytest.approx(0.01, abs=0.005)


def test_default_back_off() -> None:
    port = Port(SerialDevice("/dev/none"))
    assert (port._backoff.first, port._backoff.cap, port._open_timeout) == (1.0, 60.0, 10.0)


async def test_a_device_that_is_plugged_in_again_is_reopened(device: FakeDevice) -> None:
    port = port_at(device.path, first_backoff=0.01, backoff_cap=0.01)
    async with port.lease(KMP):
        assert port.gone_since is None
    port.mark_success()
    device.unplug()
    await until(lambda: not port.is_open)
    assert (await lease_error(port)).state is LinkState.PORT_MISSING
    assert port.gone_since is not None
    device.plug()
    await asyncio.sleep(port.retry_in())
    async with port.lease(KMP):
        pass
    assert port.gone_since is None
    await port.close()


async def test_a_line_lost_during_a_lease(device: FakeDevice) -> None:
    port = port_at(device.path)

    async def read() -> None:
        async with port.lease(KMP) as link:
            device.unplug()
            await link.read()

    with pytest.raises(LinkError):
        await read()
    assert port.gone_since is not None
    assert port.retry_in() > 0


async def test_a_line_lost_while_it_is_configured(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise termios.error(errno.EIO, "Input/output error")

    port = port_at(device.path)
    async with port.lease(KMP):
        monkeypatch.setattr(serial_line, "_apply_params", broken)
    with pytest.raises(LinkError):
        async with port.lease(SerialParams(300)):
            pass
    assert port.gone_since is not None


async def test_a_silent_meter_does_not_close_the_port(device: FakeDevice) -> None:
    port = port_at(device.path)
    with pytest.raises(MeterError):
        async with port.lease(KMP):
            raise MeterError(LinkState.NO_BYTES, "nothing")
    assert port.is_open
    assert port.gone_since is None
    await port.close()


async def test_a_bridge_that_is_busy_is_not_hammered() -> None:
    connections = 0

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"Port already in use\r\n")
        writer.close()

    server = await asyncio.start_server(busy, "127.0.0.1", 0)
    address = TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1])
    port = Port(address, first_backoff=60)
    async with port.lease(KMP):
        pass
    await until(lambda: not port.is_open)
    for _ in range(5):
        assert (await lease_error(port)).state is LinkState.BUSY
    assert connections == 1
    server.close()


async def test_a_connection_that_delivered_readings_is_replaced_at_once() -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda r, w: writers.append(w), "127.0.0.1", 0)
    port = Port(TcpBridge("127.0.0.1", server.sockets[0].getsockname()[1]), first_backoff=60)
    async with port.lease(KMP):
        await until(lambda: writers)
    port.mark_success()
    writers[0].close()
    await until(lambda: not port.is_open)
    async with port.lease(KMP):
        await until(lambda: len(writers) == 2)
    await port.close()
    writers[1].close()
    server.close()
    await asyncio.sleep(0)


async def test_an_unstable_name_is_warned_of_once(
    expected_logs: list[str], logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_logs.append("may be another device after the next start")
    port = Port(SerialDevice("/dev/ttyUSB987"), first_backoff=0.0)
    for _ in range(3):
        await lease_error(port)
    assert len(logged(30)) == 1


async def test_leases_with_priority_come_first(device: FakeDevice) -> None:
    port = port_at(device.path)
    order: list[str] = []

    async def poll(name: str, has_priority: bool) -> None:
        async with port.lease(KMP, has_priority=has_priority):
            order.append(name)

    async with port.lease(KMP):
        waiting = [
            asyncio.create_task(poll(name, has_priority))
            for name, has_priority in (("a", False), ("b", True), ("c", False), ("d", True))
        ]
        await asyncio.sleep(0)  # each task requests its lease
        waiting[2].cancel()
        await asyncio.wait({waiting[2]})
    await asyncio.wait(waiting)
    assert order == ["b", "d", "a"]
    async with port.lease(KMP):
        pass
    await port.close()
