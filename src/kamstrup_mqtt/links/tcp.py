"""Links to a raw TCP bridge such as ser2net."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.core.threads import run_blocking
from kamstrup_mqtt.links import error_messages
from kamstrup_mqtt.links.address import TcpBridge
from kamstrup_mqtt.links.stream import StreamLink

IDLE_TIMEOUT = 2.5
CLOSE_TIMEOUT = 1.0
HEAD = 256
"""Bytes at the start of a connection that are searched for messages of the bridge itself."""

KEEPALIVE_IDLE = 30
KEEPALIVE_INTERVAL = 10
KEEPALIVE_COUNT = 3
USER_TIMEOUT_MS = 30_000
"""Keep-alive settings (seconds, probes). They detect a vanished bridge after about a minute."""


async def open_tcp(
    bridge: TcpBridge, params: SerialParams, open_timeout: float, idle_timeout: float | None
) -> TcpLink:
    """Connect to a bridge. Raises LinkError."""
    try:
        async with asyncio.timeout(open_timeout):
            sock = await _connect(bridge)
            loop = asyncio.get_running_loop()
            _, link = await loop.create_connection(
                lambda: TcpLink(
                    bridge, params, IDLE_TIMEOUT if idle_timeout is None else idle_timeout
                ),
                sock=sock,
            )
            return link
    except OSError as error:  # TimeoutError is one
        raise error_messages.tcp_error(bridge, error) from error


async def _connect(bridge: TcpBridge) -> socket.socket:
    # asyncio would resolve in the default executor, where a hanging call delays the exit
    found = await run_blocking(
        partial(socket.getaddrinfo, bridge.host, bridge.port, type=socket.SOCK_STREAM),
        f"resolve {bridge}",
    )
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address)
            _tune(sock)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _tune(sock: socket.socket) -> None:
    """Disable Nagle's algorithm and detect a vanished bridge."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


_BUFFER = memoryview(bytearray(65536))
"""Receive buffer of all connections; its content is copied at once. Without it asyncio allocates
256 KiB for each piece of a list."""


class TcpLink(StreamLink, asyncio.BufferedProtocol):
    """An open connection. The bridge sets the speed; `params` only serve to compute wire times."""

    def __init__(self, bridge: TcpBridge, params: SerialParams, idle_timeout: float) -> None:
        super().__init__(params, idle_timeout)
        self._bridge = bridge
        self._transport: asyncio.Transport | None = None
        self._head: bytearray | None = bytearray()  # None after HEAD bytes
        self._is_over = False
        self._ended: asyncio.Future[None] | None = None  # resolved when a waiting `close` may go on

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_BUFFER[:nbytes]))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is None:
            return
        self._head += data[: HEAD - len(self._head)]
        bridge_error = error_messages.bridge_message_error(self._bridge, bytes(self._head))
        if len(self._head) >= HEAD:
            self._head = None
        if bridge_error is not None:
            self._unread.clear()
            self.mark_lost(bridge_error)
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the link as lost; called once, also after our own close."""
        if isinstance(exc, OSError):
            reason = LinkError(
                LinkState.PORT_MISSING,
                f"{self._bridge}: the connection broke ({exc.strerror or exc})",
            )
        else:
            reason = LinkError(
                LinkState.REFUSED,
                f"{self._bridge}: the bridge closed the connection (its serial device unplugged,"
                " or another program connected?)",
            )
        self.mark_lost(reason)
        self._is_over = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def write(self, data: bytes) -> None:
        self.raise_if_lost()
        assert self._transport is not None
        self._transport.write(data)
        self._record_sent(data)

    async def drain(self) -> None:
        self.raise_if_lost()
        await self._wait_until_sent()

    async def set_baudrate(self, baudrate: int) -> None:
        self.raise_if_lost()
        raise MeterError(
            LinkState.REFUSED,
            f"{self._bridge}: the bridge sets the speed of the line, so it cannot be changed"
            f" to {baudrate}",
        )

    async def close(self) -> None:
        self.mark_lost(LinkError(LinkState.REFUSED, f"{self._bridge} was closed"), by_us=True)
        if self._transport is None:
            return
        self._transport.close()
        if not self._is_over:
            self._ended = self._ended or self._loop.create_future()
            await asyncio.wait([self._ended], timeout=CLOSE_TIMEOUT)
        self._transport.abort()
