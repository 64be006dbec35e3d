"""Opens the link to an address."""

from __future__ import annotations

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress, RecordedLine, SerialDevice
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.serial_line import open_serial
from kamstrup_mqtt.links.tcp import open_tcp

OPEN_TIMEOUT = 10.0
"""Seconds."""


async def open_link(
    address: PortAddress,
    params: SerialParams,
    *,
    open_timeout: float = OPEN_TIMEOUT,
    idle_timeout: float | None = None,
) -> Link:
    """Open the line. `idle_timeout` defaults to 1 s on a tty and 2.5 s on TCP.

    Raises LinkError with a message that says what to do.
    """
    if isinstance(address, RecordedLine):
        raise TypeError(f"{address} is opened by the player of the recording")
    if isinstance(address, SerialDevice):
        return await open_serial(address, params, open_timeout, idle_timeout)
    return await open_tcp(address, params, open_timeout, idle_timeout)
