"""An emulated meter in this process, on a pty or on a TCP port."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from kamstrup_mqtt.emulators.base import Emulator
from kamstrup_mqtt.emulators.faults import with_faults
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.emulators.server import serve_pty, serve_tcp
from kamstrup_mqtt.links.address import PortAddress, SerialDevice, TcpBridge


def _make(
    model: str, protocol: str | None, settings: Mapping[str, str], faults: tuple[str, ...]
) -> Emulator:
    return with_faults(make_emulator(model, protocol, settings), faults)


@contextlib.asynccontextmanager
async def emulated_meter(
    model: str,
    protocol: str | None = None,
    *,
    pty: Path | None = None,
    faults: tuple[str, ...] = (),
    echo: bool = False,
    interval: float | None = None,
    **settings: str,
) -> AsyncIterator[PortAddress]:
    """The address of the meter: under the path `pty`, or a free TCP port."""
    make = functools.partial(_make, model, protocol, settings, faults)
    if pty is not None:
        server = await serve_pty(make, str(pty), echo=echo, interval=interval)
        address: PortAddress = SerialDevice(str(pty))
    else:
        server = await serve_tcp(make, "127.0.0.1", 0, echo=echo, interval=interval)
        address = TcpBridge("127.0.0.1", server.port)
    try:
        yield address
    finally:
        await server.close()
