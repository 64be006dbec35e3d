"""Puts an emulated meter on a TCP port or on a pty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kamstrup_mqtt.emulators.base import Emulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the line behaves. `echo`: what was received comes back first. `delay`: seconds before
    an answer. `baud`: pace (None: at once). `interval`: seconds between lists (None: the
    emulator's own)."""

    echo: bool = False
    delay: float = 0.0
    baud: int | None = None
    interval: float | None = None


class Server:
    """A running emulated meter: `address` says where ("127.0.0.1:4001" or the pty's path)."""

    address: str
    port: int

    async def close(self) -> None:
        raise NotImplementedError

    async def wait(self) -> None:
        """Until the server fails; raises OSError."""
        raise NotImplementedError


async def serve_tcp(
    make: Callable[[], Emulator],
    host: str,
    port: int,
    *,
    echo: bool = False,
    delay: float = 0.0,
    baud: int | None = None,
    interval: float | None = None,
) -> Server:
    """Listen on host:port; every connection talks to a meter of its own made by `make`, save
    pushing meters, whose lists go to all connections."""
    raise NotImplementedError


async def serve_pty(
    make: Callable[[], Emulator],
    path: str,
    *,
    echo: bool = False,
    delay: float = 0.0,
    baud: int | None = None,
    interval: float | None = None,
) -> Server:
    """A pty whose other end is found at `path`, a symbolic link that goes away at the end."""
    raise NotImplementedError
