"""Addresses of ports: a serial device of this host, a TCP bridge, or a recording."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SerialDevice:
    """A tty, preferably by its stable name in /dev/serial/by-id/."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class TcpBridge:
    """A serial port behind a raw TCP bridge such as ser2net."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RecordedLine:
    """The recording of one meter, for `replay`; not possible in a configuration."""

    meter: str

    def __str__(self) -> str:
        return f"the recording of {self.meter}"


PortAddress: TypeAlias = SerialDevice | TcpBridge | RecordedLine

_TCP = re.compile(r"(?:tcp|socket)://(?:\[([0-9A-Fa-f:.%]+)\]|([^:/\[\]]+)):(\d+)/?\Z")


def parse_address(text: str) -> PortAddress:
    """Parse the address of a port: /dev/..., tcp://host:port or socket://host:port.

    Raises ValueError with a message that says what to write instead.
    """
    text = text.strip()
    scheme, separator, _ = text.partition("://")
    if not separator:
        if not text.startswith("/"):
            raise ValueError(
                f"{text!r} is not a port: give a device path such as"
                " /dev/serial/by-id/usb-..., or tcp://host:port"
            )
        return SerialDevice(text)
    if scheme.lower() == "rfc2217":
        raise ValueError(
            "rfc2217:// is not supported: set the line's speed and parity in the bridge (ser2net:"
            " 'accepter: tcp,2002' and 'connector: serialdev,/dev/ttyUSB0,1200n82,local') and"
            " write tcp://host:2002"
        )
    match = _TCP.match(scheme.lower() + "://" + text.partition("://")[2])
    if match is None:
        raise ValueError(f"{text!r} is not a port: write tcp://host:port")
    port = int(match[3])
    if not 0 < port < 65536:
        raise ValueError(f"{text!r}: the TCP port must be 1 to 65535")
    return TcpBridge(match[1] or match[2], port)
