"""Links to a tty. Only this module uses pyserial and termios."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import serial
import serial_asyncio

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.core.threads import run_blocking
from kamstrup_mqtt.links import error_messages
from kamstrup_mqtt.links.address import SerialDevice
from kamstrup_mqtt.links.stream import StreamLink

T = TypeVar("T")

IDLE_TIMEOUT = 1.0
CLOSE_TIMEOUT = 2.0

LEAD = 0.02
"""Seconds before the expected last byte at which reading resumes. Adapters deliver every 16 ms."""
MIN_PAUSE = 0.02
"""Seconds; a shorter pause saves nothing."""

_PTY_MAJORS = range(136, 144)  # Linux: Documentation/admin-guide/devices.txt

# termios.error is neither an OSError nor a SerialException, which is an OSError; pyserial raises
# ValueError for a speed that the device does not support
_ERRORS = (OSError, termios.error, ValueError)


async def open_serial(
    device: SerialDevice, params: SerialParams, open_timeout: float, idle_timeout: float | None
) -> SerialLink:
    """Open a tty for exclusive use. Raises LinkError."""
    try:
        async with asyncio.timeout(open_timeout):
            port = await run_blocking(
                partial(_open, device.path, params),
                f"open {device}",
                on_abandoned=lambda late: late.close(),
            )
    except TimeoutError:
        raise LinkError(
            LinkState.PORT_MISSING,
            f"{device}: opening it takes more than {open_timeout:g} s; the device or its driver"
            " hangs: unplug it and plug it in again",
        ) from None
    except _ERRORS as error:
        raise _to_link_error(device.path, error) from error
    link = SerialLink(device, port, params, IDLE_TIMEOUT if idle_timeout is None else idle_timeout)
    try:
        await link.attach()
    except _ERRORS as error:
        await run_blocking(port.close, f"close {device}")
        raise _to_link_error(device.path, error) from error
    return link


class _Serial(serial.Serial):  # type: ignore[misc]  # it has no types
    def read(self, size: int = 1) -> bytes:
        """Return the available bytes by one system call; pyserial needs three."""
        try:  # `suppress` takes longer than the read
            data = os.read(self.fd, size)
        except (OSError, TypeError):  # gone or closed: pyserial raises
            data = b""
        return data or bytes(super().read(size))


def _open(path: str, params: SerialParams) -> serial.Serial:
    port = _Serial()
    port.port = path
    port.exclusive = True
    _apply_params(port, params)
    port.open()
    return port


def _apply_params(port: serial.Serial, params: SerialParams) -> None:
    """Apply the settings, on a closed port when it is opened.

    pyserial sets DTR and RTS right after the open, for heads that are powered by them.
    """
    port.baudrate = params.baudrate
    if not _is_pty(port.port):  # the kernel supports only 8N there
        port.bytesize = params.bytesize
        port.parity = params.parity
    port.stopbits = params.stopbits
    if params.dtr is not None:
        port.dtr = params.dtr
    if params.rts is not None:
        port.rts = params.rts


def _is_pty(path: str) -> bool:
    try:
        return os.major(os.stat(path).st_rdev) in _PTY_MAJORS
    except OSError:
        return False


def _to_link_error(path: str, error: Exception) -> LinkError:
    # pyserial wraps a termios.error in a SerialException without errno
    cause = error.__context__ if isinstance(error.__context__, termios.error) else error
    code = getattr(cause, "errno", None)
    if code is None and cause.args and isinstance(cause.args[0], int):
        code = cause.args[0]
    return error_messages.serial_error(path, code, str(error))


class SerialLink(StreamLink):
    """An open tty.

    A list of 228 bytes arrives in 57 pieces. While the rest of an expected message cannot have
    arrived at the speed of the line, its bytes stay in the kernel's buffer (4096 bytes) and nothing
    wakes up. The pause ends before the last byte can arrive, and after half the idle timeout at the
    latest, so that the loss of the device is detected.
    """

    def __init__(
        self, device: SerialDevice, port: serial.Serial, params: SerialParams, idle_timeout: float
    ) -> None:
        super().__init__(params, idle_timeout)
        self._device = device
        self._port = port
        self._transport: serial_asyncio.SerialTransport | None = None
        self._is_connected = asyncio.Event()
        self._pause_timer: asyncio.TimerHandle | None = None

    async def attach(self) -> None:
        """Start reading the port by asyncio."""
        self._transport, _ = await serial_asyncio.connection_for_serial(
            self._loop, lambda: self, self._port
        )
        await self._is_connected.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._is_connected.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the link as lost after a failed read; the transport has closed the port."""
        self._transport = None
        self._resume_reading()
        self.mark_lost(self._gone_error())

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and self._pause_timer is None and not self._is_paused:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._pause_until_expected()

    def expect_bytes(self, count: int) -> None:
        super().expect_bytes(count)
        self._pause_until_expected()

    def _pause_until_expected(self) -> None:
        """Pause reading while the expected bytes cannot have arrived."""
        if self._tap is not None:  # a recording needs the time of arrival
            return
        missing = self._expected - len(self._unread)
        if missing <= 0:
            return
        seconds = min(self.wire_time(missing) - LEAD, self.idle_timeout / 2)
        if seconds < MIN_PAUSE or self._pause_timer is not None or self._transport is None:
            return
        if self._bytes_in_driver():  # faster than the line, as from an emulated meter
            return
        self._pause()
        self._pause_timer = self._loop.call_later(seconds, self._resume_reading)

    def _bytes_in_driver(self) -> int:
        try:
            return int(self._port.in_waiting)
        except _ERRORS:  # gone; the transport detects it
            return 1

    def _resume_reading(self) -> None:
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
            self._resume()

    def _take_unread(self) -> bytes:
        self._resume_reading()
        return super()._take_unread()

    def _gone_error(self) -> LinkError:
        if not os.path.exists(self._device.path):
            return error_messages.port_missing(self._device.path)
        return LinkError(
            LinkState.PORT_MISSING, f"{self._device}: the device is gone (unplugged or reset)"
        )

    async def write(self, data: bytes) -> None:
        self.raise_if_lost()
        try:
            # The transport may split the bytes and reports a loss to the loop's exception handler;
            # Serial.write busy-waits on a full buffer
            count = os.write(self._port.fileno(), data)
        except BlockingIOError:
            count = 0
        except (OSError, TypeError) as error:  # TypeError: a closed port has no descriptor
            self.mark_lost(self._gone_error())
            raise self._gone_error() from error
        self._record_sent(data[:count])
        if count < len(data):
            self.mark_lost(
                LinkError(
                    LinkState.NO_BYTES,
                    f"{self._device}: the port does not send; the device or"
                    " its driver hangs: unplug it and plug it in again",
                )
            )
            self.raise_if_lost()

    async def drain(self) -> None:
        self.raise_if_lost()
        await self._blocking(partial(termios.tcdrain, self._port.fileno()), "drain")
        # some USB adapters report drained as soon as they have the bytes
        await self._wait_until_sent()

    async def set_baudrate(self, baudrate: int) -> None:
        await self.drain()

        def change() -> None:
            self._port.baudrate = baudrate

        await self._blocking(change, "set speed of")
        self._set_baudrate_param(baudrate)

    async def configure(self, params: SerialParams) -> None:
        self.raise_if_lost()
        await self._blocking(partial(_apply_params, self._port, params), "set")
        self._set_params(params)

    async def _blocking(self, call: Callable[[], T], what: str) -> T:
        try:
            async with asyncio.timeout(10 + self.wire_time(256)):
                return await run_blocking(call, f"{what} {self._device}")
        except (*_ERRORS, TypeError) as error:  # TypeError: closed meanwhile
            self.mark_lost(_to_link_error(self._device.path, cast(Exception, error)))
            self.raise_if_lost()
            raise

    async def close(self) -> None:
        self.mark_lost(LinkError(LinkState.PORT_MISSING, f"{self._device} was closed"), by_us=True)
        self._resume_reading()
        transport, self._transport = self._transport, None
        if transport is None or not self._port.is_open:
            return
        # transport.close() would drain and close in the thread of the loop
        transport.pause_reading()
        with contextlib.suppress(TimeoutError, *_ERRORS):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await run_blocking(self._close_port, f"close {self._device}")

    def _close_port(self) -> None:
        with contextlib.suppress(*_ERRORS):
            self._port.reset_output_buffer()  # otherwise close() waits until all bytes are sent
        self._port.close()
