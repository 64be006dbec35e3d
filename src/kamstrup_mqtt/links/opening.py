"""Opens the link that an address names."""

from __future__ import annotations

from kamstrup_mqtt.address import PortAddress
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.model import SerialParams


async def open_link(
    address: PortAddress,
    params: SerialParams,
    *,
    open_timeout: float = 10.0,
    silence: float | None = None,
) -> Link:
    """The open line. Raises LinkError with what to do about it.

    `silence` None: 1 s on a tty, 2.5 s on TCP.
    """
    raise NotImplementedError
